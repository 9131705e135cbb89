//! One run in one line.

use serde::Serialize;

use super::{CompositionKind, Experiment, ExperimentError, Parameters};
use crate::{ClassCount, Delays, run};

/// A run's parameters, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    experiment: Experiment,
    policy: String,
    composition: Option<CompositionKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mice_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recompute_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fairness: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<f64>,
    seed: u64,
    blocks: usize,
    tasks: usize,
    granted: Granted,
    refused: usize,
    waiting: usize,
    /// Of the granted tasks; none if there are none.
    delay_seconds: Option<Delays>,
    wall_seconds: f64,
}

/// How many were granted.
#[derive(Clone, Debug, Serialize)]
struct Granted {
    total: usize,
    classes: Vec<ClassCount>,
}

impl Parameters {
    /// Runs it.
    pub fn report(&self) -> Result<Report, ExperimentError> {
        let prepared = self.prepare()?;
        let outcome = run(&prepared.workload, &prepared.setting)?;
        let summary = outcome.summary(&prepared.workload);
        let parameters = prepared.parameters;
        Ok(Report {
            experiment: parameters.experiment,
            policy: parameters
                .policy
                .map(|policy| policy.to_string())
                .unwrap_or_default(),
            composition: parameters.composition,
            n: parameters.n,
            lifetime_seconds: parameters.lifetime,
            mice_percent: parameters.mice,
            recompute_after: parameters.recompute_after,
            fairness: parameters.fairness,
            spread: parameters.spread,
            least: parameters.least,
            seed: parameters.seed,
            blocks: prepared.workload.blocks.len(),
            tasks: summary.tasks,
            granted: Granted {
                total: summary.granted,
                classes: summary.classes,
            },
            refused: summary.refused,
            waiting: summary.waiting,
            delay_seconds: summary.delay,
            wall_seconds: outcome.wall.as_secs_f64(),
        })
    }
}
