//! `kubectl-privacy`, which kubectl runs as `kubectl privacy`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use kubectl_privacy::{Cli, exit_of, is_closed};

/// The exit code of a program that was ended by SIGPIPE: nobody reads its output any more.
const CLOSED: u8 = 141;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(exit) => exit.into(),
        Err(error) if is_closed(&error) => CLOSED.into(),
        Err(error) => {
            eprintln!("kubectl privacy: {error:#}");
            exit_of(&error)
        }
    }
}
