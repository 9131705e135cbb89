//! `compare`: what differs between two runs.

use anyhow::Result;
use clap::{Args, ValueEnum};
use privatekube_simulator::compare::{Comparison, pair};

use super::output;

/// Tells what differs between two runs of one workload: totals, classes, who only one of them grants, delays and dominant
/// shares.
///
/// Each run is a trace, a file of lines that `replay` printed, or an experiment with parts of a run's name, as the tables of
/// a sweep have them. B may also be a policy alone: it decides A's workload. Of files with several lines, those of the
/// same trace are compared.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  privatekube-simulator compare micro-multi/dpf-n/n=175 fcfs
  privatekube-simulator compare trace.json dpack-n/n=10
  privatekube-simulator compare before.jsonl after.jsonl -o json")]
pub(crate) struct Compare {
    /// A run: a trace (FILE), results of `replay` (FILE), or NAME/PART/..., such as micro-multi/renyi/dpf-n/n=7257.
    a: String,
    /// Another, or a policy for the same workload, such as fcfs or dpf-n/n=50.
    b: String,
    /// A table for people, or a JSON object a line with every task that only one of them grants.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// How many tasks that only one of them grants the table lists.
    #[arg(long, value_name = "TASKS", default_value_t = 5)]
    list: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For machines.
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
