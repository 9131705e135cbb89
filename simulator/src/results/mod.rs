//! What a sweep leaves behind: three tables, tied together by the name of the run, each as CSV (with a header, empty
//! where there is nothing) and as Parquet (columns of the same names; text, 64-bit integers, doubles, null where there
//! is nothing).
//!
//! | table | one row for | its columns are the fields of |
//! |---|---|---|
//! | `runs` | a run | [`RunRow`] |
//! | `classes` | a class of tasks in a run | [`ClassRow`] |
//! | `delays` | a point of a run's delay distribution | [`DelayRow`] |
//!
//! A shard's files have its number in their names (`runs-2-of-4.csv`), so that all shards can lie in one directory;
//! [`Tables::read`] puts them together. Rows are in the order of the runs' parameters, however they were made.
//!
//! Begin reading at [`Tables`], then [`RunResult`].

mod csv_file;
mod files;
mod parquet_file;
mod row;
mod run_result;
mod tables;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::experiment::{CompositionKind, Experiment, VisitOrder};
pub use files::{Format, ResultsError, write_atomically};
pub use run_result::RunResult;
pub use tables::Tables;

/// A run: its parameters, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its name, made of its parameters and unique among runs.
    pub run: String,
    /// Which experiment.
    pub experiment: Experiment,
    /// The policy's short name.
    pub policy: String,
    /// In which order DPF visited waiting tasks.
    pub order: Option<VisitOrder>,
    /// How budgets add up.
    pub composition: CompositionKind,
    /// How many arrivals unlock a block.
    pub n: Option<u32>,
    /// In how many seconds a block unlocks.
    pub lifetime: Option<f64>,
    /// How many tasks in 100 are mice.
    pub mice: Option<f64>,
    /// DPack and blend: after how many grants costs are worked out anew.
    pub recompute_after: Option<u32>,
    /// Blend: the part of what is unlocked that goes by DPF, in thousandths.
    pub fairness: Option<u16>,
    /// How much tasks differ from each other.
    pub spread: Option<f64>,
    /// What a task asks at its best order at least, as a part of a block.
    pub least: Option<f64>,
    /// Of the random numbers.
    pub seed: u64,
    /// How many blocks the workload has.
    pub blocks: u64,
    /// How many tasks came.
    pub tasks: u64,
    /// How many of them were granted.
    pub granted: u64,
    /// How many the engine grants, where the released simulator's order is another one.
    pub granted_by_engine: Option<u64>,
    /// What no policy could exceed, where the optimum is asked for: if it is `granted`, that is proven to be the most; else
    /// `granted` is the most that was found.
    pub bound: Option<u64>,
    /// How many were denied, or waited for their whole timeout.
    pub refused: u64,
    /// How many still waited at the end.
    pub waiting: u64,
    /// How long granted tasks waited on average, in seconds.
    pub delay_average: Option<f64>,
    /// The median.
    pub delay_p50: Option<f64>,
    /// The 90th percentile.
    pub delay_p90: Option<f64>,
    /// The 99th percentile.
    pub delay_p99: Option<f64>,
    /// The 99.9th percentile.
    pub delay_p999: Option<f64>,
    /// The longest.
    pub delay_max: Option<f64>,
    /// How long the run took on the machine that made it, in seconds. The only column that differs from machine to
    /// machine.
    pub wall: f64,
}

/// A class of tasks in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The run.
    pub run: String,
    /// The class.
    pub class: String,
    /// How many of its tasks came.
    pub tasks: u64,
    /// How many of them were granted.
    pub granted: u64,
}

/// A point of a run's delay distribution: so many tasks had been granted when they had waited so long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayRow {
    /// The run.
    pub run: String,
    /// How long, in seconds.
    pub delay: f64,
    /// How many tasks waited no longer for their grant.
    pub granted: u64,
}
