//! Sweeps: makes many runs of the papers' grids in parallel. A sweep may be interrupted at any time and
//! continued later.
//!
//! A [`Plan`] lists the runs; a [`Sweep`] makes them and writes these files to a directory:
//!
//! | file | is | when it is written |
//! |---|---|---|
//! | `manifest.json` | a [`Manifest`]: what is swept, by which version | at the start |
//! | `journal.jsonl` | a [`RunResult`] a line, in the order of completion | durably at the end of each run |
//! | `runs`, `classes`, `delays` | the [tables](crate::results::Tables) | at the end, even if interrupted or failed |
//!
//! A shard's files have its number in their names. A run is identified by its name. Its result depends only
//! on its parameters and the version, so a continued sweep skips the runs in its journal.
//!
//! Memory holds one workload for each job, and some kilobytes of results for each finished run.

mod coverage;
mod journal;
mod manifest;
mod plan;
mod run_filter;
mod shard;
mod workers;

use std::{
    collections::BTreeSet,
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    experiment::{ExperimentError, Parameters},
    results::{ResultsError, RunResult, RunRow, Tables},
};
pub use coverage::Coverage;
pub(crate) use coverage::manifests;
use journal::Journal;
pub use manifest::Manifest;
pub use plan::{Plan, PlanError};
pub use run_filter::{RunFilter, RunFilterError};
pub use shard::{Shard, ShardError};
use workers::Message;

/// The reason why a sweep ends early or does not begin.
#[derive(Debug, Error)]
pub enum SweepError {
    /// An error of the file system.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The directory has results, and the sweep is not to be continued.
    #[error("{path} has the results of {runs} runs: go on with them (--resume), or choose another directory")]
    NotEmpty {
        /// The journal.
        path: PathBuf,
        /// Number of runs.
        runs: usize,
    },
    /// Another sweep is using the directory.
    #[error("{path} is in use by another sweep: wait for its end, or choose another directory")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A line of the journal is invalid.
    #[error("{path}: line {line}: {error}: remove the line, and its run will be made again")]
    Line {
        /// The journal.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The directory has results of another sweep.
    #[error(
        "{path} is of another sweep: its {field} is {existing}, but {field} is {requested} here: choose another directory"
    )]
    Another {
        /// The manifest.
        path: PathBuf,
        /// The field that differs.
        field: &'static str,
        /// Its value in the directory's manifest.
        existing: String,
        /// Its value for the requested sweep.
        requested: String,
    },
    /// The manifest can't be read, so the journal can't be used.
    #[error("{path}: {what}: what is beside it can't be used without: choose another directory")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A run fails.
    #[error("run {run}: {error}")]
    Run {
        /// The run's name.
        run: String,
        /// The reason.
        error: ExperimentError,
    },
    /// A run's thread panicked. The panic's message is on standard error.
    #[error("run {run} ended without a result: this is a defect of the simulator")]
    Lost {
        /// The run's name.
        run: String,
    },
    /// The tables can't be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

impl SweepError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            path: path.clone(),
            error,
        }
    }
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All runs are made.
    Complete,
    /// It was interrupted.
    Interrupted {
        /// Number of runs.
        left: usize,
    },
}

/// The progress of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Number of runs with a result, including those made before an interruption.
    pub made: usize,
    /// Number of all runs.
    pub all: usize,
    /// Estimated time left; `None` before the first run has ended.
    pub left: Option<Duration>,
    /// The run that just ended; `None` at the start.
    pub last: Option<&'a RunRow>,
}

