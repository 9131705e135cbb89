//! A run to compare: made from an experiment or a trace, or read from the lines that `replay` printed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use privatekube_policy::{ShareRule, Time};
use serde::Deserialize;

use super::CompareError;
use crate::{
    Decision, Outcome, PolicySettings, Workload,
    experiment::{Experiment, Parameters},
    run, time,
    trace::Trace,
};

/// A run to compare.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    pub(super) name: String,
    pub(super) workload: Workload,
    /// For each task of the workload, the number to print for it.
    pub(super) numbers: Vec<usize>,
    pub(super) outcome: Outcome,
    /// How a task's share of a block follows from its demand.
    pub(super) share_rule: ShareRule,
    origin: Origin,
}

/// The source of a run, from which its workload can be run under another policy.
#[derive(Clone, Debug)]
enum Origin {
    Experiment(Box<Parameters>),
    Trace(PolicySettings),
}

/// A line that `replay` prints.
#[derive(Deserialize)]
struct Line {
    file: PathBuf,
    granted: Vec<(usize, f64)>,
    refused: Vec<usize>,
    waiting: Vec<usize>,
}

/// Returns the pairs of runs that two command-line arguments name. Runs in files with several results are
/// paired by their traces.
pub fn pair(a: &str, b: &str) -> Result<Vec<(ComparedRun, ComparedRun)>, CompareError> {
    let of_a = compared_runs(a)?;
    let is_run = Path::new(b).exists() || begins_with_experiment(b);
    let mut of_b = match (is_run, of_a.as_slice()) {
        (true, _) => compared_runs(b)?,
        (false, [one]) => vec![one.decided_otherwise(b)?],
        (false, several) => {
            return Err(CompareError::Several {
                text: b.to_owned(),
                first: a.to_owned(),
                count: several.len(),
            });
        }
    };
    if of_a.len() == 1 && of_b.len() == 1 {
        return Ok(of_a.into_iter().zip(of_b).collect());
    }
    let unpaired = |a: &str, run: &ComparedRun, b: &str| CompareError::Unpaired {
        a: a.to_owned(),
        run: run.name.clone(),
        b: b.to_owned(),
    };
    let mut pairs = Vec::with_capacity(of_a.len());
    for one in of_a {
        let Some(at) = of_b.iter().position(|other| other.name == one.name) else {
            return Err(unpaired(b, &one, a));
        };
        pairs.push((one, of_b.remove(at)));
    }
    of_b.first().map_or(Ok(pairs), |alone| Err(unpaired(a, alone, b)))
}

fn begins_with_experiment(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    first.parse::<Experiment>().is_ok()
}

/// Returns the runs that one argument names.
fn compared_runs(text: &str) -> Result<Vec<ComparedRun>, CompareError> {
    let path = Path::new(text);
    if !path.exists() {
        let parameters: Parameters = text.parse().map_err(|error| CompareError::Name {
            text: text.to_owned(),
            error,
        })?;
        return ComparedRun::of_experiment(text, &parameters).map(|run| vec![run]);
    }
    let file = read(path)?;
    // Both are JSON: a trace is one object, and its first line does not parse as a line of `replay`.
    let first = file.lines().next().unwrap_or_default();
    if serde_json::from_str::<Line>(first).is_err() && path.extension().is_none_or(|ending| ending != "jsonl")
    {
        let trace = trace(path, &file)?;
        return ComparedRun::of_trace(text, trace.workload.clone(), trace.places, trace.settings)
            .map(|run| vec![run]);
    }
    let lines = file
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let runs: Vec<ComparedRun> = lines
        .map(|(nth, line)| ComparedRun::of_line(path, nth + 1, line))
        .collect::<Result<_, _>>()?;
    if runs.is_empty() {
        return Err(CompareError::Empty(path.to_owned()));
    }
    Ok(runs)
}

fn read(path: &Path) -> Result<String, CompareError> {
    fs::read_to_string(path).map_err(|error| CompareError::Read {
        path: path.to_owned(),
        error,
    })
}

fn trace(path: &Path, text: &str) -> Result<Trace, CompareError> {
    Trace::read(text).map_err(|error| CompareError::Trace {
        path: path.to_owned(),
        error,
    })
}

impl ComparedRun {
    fn of_experiment(text: &str, parameters: &Parameters) -> Result<Self, CompareError> {
        let refused = |error| CompareError::Experiment {
            text: text.to_owned(),
            error,
        };
        let prepared = parameters.prepare().map_err(refused)?;
        let outcome = prepared.run().map_err(refused)?;
        Ok(Self {
            name: prepared.parameters.name(),
            numbers: (0..prepared.workload.tasks.len()).collect(),
            workload: prepared.workload,
            outcome,
            share_rule: prepared.dataset_rules.share_rule(),
            origin: Origin::Experiment(Box::new(parameters.clone())),
        })
    }

    fn of_trace(
        text: &str,
        workload: Workload,
        numbers: Vec<usize>,
        settings: PolicySettings,
    ) -> Result<Self, CompareError> {
        let dataset_rules = settings.dataset_rules(workload.composition.clone());
        let dataset_rules = dataset_rules.map_err(|error| CompareError::PolicySettings {
            text: text.to_owned(),
            error,
        })?;
        let outcome = run(&workload, &dataset_rules).map_err(|error| CompareError::Run {
            text: text.to_owned(),
            error,
        })?;
        Ok(Self {
            name: text.to_owned(),
            workload,
            numbers,
            outcome,
            share_rule: dataset_rules.share_rule(),
            origin: Origin::Trace(settings),
        })
    }

