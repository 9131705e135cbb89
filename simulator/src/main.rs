//! `privatekube-simulator`: the command line. It parses arguments and sets the exit code; the commands are in
//! `commands`, and the simulation is in the library.
#![forbid(unsafe_code)]

mod commands;

use std::{
    io::{Write as _, stdout},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use commands::output::{self, OutputError};

/// The exit code that shells report for a program ended by SIGPIPE, which means that nobody reads its output
/// any more.
const CLOSED: u8 = 141;

/// Simulates privacy budget scheduling: runs the engine of PrivateKube over virtual time, driven by
/// workloads.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  privatekube-simulator experiment micro-multi --policy dpf-n --n 175"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant for each file in `commands`.
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    let done = match cli.command {
        Command::Replay(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Experiment(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Sweep(command) => command.run(),
        Command::Generate(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Compare(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Plot(command) => command.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => print_failure(&error),
    }
}

/// Prints what is wrong with the arguments, or the help that they request.
fn print_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| stdout().flush());
    match printed {
        Err(problem) if !error.use_stderr() => print_failure(&OutputError::from(problem).into()),
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

fn print_failure(error: &anyhow::Error) -> ExitCode {
    if let Some(OutputError::Closed) = error.downcast_ref() {
        return ExitCode::from(CLOSED);
    }
    output::message(&format!("privatekube-simulator: {error:#}"));
    ExitCode::FAILURE
}
