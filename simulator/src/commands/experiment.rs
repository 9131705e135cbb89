//! `experiment`: one run, one line.

use anyhow::Result;
use clap::Args;

use super::parameters::ParameterArguments;

/// Runs one experiment and prints one JSON line: its parameters, what was granted, how long tasks waited.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  privatekube-simulator experiment micro-multi --policy dpf-t --lifetime 13.671875 --seed 3345"
)]
pub(crate) struct Experiment {
    #[command(flatten)]
    parameters: ParameterArguments,
}

impl Experiment {
    pub(crate) fn run(&self) -> Result<()> {
        let report = self.parameters.parameters().report()?;
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }
}
