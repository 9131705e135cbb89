//! Why runs can't be compared.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    PolicySettingsError, RunError, TooLong,
    experiment::{ExperimentError, NameError},
    trace::TraceError,
};

/// Why there is nothing to compare.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A file that can't be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A name that is no run's.
    #[error(
        "{text:?} is neither a file nor a run: {error}. Accepted are a trace, results of `replay`, an experiment with parts \
         of a run's name (micro-multi/dpf-n/n=175) and, as the second, a policy for the first one's workload (fcfs)"
    )]
    Name {
        /// What is given.
        text: String,
        /// Why not.
        error: NameError,
    },
    /// A trace that is none.
    #[error("{path}: {error}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: TraceError,
    },
    /// A line that `replay` did not write.
    #[error("{path}: line {line}: {error}: accepted are lines that `replay` prints")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A line about tasks that its trace doesn't have.
    #[error("{path}: line {line}: {trace} has {there} tasks, but {what}: was the trace changed since?")]
    Tasks {
        /// The results.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// The trace.
        trace: PathBuf,
        /// How many it has.
        there: usize,
        /// What the line has.
        what: String,
    },
    /// Results without a line.
    #[error("{0}: no line: accepted are lines that `replay` prints")]
    Empty(PathBuf),
    /// A time that can't be.
    #[error("{path}: line {line}: {error}")]
    Time {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        error: TooLong,
    },
    /// A policy for several workloads.
    #[error("{text}: decides one workload, but {first} has {count} runs: choose one of them")]
    Several {
        /// The policy.
        text: String,
        /// The first argument.
        first: String,
        /// How many runs it has.
        count: usize,
    },
    /// Different numbers of runs, or runs of different traces.
    #[error("{a} has no run to compare with {run} of {b}")]
    Unpaired {
        /// Where it would be.
        a: String,
        /// The one that is alone.
        run: String,
        /// Where that is.
        b: String,
    },
    /// Runs that can't be compared.
    #[error("{a} and {b} are of different workloads: {what}. Compare two runs of the same tasks")]
    Workloads {
        /// The one run.
        a: String,
        /// The other.
        b: String,
        /// The first difference.
        what: String,
    },
    /// A parameter that traces don't have.
    #[error(
        "{text}: a trace says what is asked and when: accepted are a policy, n, lifetime, recompute-after and fairness"
    )]
    Useless {
        /// What is given.
        text: String,
    },
    /// Rules that make no sense.
    #[error("{text}: {error}")]
    PolicySettings {
        /// What is given.
        text: String,
        /// What is wrong.
        error: PolicySettingsError,
    },
    /// An experiment that can't be run.
    #[error("{text}: {error}")]
    Experiment {
        /// What is given.
        text: String,
        /// Why not.
        error: ExperimentError,
    },
    /// A trace that can't be run.
    #[error("{text}: {error}")]
    Run {
        /// What is given.
        text: String,
        /// Why not.
        error: RunError,
    },
}
