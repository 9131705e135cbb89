//! The program `privatekube-audit`.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use privatekube_audit::{Objects, audit};

/// Audits PrivateKube in a cluster by its API objects alone: whether anything is overspent, lost, hanging or untrue.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "It ends with 0 if nothing is wrong, 1 if something is, and 2 if the objects can't be read.\n\n\
Example:\n  privatekube-audit\n  privatekube-audit --file objects.json -o json"
)]
struct Cli {
    /// A file of objects as kubectl get -o json prints them; may be given several times. Without one, kubectl reads the cluster.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// The program that reads the cluster.
    #[arg(long, value_name = "PROGRAM", default_value = "kubectl")]
    kubectl: PathBuf,
    /// The form of the report.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the report; true if nothing is wrong.
fn run(cli: &Cli) -> Result<bool> {
    let mut objects = Objects::default();
    for file in &cli.file {
        let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        objects.add(&text).with_context(|| file.display().to_string())?;
    }
    if cli.file.is_empty() {
        for resource in Objects::RESOURCES {
            objects.add(&list(cli, resource)?).context(resource)?;
        }
    }
    let report = audit(&objects);
    match cli.output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(report.findings.is_empty())
}

fn list(cli: &Cli, resource: &str) -> Result<String> {
    let output = Command::new(&cli.kubectl)
        .args(["get", resource, "--all-namespaces", "--output", "json"])
        .output()
        .with_context(|| format!("can't run {}", cli.kubectl.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "kubectl get {resource}: {}",
        complaint.trim()
    );
    String::from_utf8(output.stdout).context("kubectl's output is not UTF-8")
}
