//! The command line.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    budget, cluster::ClusterOptions, completion::Completion, dry_run, exit::Exit, explain, import, ledger,
    output::OutputOption, top, whatif,
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
            Command::Import(command) => command.run(&self.cluster, output).await,
            Command::Completion(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
