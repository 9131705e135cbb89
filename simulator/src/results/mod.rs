//! The results of sweeps: three tables, joined by the run's name. Each is written as CSV (with a header, and
//! empty fields for missing values) and as Parquet (with the same column names; text, 64-bit integers and
//! doubles, and null for missing values).
//!
//! | table | one row for | its columns are the fields of |
//! |---|---|---|
//! | `runs` | a run | [`RunRow`] |
//! | `classes` | a class of tasks in a run | [`ClassRow`] |
//! | `delays` | a point of a run's delay distribution | [`DelayRow`] |
//!
//! A shard's files have its number in their names (`runs-2-of-4.csv`), so that all shards can lie in one
//! directory; [`Tables::read`] merges them. Rows are in the order of the runs' parameters.
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

/// A run: its parameters and results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The run's name, made of its parameters and unique.
    pub run: String,
    /// The experiment.
    pub experiment: Experiment,
    /// The policy's short name.
    pub policy: String,
    /// The order in which DPF visited waiting tasks.
    pub order: Option<VisitOrder>,
    /// The composition.
    pub composition: CompositionKind,
    /// Number of arrivals that unlock a block.
    pub n: Option<u32>,
    /// Seconds in which a block unlocks.
    pub lifetime: Option<f64>,
    /// Percentage of mice (small tasks) among the tasks.
    pub mice: Option<f64>,
    /// DPack and blend: number of grants after which costs are recomputed.
    pub recompute_after: Option<u32>,
    /// Blend: the part of unlocked budget that DPF allocates, in thousandths.
    pub fairness: Option<u16>,
    /// Heterogeneity of the tasks: a standard deviation.
    pub spread: Option<f64>,
    /// A task's demand at its best order, as a part of a block.
    pub least: Option<f64>,
    /// The revision of the engine's rules, by its number. Tables of versions without this choice lack the column; their
    /// runs have the first.
    pub revision: Option<u32>,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of tasks.
    pub tasks: u64,
    /// Number of granted tasks.
    pub granted: u64,
    /// Number of tasks that the engine grants, if `granted` is that of the released simulator's order.
    pub granted_by_engine: Option<u64>,
    /// Upper bound for any policy, if the optimum was searched. If it equals `granted`, that is proven
    /// optimal; otherwise `granted` is the best that was found.
    pub bound: Option<u64>,
    /// Number of tasks that were denied or expired.
    pub refused: u64,
    /// Number of tasks that still waited at the end.
    pub waiting: u64,
    /// Mean delay of granted tasks from arrival to grant, in seconds.
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
    /// Jain's index of the classes' dominant shares. This and the other measures of fairness are those of the engine's
    /// run, if `granted` is that of the released simulator's order, and tables of earlier versions lack them.
    pub jain: Option<f64>,
    /// Jain's index of dominant shares divided by weights.
    pub weighted_jain: Option<f64>,
    /// How far dominant shares are from being proportional to weights.
    pub weight_disagreement: Option<f64>,
    /// Number of tasks that demand at most a fair share and were granted when they arrived; with unlocking by arrivals.
    pub fair_at_once: Option<u64>,
    /// Number of those that were not.
    pub fair_not_at_once: Option<u64>,
    /// Number of grants that a waiting task envied.
    pub envied: Option<u64>,
    /// Number of grants of which that is not known.
    pub envied_unknown: Option<u64>,
    /// Unlocked budget that no waiting task had use for, in blocks, as an average over the run.
    pub unused_blocks: Option<f64>,
    /// Wall-clock time of the run in seconds. This is the only column that differs between machines.
    pub wall: f64,
}

/// A class of tasks in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The run.
    pub run: String,
    /// The class.
    pub class: String,
    /// Number of its tasks.
    pub tasks: u64,
    /// Number of its tasks that were granted.
    pub granted: u64,
}

/// A point of a run's cumulative distribution of delays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayRow {
    /// The run.
    pub run: String,
    /// The delay, in seconds.
    pub delay: f64,
    /// Number of tasks granted with at most this delay.
    pub granted: u64,
}
