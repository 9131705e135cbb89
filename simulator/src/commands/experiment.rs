//! `experiment`: makes one run and prints one line of JSON.

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_simulator::{Submissions, experiment};

use super::{output, parameters::ParameterArguments};

/// Runs one experiment and prints one line of JSON: its parameters, the granted tasks, and how long tasks
/// waited.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  privatekube-simulator experiment micro-multi --policy dpf-t --lifetime 13.671875 --seed 3345"
)]
pub(crate) struct Experiment {
    #[command(flatten)]
    parameters: ParameterArguments,
    /// alibaba: reads the published trace (privacy_tasks_30_days.csv) instead of drawing tasks; with --tasks,
    /// only its first ones.
    #[arg(long, value_name = "FILE")]
    trace_csv: Option<PathBuf>,
}

impl Experiment {
    pub(crate) fn run(&self) -> Result<()> {
        let parameters = self.parameters.parameters();
        let report = match &self.trace_csv {
            None => parameters.report()?,
            Some(path) if parameters.experiment == experiment::Experiment::Alibaba => {
                let name = path.display();
                let file = File::open(path).with_context(|| format!("{name}"))?;
                let submissions =
                    Submissions::read_csv(file, parameters.tasks).with_context(|| format!("{name}"))?;
                let prepared = parameters.prepare_with(&submissions)?;
                prepared.report(Some(format!("trace {name}")))?
            }
            Some(path) => bail!(
                "trace-csv is {}, but experiment {} has none: leave it out",
                path.display(),
                parameters.experiment
            ),
        };
        output::line(&report)
    }
}
