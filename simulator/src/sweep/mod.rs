//! Sweeps: many runs of the papers' grids in parallel, which may end at any time and go on later.
//!
//! A [`Plan`] says which runs; a [`Sweep`] makes them in a directory:
//!
//! | file | is | when it is written |
//! |---|---|---|
//! | `manifest.json` | a [`Manifest`]: what is swept, by which version | at the start |
//! | `journal.jsonl` | a [`RunResult`] a line, in the order in which runs end | durably at the end of each run |
//! | `runs`, `classes`, `delays` | the [tables](crate::results::Tables) | at the end, also of a sweep that is interrupted or fails |
//!
//! A shard's files have its number in their names. A run is known by its name, and its result depends on nothing but
//! its parameters and the version, so a sweep that goes on leaves out what its journal has.
//!
//! In memory there are as many workloads as jobs, and the results: some kilobytes a run.

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

/// Why a sweep ends early, or does not begin.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The file system refuses.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There are results already.
    #[error("{path} has the results of {runs} runs: go on with them (--resume), or choose another directory")]
    NotEmpty {
        /// The journal.
        path: PathBuf,
        /// How many.
        runs: usize,
    },
    /// Another sweep is at work there.
    #[error("{path} is in use by another sweep: wait for its end, or choose another directory")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A line of the journal that no sweep wrote.
    #[error("{path}: line {line}: {error}: remove the line, and its run will be made again")]
    Line {
        /// The journal.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// What is there was made of something else.
    #[error(
        "{path} is of another sweep: its {field} is {existing}, but {field} is {requested} here: choose another directory"
    )]
    Another {
        /// The manifest.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// What it is there.
        existing: String,
        /// What it would be now.
        requested: String,
    },
    /// Nobody knows what the journal is of.
    #[error("{path}: {what}: what is beside it can't be used without: choose another directory")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A run that can't be made.
    #[error("run {run}: {error}")]
    Run {
        /// Its name.
        run: String,
        /// Why.
        error: ExperimentError,
    },
    /// A run that ended in a defect of this program, which has been told where it happened.
    #[error("run {run} ended without a result: this is a defect of the simulator")]
    Lost {
        /// Its name.
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
    /// It was interrupted; so many runs are left.
    Interrupted {
        /// How many.
        left: usize,
    },
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// How many runs have a result, those of earlier sweeps included.
    pub made: usize,
    /// How many there are in all.
    pub all: usize,
    /// How long it may still take; none before the first run has ended.
    pub left: Option<Duration>,
    /// The run that just ended; none at the start.
    pub last: Option<&'a RunRow>,
}

/// A sweep of a directory.
#[derive(Debug)]
pub struct Sweep {
    directory: PathBuf,
    part: String,
    journal: Journal,
    made: Vec<RunResult>,
    /// The most expensive first, so that no core is left with a long run at the end.
    left: Vec<Parameters>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

/// Ends a sweep from another thread.
#[derive(Clone, Debug)]
pub struct Interrupt(Sender<Message>);

impl Interrupt {
    /// The sweep drops the runs it is at, and ends. It may have ended already.
    pub fn send(&self) {
        let _ = self.0.send(Message::Interrupt);
    }
}

impl Sweep {
    /// Prepares `directory`, which is made if it is not there. With `resume` it may have results of the same plan.
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

    /// How many runs have a result already.
    #[must_use]
    pub fn made(&self) -> usize {
        self.made.len()
    }

    /// What ends it from another thread.
    #[must_use]
    pub fn interrupt(&self) -> Interrupt {
        Interrupt(self.sender.clone())
    }

    /// Makes what is left, `jobs` runs at a time, and writes the tables. `observe` is told the start and the end of each
    /// run.
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
            // This end holds a sender, so there is always something to wait for.
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
