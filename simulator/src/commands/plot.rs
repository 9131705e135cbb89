//! `plot`: the papers' figures of a sweep.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use privatekube_simulator::plot;

/// Draws the papers' figures of the runs in DIR (all shards together), as SVG and PNG, and a page with all of them, our
/// values next to the published ones.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  privatekube-simulator plot results --out docs/evaluation")]
pub(crate) struct Plot {
    /// Where sweeps left their tables (runs.csv, classes.csv, delays.csv, or as Parquet).
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where the figures go. Left out: DIR/figures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Plot {
    pub(crate) fn run(&self) -> Result<()> {
        let out = self.out.clone().unwrap_or_else(|| self.directory.join("figures"));
        let command = format!(
            "privatekube-simulator plot {} --out {}",
            self.directory.display(),
            out.display()
        );
        let written = plot::write(&self.directory, &out, &command)?;
        for missing in &written.missing {
            eprintln!("not drawn: {}: needs {}", missing.title, missing.needs);
        }
        println!("{} figures: {}", written.figures, written.page.display());
        Ok(())
    }
}
