//! `sweep`: makes all runs of an experiment's grid in parallel and shows the progress.

mod progress;

use std::{
    fmt::Write as _, num::NonZeroUsize, path::PathBuf, process::ExitCode, str::FromStr,
    thread::available_parallelism,
};

use anyhow::{Context as _, Result};
use clap::Args;
use privatekube_policy::Revision;
use privatekube_simulator::{
    experiment::{Experiment, revision},
    sweep::{End, Plan, RunFilter, Shard, Sweep as Sweeping},
};

use progress::Bar;

/// The exit code that shells report for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Makes all runs of the papers' grids of experiments, in parallel, and writes tables of results.
///
/// Writes the tables runs, classes and delays to DIR, each as CSV and Parquet, with a manifest of the sweep
/// and a journal that gets each run as soon as it ends. Ctrl-C drops the unfinished runs and keeps all
/// others; --resume continues. Each job holds one workload in memory, at most about 150 MB in these
/// experiments.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  privatekube-simulator sweep micro-single micro-multi --out results
  privatekube-simulator sweep micro-multi --only policy=dpf-n,fcfs --only mice=75 --out results
  privatekube-simulator sweep all --shard 2/4 --out results --resume")]
pub(crate) struct Sweep {
    /// The experiments: micro-single, micro-multi, macro, alibaba, dpack-orders, dpack-blocks; or all.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Name>,
    /// The directory for the results, which is created if necessary.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of runs at a time. Default: the number of cores.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Makes only this part of the grid, such as 2/4: the second of four parts that take about equally long.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Continues a sweep in DIR: runs that have results there are not made again.
    #[arg(long)]
    resume: bool,
    /// Makes only runs with one of these values, such as mice=75 or policy=fcfs,dpf-n. If given several
    /// times, a run must match each.
    #[arg(long, value_name = "KEY=VALUE,...")]
    only: Vec<RunFilter>,
    /// The seed of all runs. If given several times, the grid is made once with each. Default: 3345, the
    /// paper's.
    #[arg(long, value_name = "SEED")]
    seed: Vec<u64>,
    /// The revision of the engine's rules: 1, that of the papers, 2, or 3, that of a new dataset. If given several
    /// times, the grid is made once with each. Default: 1.
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    revision: Vec<Revision>,
}

/// An experiment, or all of them.
#[derive(Clone, Copy, Debug)]
enum Name {
    One(Experiment),
    All,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse()
            .map(Self::One)
            .map_err(|error| format!("{error}, and all"))
    }
}

impl Sweep {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let experiments = self.names.iter().flat_map(|name| match name {
            Name::One(experiment) => vec![*experiment],
            Name::All => Experiment::ALL.to_vec(),
        });
        let experiments: Vec<Experiment> = experiments.collect();
        let plan = Plan::new(&experiments, &self.seed, &self.revision, &self.only, self.shard)?;
        let sweep = Sweeping::open(&plan, &self.out, self.resume)?;
        let interrupt = sweep.interrupt();
        ctrlc::set_handler(move || interrupt.send()).context("no handler for Ctrl-C can be set")?;
        let jobs = self
            .jobs
            .or_else(|| available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN);

        let bar = Bar::new();
        let end = sweep.run(jobs, |progress| bar.show(&progress))?;
        let out = self.out.display();
        match end {
            End::Complete => {
                bar.finish(&format!("{} runs; the tables are in {out}", plan.runs().len()));
                Ok(ExitCode::SUCCESS)
            }
            End::Interrupted { left } => {
                let all = plan.runs().len();
                let mut resume = format!("{} --out {out}", plan.manifest().command);
                if let Some(jobs) = self.jobs {
                    let _ = write!(resume, " --jobs {jobs}");
                }
                bar.finish(&format!(
                    "interrupted: {} of {all} runs are kept, with their tables, in {out}. To go on:\n  {resume} --resume",
                    all - left
                ));
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }
}
