//! `replay`: runs traces through the engine and prints one line of JSON for each.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_simulator::{Decision, Outcome, run, seconds, trace::Trace};
use serde::Serialize;

use super::output;

/// Replays traces and prints one line of JSON for each: the granted tasks with their times, the refused
/// tasks, and the tasks that still waited at the end. A task's number is its place in the file, counted from
/// 0; times are in seconds.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  privatekube-simulator replay --check policy/tests/traces/*.json > results.jsonl"
)]
pub(crate) struct Replay {
    /// The trace files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Fails if the grants differ from those in the file.
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    granted: Vec<(usize, f64)>,
    refused: Vec<usize>,
    waiting: Vec<usize>,
}

impl Replay {
    pub(crate) fn run(&self) -> Result<()> {
        let mut failed = 0;
        for path in &self.files {
            let file = path.display().to_string();
            match replay(path) {
                Ok((trace, outcome)) => {
                    output::line(&line(&file, &trace, &outcome))?;
                    if self.check
                        && let Err(differing) = check(&trace, &outcome)
                    {
                        output::message(&format!("{file}: {differing}"));
                        failed += 1;
                    }
                }
                Err(error) => {
                    output::message(&format!("{file}: {error:#}"));
                    failed += 1;
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} traces failed", self.files.len());
        }
        Ok(())
    }
}

fn replay(path: &Path) -> Result<(Trace, Outcome)> {
    let text = fs::read_to_string(path).context("can't be read")?;
    let trace = Trace::read(&text)?;
    let outcome = run(&trace.workload, &trace.dataset_rules)?;
    Ok((trace, outcome))
}

fn line<'a>(file: &'a str, trace: &Trace, outcome: &Outcome) -> Line<'a> {
    let mut line = Line {
        file,
        granted: Vec::new(),
        refused: Vec::new(),
        waiting: Vec::new(),
    };
    for (place, decision) in trace.places.iter().zip(&outcome.decisions) {
        match decision {
            Decision::Granted(at) => line.granted.push((*place, seconds(*at))),
            Decision::Refused(_) => line.refused.push(*place),
            Decision::Waiting => line.waiting.push(*place),
        }
    }
    line.granted.sort_by_key(|(place, _)| *place);
    line.refused.sort_unstable();
    line.waiting.sort_unstable();
    line
}

fn check(trace: &Trace, outcome: &Outcome) -> Result<()> {
    let known = trace.places.iter().zip(&trace.granted).zip(&outcome.decisions);
    let (mut differing, mut first) = (0, None);
    for ((place, known), decision) in known {
        let found = match decision {
            Decision::Granted(at) => Some(*at),
            Decision::Refused(_) | Decision::Waiting => None,
        };
        if found != *known {
            differing += 1;
            first = first.or(Some((*place, *known, found)));
        }
    }
    let Some((place, known, found)) = first else {
        return Ok(());
    };
    let describe = |at: Option<_>| {
        at.map_or("not granted".to_owned(), |at| {
            format!("granted at {}", seconds(at))
        })
    };
    let differ = if differing == 1 {
        "task differs"
    } else {
        "tasks differ"
    };
    bail!(
        "{differing} {differ} from the file; the first is task {place}: {} here, {} there",
        describe(found),
        describe(known)
    )
}
