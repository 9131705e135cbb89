//! The errors of comparing runs.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    PolicySettingsError, RunError, TooLong,
    experiment::{ExperimentError, NameError},
    trace::TraceError,
};

/// The reason why two runs can't be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A file can't be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A text is neither a file nor a run's name.
    #[error(
        "{text:?} is neither a file nor a run: {error}. Accepted are a trace, results of `replay`, an experiment with parts \
         of a run's name (micro-multi/dpf-n/n=175) and, as the second, a policy for the first one's workload (fcfs)"
    )]
    Name {
        /// The given text.
        text: String,
        /// The reason.
        error: NameError,
    },
    /// A file is not a valid trace.
    #[error("{path}: {error}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: TraceError,
    },
    /// A line is not one that `replay` prints.
    #[error("{path}: line {line}: {error}: accepted are lines that `replay` prints")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The tasks of a line are not those of its trace.
    #[error("{path}: line {line}: {trace} has {there} tasks, but {what}: was the trace changed since?")]
    Tasks {
        /// The file of results.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The trace.
        trace: PathBuf,
        /// The trace's number of tasks.
        there: usize,
        /// What the line has instead.
        what: String,
    },
    /// A file of results has no line.
    #[error("{0}: no line: accepted are lines that `replay` prints")]
    Empty(PathBuf),
    /// A time can't be simulated.
    #[error("{path}: line {line}: {error}")]
    Time {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        error: TooLong,
    },
    /// The second argument is a policy, but the first one has several runs.
    #[error("{text}: decides one workload, but {first} has {count} runs: choose one of them")]
    Several {
        /// The policy.
        text: String,
        /// The first argument.
        first: String,
        /// Its number of runs.
        count: usize,
    },
    /// A run of one file has no counterpart in the other.
    #[error("{a} has no run to compare with {run} of {b}")]
    Unpaired {
        /// The file that lacks the run.
        a: String,
        /// The run without a counterpart.
        run: String,
        /// The file that has it.
        b: String,
    },
    /// The runs have different workloads.
    #[error("{a} and {b} are of different workloads: {what}. Compare two runs of the same tasks")]
    Workloads {
        /// The first run.
        a: String,
        /// The second run.
        b: String,
        /// The first difference.
        what: String,
    },
    /// A parameter can't be applied to a trace.
    #[error(
        "{text}: a trace says what is asked and when: accepted are a policy, n, lifetime, recompute-after and fairness"
    )]
    Useless {
        /// The given text.
        text: String,
    },
    /// Policy settings are invalid.
    #[error("{text}: {error}")]
    PolicySettings {
        /// The given text.
        text: String,
        /// What is wrong.
        error: PolicySettingsError,
    },
    /// An experiment can't be run.
    #[error("{text}: {error}")]
    Experiment {
        /// The given text.
        text: String,
        /// The reason.
        error: ExperimentError,
    },
    /// A trace can't be run.
    #[error("{text}: {error}")]
    Run {
        /// The given text.
        text: String,
        /// The reason.
        error: RunError,
    },
}