/// A sweep that writes to a directory.
#[derive(Debug)]
pub struct Sweep {
    directory: PathBuf,
    part: String,
    journal: Journal,
    made: Vec<RunResult>,
    /// The runs to make, the most expensive first, so that the sweep doesn't end with one long run on one
    /// core.
    left: Vec<Parameters>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

/// A handle that interrupts a sweep from another thread.
#[derive(Clone, Debug)]
pub struct Interrupt(Sender<Message>);

impl Interrupt {
    /// Interrupts the sweep, which drops its unfinished runs. Does nothing if the sweep has ended.
    pub fn send(&self) {
        let _ = self.0.send(Message::Interrupt);
    }
}

impl Sweep {
    /// Prepares `directory`, and creates it if necessary. With `resume`, it may have results of the same
    /// plan; otherwise results in it are an error.
    pub fn open(plan: &Plan, directory: &Path, resume: bool) -> Result<Self, SweepError> {
        std::fs::create_dir_all(directory).map_err(SweepError::io(directory))?;
        let part = plan.shard().map(Shard::part).unwrap_or_default();
        let manifest = directory.join(format!("manifest{part}.json"));
        let (journal, made) = Journal::open(&directory.join(format!("journal{part}.jsonl")), resume)?;
        if !made.is_empty() {
            plan.manifest().check(&manifest)?;
        }
        plan.manifest().write(&manifest)?;
        let existing: BTreeSet<&str> = made.iter().map(|result| result.row.run.as_str()).collect();
        let mut left = plan.runs().to_vec();
        left.retain(|run| !existing.contains(run.name().as_str()));
        left.sort_by(|one, other| other.cost().total_cmp(&one.cost()));
        let (sender, receiver) = mpsc::channel();
        Ok(Self {
            directory: directory.to_owned(),
            part,
            journal,
            made,
            left,
            sender,
            receiver,
        })
    }

    /// Returns the number of runs that have results already.
    #[must_use]
    pub fn made(&self) -> usize {
        self.made.len()
    }

    /// Returns a handle that interrupts the sweep from another thread.
    #[must_use]
    pub fn interrupt(&self) -> Interrupt {
        Interrupt(self.sender.clone())
    }

    /// Makes the remaining runs, `jobs` at a time, and writes the tables. Calls `observe` at the start and
    /// after each run.
    pub fn run(
        mut self,
        jobs: NonZeroUsize,
        mut observe: impl FnMut(Progress<'_>),
    ) -> Result<End, SweepError> {
        let ended = self.make(jobs, &mut observe);
        let tables: Tables = self.made.into_iter().collect();
        let written = tables.write(&self.directory, &self.part);
        let end = ended?;
        written?;
        Ok(end)
    }

    fn make(
        &mut self,
        jobs: NonZeroUsize,
        observe: &mut impl FnMut(Progress<'_>),
    ) -> Result<End, SweepError> {
        let started = Instant::now();
        let all = self.made.len() + self.left.len();
        let whole: f64 = self.left.iter().map(Parameters::cost).sum();
        let mut spent = 0.0;
        observe(Progress {
            made: self.made.len(),
            all,
            left: None,
            last: None,
        });
        let workers = workers::start(&self.left, jobs, &self.sender);
        while self.made.len() < all {
            // `self` holds a sender, so receiving never fails.
            let Ok(message) = self.receiver.recv() else { break };
            match message {
                Message::Made(run, result) => {
                    self.journal.add(&result)?;
                    spent += run.cost();
                    let left = Duration::try_from_secs_f64(
                        started.elapsed().as_secs_f64() * (whole - spent).max(0.0) / spent,
                    );
                    self.made.push(*result);
                    observe(Progress {
                        made: self.made.len(),
                        all,
                        left: left.ok(),
                        last: self.made.last().map(|result| &result.row),
                    });
                }
                Message::Failed(run, error) => {
                    workers.stop();
                    return Err(SweepError::Run { run, error });
                }
                Message::Lost(run) => {
                    workers.stop();
                    return Err(SweepError::Lost { run });
                }
                Message::Interrupt => {
                    workers.stop();
                    return Ok(End::Interrupted {
                        left: all - self.made.len(),
                    });
                }
            }
        }
        Ok(End::Complete)
    }
}
