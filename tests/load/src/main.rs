//! `privatekube-load`: measures PrivateKube on a real control plane. It starts the clusters itself, one for each
//! side of a comparison, and lets the sides take turns, so that what else happens on the machine hits all of
//! them alike.
//!
//! Begin reading at [`scenario`], which lets sides take turns; a [`mod@bench`] is the cluster of one side, and
//! [`report`] prints what was measured. What is *not* here: how a cluster is run (`tests/cluster`), and whether
//! what was granted is right (`tests/e2e`).
#![forbid(unsafe_code)]

mod arrivals;
mod bench;
mod claims;
mod creation;
mod extender_metrics;
mod figures;
mod life;
mod pods;
mod processes;
mod prometheus_text;
mod report;
mod requests;
mod scenario;
mod side;
mod standing;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::scenario::Options;

/// Measures PrivateKube on a real control plane: rates, latencies, processor time, requests and memory. Sides
/// of a comparison take turns.
///
/// It needs the control plane's programs (`make controlplane`), and the programs `privatekube-cluster` and
/// `privatekube-extender` beside it. Use release builds: `make load` does.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        privatekube-load claims --blocks 1,10,100 --count 500\n  \
        privatekube-load pods --kind plain --count 500 --rounds 6 --side without:installed=false --side with"
)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    #[command(flatten)]
    options: Options,
    /// How the results are printed on standard output.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// One variant for each scenario.
#[derive(Debug, Subcommand)]
enum Scenario {
    Claims(claims::Claims),
    Pods(pods::Pods),
    Idle(standing::Idle),
    Size(standing::Size),
    Life(life::Life),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("privatekube-load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let results = match cli.scenario {
        Scenario::Claims(claims) => claims.run(&cli.options).await,
        Scenario::Pods(pods) => pods.run(&cli.options).await,
        Scenario::Idle(idle) => idle.run(&cli.options).await,
        Scenario::Size(size) => size.run(&cli.options).await,
        Scenario::Life(life) => life.run(&cli.options).await,
    }?;
    let text = match cli.output {
        Output::Text => results.text(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&results)?),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("can't print the results")
}

/// Prints a line about progress. Nobody may be reading, which is no reason to stop.
fn progress(line: &str) {
    let mut stderr = std::io::stderr();
    let mark = if stderr.is_terminal() { "\r" } else { "" };
    let _ = writeln!(stderr, "{mark}{line}");
}
