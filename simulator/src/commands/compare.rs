//! `compare`: prints the differences between two runs.

use anyhow::Result;
use clap::{Args, ValueEnum};
use privatekube_simulator::compare::{Comparison, pair};

use super::output;

/// Compares two runs of one workload: totals, classes, delays, dominant shares, and the tasks that only one
/// of them grants.
///
/// Each run is a trace, a file of lines that `replay` printed, or a run's name as in the tables of a sweep,
/// in which parts may be left out. B may also be a policy alone: then A's workload is run under that policy.
/// In files with several lines, the lines of the same trace are compared.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  privatekube-simulator compare micro-multi/dpf-n/n=175 fcfs
  privatekube-simulator compare trace.json dpack-n/n=10
  privatekube-simulator compare before.jsonl after.jsonl -o json")]
pub(crate) struct Compare {
    /// A run: a trace (FILE), results of `replay` (FILE), or a run's name such as
    /// micro-multi/renyi/dpf-n/n=7257.
    a: String,
    /// Another run, or a policy for the same workload, such as fcfs or dpf-n/n=50.
    b: String,
    /// A table, or one JSON object a line with every task that only one of the runs grants.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// How many of the tasks that only one run grants the table lists, for each run.
    #[arg(long, value_name = "TASKS", default_value_t = 5)]
    list: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people.
    Table,
    /// JSON for programs.
    Json,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<()> {
        for (nth, (a, b)) in pair(&self.a, &self.b)?.iter().enumerate() {
            let comparison = Comparison::of(a, b)?;
            match self.output {
                Output::Json => output::line(&comparison)?,
                Output::Table if nth == 0 => output::text(&comparison.page(self.list))?,
                Output::Table => output::text(&format!("\n\n{}", comparison.page(self.list)))?,
            }
        }
        Ok(())
    }
}
