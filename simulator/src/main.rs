//! `privatekube-simulator`: the command line.
#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Privacy budget scheduling over virtual time: the engine that PrivateKube runs in a cluster, driven by workloads.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  privatekube-simulator experiment micro-multi --policy dpf-n --n 175"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One file of `commands` each.
#[derive(Debug, Subcommand)]
enum Command {
    Replay(commands::replay::Replay),
    Experiment(commands::experiment::Experiment),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Replay(command) => command.run(),
        Command::Experiment(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("privatekube-simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
