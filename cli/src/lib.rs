//! `kubectl privacy`: why a claim waits, what would become of one, what mechanisms cost, and whether a ledger is right.
//!
//! The tool decides nothing by itself. It reads a dataset's objects and ledger through the API server, verifies and replays
//! the ledger in its own process, and asks the engine, the view and the matching that the extender uses. It writes nothing to
//! the cluster.
#![forbid(unsafe_code)]

mod amounts;
mod arguments;
mod budget;
mod cluster;
mod completion;
mod documents;
mod dry_run;
mod exit;
mod explain;
#[cfg(test)]
mod fixture;
mod import;
mod largest;
mod ledger;
mod output;
mod paint;
mod spending;
mod state;
mod statuses;
mod table;
mod top;
mod whatif;

pub use arguments::Cli;
pub use completion::completions;
pub use exit::Exit;
pub use output::is_closed;

/// The exit code of an error.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> std::process::ExitCode {
    if error.is::<ledger::MissingLedger>() {
        return Exit::NotAllowed.into();
    }
    if ledger::is_wrong(error) {
        return Exit::Wrong.into();
    }
    std::process::ExitCode::FAILURE
}
