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
    Sweep(commands::sweep::Sweep),
    Generate(commands::generate::Generate),
    Compare(commands::compare::Compare),
    Plot(commands::plot::Plot),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Replay(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Experiment(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Sweep(command) => command.run(),
        Command::Generate(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Compare(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Plot(command) => command.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("privatekube-simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
