//! A run as the line of JSON that `experiment` prints.

use privatekube_policy::Revision;
use serde::Serialize;

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared, VisitOrder};
use crate::{ClassCount, Delays, Fairness, Outcome, run};

/// A run's parameters and results.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    experiment: Experiment,
    /// The source of the tasks, where an experiment has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    policy: String,
    composition: Option<CompositionKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mice_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<VisitOrder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recompute_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fairness: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<u32>,
    /// The revision of the engine's rules.
    revision: Revision,
    seed: u64,
    blocks: usize,
    tasks: usize,
    granted: Granted,
    /// An upper bound for any policy, if the optimum is requested. If it equals the total, the total is
    /// proven to be optimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<u64>,
    refused: usize,
    waiting: usize,
    /// Delays of the granted tasks; `None` if there are none.
    delay_seconds: Option<Delays>,
    /// The measures of fairness; those of the engine's run, if the total is that of the released simulator's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    measures: Option<Fairness>,
    wall_seconds: f64,
}

/// Numbers of granted tasks.
#[derive(Clone, Debug, Serialize)]
struct Granted {
    total: usize,
    /// Number of tasks that the engine grants, if the total is that of the released simulator's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_engine: Option<usize>,
    classes: Vec<ClassCount>,
}

impl Parameters {
    /// Makes the run and reports it.
    pub fn report(&self) -> Result<Report, ExperimentError> {
        let prepared = self.prepare()?;
        let is_synthetic = self.experiment == Experiment::Alibaba;
        prepared.report(is_synthetic.then(|| "synthetic".to_owned()))
    }
}

impl Prepared {
    /// Makes the engine's run, if [`run`](Self::run) uses the released simulator's order; otherwise `None`.
    pub fn run_by_engine(&self) -> Result<Option<Outcome>, ExperimentError> {
        let by_engine = || Ok(run(&self.workload, &self.dataset_rules)?);
        self.published.as_ref().map(|_| by_engine()).transpose()
    }

    /// Makes the run and reports it. `data` says where its tasks are from.
    pub fn report(self, data: Option<String>) -> Result<Report, ExperimentError> {
        let outcome = self.run()?;
        let summary = outcome.summary(&self.workload);
        let by_engine = self.run_by_engine()?;
        let parameters = self.parameters;
        Ok(Report {
            experiment: parameters.experiment,
            data,
            policy: parameters
                .policy
                .map(|policy| policy.to_string())
                .unwrap_or_default(),
            composition: parameters.composition,
            n: parameters.n,
            lifetime_seconds: parameters.lifetime,
            mice_percent: parameters.mice,
            order: parameters.order,
            recompute_after: parameters.recompute_after,
            fairness: parameters.fairness,
            spread: parameters.spread,
            least: parameters.least,
            nodes: parameters.nodes,
            revision: parameters.revision.unwrap_or_default(),
            seed: parameters.seed,
            blocks: self.workload.blocks.len(),
            tasks: summary.tasks,
            granted: Granted {
                total: summary.granted,
                by_engine: by_engine
                    .as_ref()
                    .map(|outcome| outcome.summary(&self.workload).granted),
                classes: summary.classes,
            },
            bound: outcome.bound,
            refused: summary.refused,
            waiting: summary.waiting,
            delay_seconds: summary.delay,
            measures: by_engine.as_ref().unwrap_or(&outcome).fairness,
            wall_seconds: outcome.wall.as_secs_f64(),
        })
    }
}
