//! Completion of command lines: a script for a shell, or the answer to kubectl, which asks at each TAB.

use std::{ffi::OsString, fmt::Write as _};

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, engine::complete};

use crate::{Cli, exit::Exit, output::print};

const HELP: &str = "\
Examples:
  source <(kubectl privacy completion bash)
  kubectl privacy completion zsh > \"${fpath[1]}/_kubectl-privacy\"
  kubectl privacy completion fish > ~/.config/fish/completions/kubectl-privacy.fish

It completes the words after kubectl-privacy. Those after kubectl privacy are completed by kubectl's own completion, which runs
kubectl_complete-privacy if that is on the PATH.";

/// Writes a script for the completion of commands and options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kubectl-privacy", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

/// What Cobra, by which kubectl completes, is told in the last line: names of files aren't added, or no space follows either.
const NO_FILES: u8 = 4;
const NO_SPACE: u8 = 2;

/// Answers kubectl. `words` are those after `kubectl privacy`, the last of which is to be completed, and may be empty. The
/// answer has a line for each candidate, `VALUE<tab>DESCRIPTION`, and one with a directive of Cobra.
#[must_use]
pub fn completions(words: Vec<OsString>) -> String {
    let mut line = vec![OsString::from("kubectl-privacy")];
    line.extend(words);
    if line.len() == 1 {
        line.push(OsString::new());
    }
    let last = line.len() - 1;
    let here = std::env::current_dir().ok();
    let found = complete(&mut Cli::command(), line, last, here.as_deref()).unwrap_or_default();
    let mut answer = String::new();
    // A folder's name goes on.
    let mut is_folder = !found.is_empty();
    for candidate in found.iter().filter(|candidate| !candidate.is_hide_set()) {
        let value = candidate.get_value().to_string_lossy();
        // A line is a candidate.
        if value.contains(['\n', '\t']) {
            continue;
        }
        is_folder &= value.ends_with('/');
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let first = help.lines().next().unwrap_or_default();
        let separator = if first.is_empty() { "" } else { "\t" };
        let _ = writeln!(answer, "{value}{separator}{first}");
    }
    let directive = if is_folder { NO_FILES | NO_SPACE } else { NO_FILES };
    let _ = writeln!(answer, ":{directive}");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(words: &[&str]) -> Vec<String> {
        let answer = completions(words.iter().map(OsString::from).collect());
        let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        assert_eq!(lines.pop().as_deref(), Some(":4"), "{answer}");
        lines
    }

    #[test]
    fn commands_are_completed_with_what_they_do() {
        for words in [&[][..], &[""]] {
            let lines = candidates(words);
            assert!(
                lines.contains(
                    &"explain\tExplains why a claim, or the claim of a pod or Job, waits or was refused"
                        .to_owned()
                ),
                "{lines:?}"
            );
        }
        let [only] = &candidates(&["led"])[..] else {
            panic!("{:?}", candidates(&["led"]));
        };
        assert!(only.starts_with("ledger\t"), "{only}");
    }

    #[test]
    fn subcommands_options_and_values_are_completed() {
        let names = |words: &[&str]| -> Vec<String> {
            let lines = candidates(words);
            let name = |line: &String| line.split('\t').next().unwrap_or_default().to_owned();
            lines.iter().map(name).collect()
        };
        assert!(names(&["ledger", ""]).contains(&"statement".to_owned()));
        assert!(names(&["ledger", "verify", "--all"]).contains(&"--all-namespaces".to_owned()));
        assert_eq!(names(&["-n", "data", "top", "b"]), ["blocks"]);
        assert!(names(&["budget", "laplace(scale=1)", "-o", ""]).contains(&"yaml".to_owned()));
        assert!(names(&["nonsense", "x"]).is_empty());
    }

    #[test]
    fn files_are_completed_where_a_file_is_meant() {
        let answer = completions(["whatif", "sr"].map(OsString::from).to_vec());
        assert_eq!(answer, "src/\n:6\n");
    }
}
