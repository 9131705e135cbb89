//! `plot`: draws the papers' figures from the results of a sweep.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use privatekube_simulator::{plot, sweep::Coverage};

use super::output;

/// Draws the papers' figures from the runs in DIR (of all shards), as SVG and PNG, and writes a page with all
/// figures and a comparison with published values.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  privatekube-simulator plot results --out docs/evaluation")]
pub(crate) struct Plot {
    /// The directory that sweeps wrote their tables to (runs.csv, classes.csv, delays.csv, or as Parquet).
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory for the figures. Default: DIR/figures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Fails and draws nothing if runs of the sweeps in DIR are missing, because of a missing shard or an
    /// incomplete sweep.
    #[arg(long)]
    whole: bool,
}

impl Plot {
    pub(crate) fn run(&self) -> Result<()> {
        self.check_whole()?;
        let out = self.out.clone().unwrap_or_else(|| self.directory.join("figures"));
        let command = format!(
            "privatekube-simulator plot {} --out {}",
            self.directory.display(),
            out.display()
        );
        let written = plot::write(&self.directory, &out, &command)?;
        for missing in &written.missing {
            output::message(&format!("not drawn: {}: needs {}", missing.title, missing.needs));
        }
        let page = written.page.display();
        Ok(output::text(&format!("{} figures: {page}\n", written.figures))?)
    }

    fn check_whole(&self) -> Result<()> {
        let coverage = Coverage::of(&self.directory)?;
        let Some(first) = coverage.missing.first() else {
            return Ok(());
        };
        let message = format!(
            "{} of {} runs are missing in {}, the first is {first}",
            coverage.missing.len(),
            coverage.expected,
            self.directory.display()
        );
        if self.whole {
            bail!("{message}");
        }
        output::message(&message);
        Ok(())
    }
}