    fn of_line(path: &Path, number: usize, line: &str) -> Result<Self, CompareError> {
        let line: Line = serde_json::from_str(line).map_err(|error| CompareError::Line {
            path: path.to_owned(),
            line: number,
            error,
        })?;
        let trace = trace(&line.file, &read(&line.file)?)?;
        let there = trace.workload.tasks.len();
        let tasks = |what: String| CompareError::Tasks {
            path: path.to_owned(),
            line: number,
            trace: line.file.clone(),
            there,
            what,
        };
        let counted = line.granted.len() + line.refused.len() + line.waiting.len();
        if counted != there {
            return Err(tasks(format!("the line has {counted}")));
        }
        let mut ends: Vec<Option<Decision>> = vec![None; there];
        let mut note = |place: usize, decision| match ends.get_mut(place) {
            Some(end @ None) => {
                *end = Some(decision);
                Ok(())
            }
            Some(Some(_)) => Err(tasks(format!("the line has task {place} twice"))),
            None => Err(tasks(format!("the line has task {place}"))),
        };
        for (place, at) in &line.granted {
            let at = time(*at).map_err(|error| CompareError::Time {
                path: path.to_owned(),
                line: number,
                error,
            })?;
            note(*place, Decision::Granted(at))?;
        }
        for place in &line.refused {
            // `replay` prints no time of a refusal, and none is compared.
            note(*place, Decision::Refused(Time::from_micros(0)))?;
        }
        for place in &line.waiting {
            note(*place, Decision::Waiting)?;
        }
        let decisions = trace
            .places
            .iter()
            .map(|place| ends[*place].unwrap_or(Decision::Waiting));
        Ok(Self {
            name: line.file.display().to_string(),
            outcome: Outcome {
                decisions: decisions.collect(),
                bound: None,
                fairness: None,
                wall: Duration::ZERO,
            },
            workload: trace.workload,
            share_rule: trace.dataset_rules.share_rule(),
            numbers: trace.places,
            origin: Origin::Trace(trace.settings),
        })
    }

    /// Runs the same workload under the policy `text`, which may contain the policy's numbers.
    fn decided_otherwise(&self, text: &str) -> Result<Self, CompareError> {
        let name = |error| CompareError::Name {
            text: text.to_owned(),
            error,
        };
        match &self.origin {
            Origin::Experiment(parameters) => {
                let own = Parameters {
                    policy: None,
                    n: None,
                    lifetime: None,
                    order: None,
                    recompute_after: None,
                    fairness: None,
                    ..(**parameters).clone()
                };
                Self::of_experiment(text, &own.with(text).map_err(name)?)
            }
            Origin::Trace(settings) => {
                // The parser of run names needs some experiment; a trace has none, so any serves.
                let none = Parameters::of(Experiment::MicroSingle);
                let given = none.clone().with(text).map_err(name)?;
                let only_settings = Parameters {
                    policy: given.policy,
                    n: given.n,
                    lifetime: given.lifetime,
                    recompute_after: given.recompute_after,
                    fairness: given.fairness,
                    revision: given.revision,
                    ..none
                };
                if only_settings != given {
                    return Err(CompareError::Useless {
                        text: text.to_owned(),
                    });
                }
                let settings = PolicySettings {
                    policy: given.policy.unwrap_or(settings.policy),
                    n: given.n,
                    lifetime: given.lifetime,
                    tick: settings.tick,
                    recompute_after: given.recompute_after.unwrap_or(settings.recompute_after),
                    fairness: given.fairness.unwrap_or(settings.fairness),
                    revision: given.revision.unwrap_or(settings.revision),
                };
                Self::of_trace(text, self.workload.clone(), self.numbers.clone(), settings)
            }
        }
    }

    /// Checks that both runs have the same tasks and blocks. Under different compositions, demands and
    /// capacities may differ.
    pub(super) fn check_same_tasks(&self, other: &Self) -> Result<(), CompareError> {
        let refused = |what: String| {
            Err(CompareError::Workloads {
                a: self.name.clone(),
                b: other.name.clone(),
                what,
            })
        };
        let (a, b) = (&self.workload, &other.workload);
        if a.tasks.len() != b.tasks.len() {
            return refused(format!(
                "the one has {} tasks, the other {}",
                a.tasks.len(),
                b.tasks.len()
            ));
        }
        let arrivals = |workload: &Workload| {
            workload
                .blocks
                .iter()
                .map(|block| block.at)
                .collect::<Vec<Time>>()
        };
        if arrivals(a) != arrivals(b) {
            return refused("their blocks do not come at the same times".to_owned());
        }
        let mut tasks = a.tasks.iter().zip(&b.tasks);
        let differs = tasks.position(|(a, b)| (a.at, &a.blocks, a.class) != (b.at, &b.blocks, b.class));
        if let Some(at) = differs {
            return refused(format!(
                "task {} comes at another time, asks for other blocks or is of another class",
                self.numbers.get(at).unwrap_or(&at)
            ));
        }
        if a.composition == b.composition {
            let differs = a
                .tasks
                .iter()
                .zip(&b.tasks)
                .position(|(a, b)| a.demand != b.demand);
            if let Some(at) = differs {
                return refused(format!(
                    "task {} asks for other budgets",
                    self.numbers.get(at).unwrap_or(&at)
                ));
            }
        }
        Ok(())
    }
}
