//! The command line.

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    budget,
    cluster::ClusterOptions,
    dry_run,
    exit::Exit,
    explain, import, ledger,
    output::{OutputOption, print},
    top, whatif,
};

const HELP: &str = "\
Exit status: 0 granted, verified or done; 1 an error; 2 wrong arguments; 3 a claim waits, or would; 4 a claim is refused, or
would be; 5 a ledger, status or sum is wrong; 6 the ledger may not be read, and statuses alone were told.";

/// Explains and tries claims on privacy budget, accounts for mechanisms, and verifies ledgers.
#[derive(Debug, Parser)]
#[command(name = "kubectl-privacy", bin_name = "kubectl privacy", version, after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(subcommand)]
    command: Command,
}

/// The commands, each in a file of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Accounts for a mechanism, or finds the noise or steps that keep to an epsilon. Needs no cluster.
    Budget(budget::Budget),
    /// Explains why a claim, or the claim of a pod or Job, waits or was refused.
    Explain(explain::Explain),
    /// Says whether claims or pods would be granted now, later or never. Charges and writes nothing.
    DryRun(dry_run::DryRun),
    /// Verifies ledgers, exports them, and tells what they say of claims, blocks and namespaces.
    Ledger(ledger::LedgerCommand),
    /// Shows budgets, how fast they are consumed, and queues, sorted; --watch goes on showing them.
    Top(top::Top),
    /// Compares what other rules would have granted of a ledger's claims with what was granted.
    Whatif(whatif::WhatIf),
    /// Makes manifests of the objects of the OSDI 2021 system, with what their blocks have left.
    Import(import::Import),
    /// Writes a script for the completion of commands and options.
    Completion(Completion),
}

const COMPLETION_HELP: &str = "\
Examples:
  source <(kubectl privacy completion bash)
  kubectl privacy completion zsh > \"${fpath[1]}/_kubectl-privacy\"
  kubectl privacy completion fish > ~/.config/fish/completions/kubectl-privacy.fish

It completes the words after kubectl-privacy.";

/// Writes a script for the completion of commands and options.
#[derive(Debug, Args)]
#[command(after_help = COMPLETION_HELP)]
pub(crate) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    fn run(&self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kubectl-privacy", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> Result<Exit> {
        let output = self.output;
        match self.command {
            Command::Budget(command) => command.run(output),
            Command::Explain(command) => command.run(&self.cluster, output).await,
            Command::DryRun(command) => command.run(&self.cluster, output).await,
            Command::Ledger(command) => command.run(&self.cluster, output).await,
            Command::Top(command) => command.run(&self.cluster, output).await,
            Command::Whatif(command) => command.run(&self.cluster, output).await,
            Command::Import(command) => command.run(output),
            Command::Completion(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Each command shows how it is used.
    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                let parent = sub.get_subcommands().next().is_some();
                assert!(
                    parent || help.contains("  kubectl privacy "),
                    "{}: {help}",
                    sub.get_name()
                );
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
