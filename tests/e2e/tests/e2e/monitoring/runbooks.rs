//! The commands that runbooks give for a diagnosis work, and their queries, too.

use std::{fs, process::Stdio};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use privatekube_e2e::TestEnvironment;

use super::{load, path, prometheus::ScrapingPrometheus};

/// What a reader puts in place of these words. The longer word is first where one contains another.
const WORDS: [(&str, &str); 4] = [
    ("NAMESPACE", load::DATA),
    ("DATASET", "taxi"),
    ("CLAIMANT", "team-a"),
    ("CLAIM", "waiting"),
];
/// Here the extender is a process and no pod, nothing measures pods, and the shell's other programs are not at issue.
const NOT_HERE: [&str; 4] = [
    "deployment",
    "port-forward",
    "kubectl top",
    "secret privatekube-tls",
];

/// Runs each command and query in the parts Diagnosis of all runbooks.
pub(super) async fn commands_work(env: &TestEnvironment, prometheus: &ScrapingPrometheus) -> Result<()> {
    let (mut commands, mut queries) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path("docs/runbooks"))? {
        let text = fs::read_to_string(entry?.path())?;
        let from = text.split_once("\n## Diagnosis\n").context("no diagnosis")?.1;
        let diagnosis = from.split("\n## ").next().unwrap_or_default();
        // Every second part is between two fences.
        for line in diagnosis.split("```").skip(1).step_by(2).flat_map(str::lines) {
            let line = WORDS
                .iter()
                .fold(line.to_owned(), |line, (word, name)| line.replace(word, name));
            if line.is_empty() || line.starts_with("curl") || NOT_HERE.iter().any(|word| line.contains(word))
            {
                continue;
            }
            if line.starts_with("kubectl") {
                &mut commands
            } else {
                &mut queries
            }
            .push(line);
        }
    }
    commands.sort();
    commands.dedup();
    ensure!(
        commands.len() > 20 && queries.len() > 20,
        "{commands:?} {queries:?}"
    );
    for query in &queries {
        prometheus.query(query).await?;
    }
    stream::iter(commands)
        .map(|command| run(env, command))
        .buffer_unordered(2)
        .try_collect()
        .await
}

/// Runs a command line as a reader's shell would.
async fn run(env: &TestEnvironment, line: String) -> Result<()> {
    let mut command = std::process::Command::new("sh");
    env.cluster.environment(&mut command);
    let output = tokio::process::Command::from(command)
        .args(["-c", &line])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
