//! `generate`: writes an experiment's workload as a trace.

use std::{fs::File, io::BufWriter, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use privatekube_simulator::{results::write_atomically, run, trace};

use super::{output, parameters::ParameterArguments};

/// Writes an experiment's workload and policy as a trace, which `replay` and `compare` read.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  privatekube-simulator generate micro-multi --policy dpf-n --n 175 --answers --out trace.json
  privatekube-simulator replay --check trace.json")]
pub(crate) struct Generate {
    #[command(flatten)]
    parameters: ParameterArguments,
    /// Runs the workload, and writes when the engine grants each task.
    #[arg(long)]
    answers: bool,
    /// The file to write; an existing one is replaced as a whole. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Generate {
    pub(crate) fn run(&self) -> Result<()> {
        let prepared = self.parameters.parameters().prepare()?;
        if prepared.search.is_some() {
            bail!("policy is optimum, which no trace can name: choose another, such as dpack");
        }
        // The engine decides, in the order of dominant shares: a trace can name no other order.
        let outcome = self
            .answers
            .then(|| run(&prepared.workload, &prepared.dataset_rules))
            .transpose()?;
        let decisions = outcome.as_ref().map(|outcome| outcome.decisions.as_slice());
        let version = env!("CARGO_PKG_VERSION");
        let source = format!("privatekube-simulator {version}: {}", prepared.parameters.name());
        if let Some(path) = &self.out {
            let write = |to: &mut BufWriter<File>| {
                trace::write(to, &prepared.workload, &prepared.settings, decisions, &source)
            };
            return write_atomically(path, write).with_context(|| path.display().to_string());
        }
        let mut text = Vec::new();
        trace::write(
            &mut text,
            &prepared.workload,
            &prepared.settings,
            decisions,
            &source,
        )?;
        Ok(output::bytes(&text)?)
    }
}
