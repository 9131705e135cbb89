//! Compares our values with published ones.

use super::{
    published::{PublishedValue, Quantity, Source},
    runs::{Runs, count, reference, same, unlocking},
};
use crate::{
    experiment::{CompositionKind, Experiment},
    results::RunRow,
};

/// A value of ours with the published values of the same quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedValue {
    /// The composition.
    pub composition: CompositionKind,
    /// The quantity.
    pub quantity: Quantity,
    /// The policy's short name.
    pub policy: String,
    /// N, or the lifetime in mean intervals between two arrivals.
    pub n: Option<u32>,
    /// Percentage of mice among the tasks.
    pub mice: Option<f64>,
    /// Our value, with the released simulator's seed.
    pub ours: f64,
    /// Number of tasks that the engine grants, if `ours` is that of the released simulator's order.
    pub by_engine: Option<f64>,
    /// Published values: source, value and uncertainty.
    pub theirs: Vec<(Source, f64, f64)>,
}

impl ComparedValue {
    /// Whether our value is within the uncertainty of the source's value; `None` if the source has none.
    #[must_use]
    pub fn agrees(&self, source: Source) -> Option<bool> {
        let theirs = self.theirs.iter().find(|(by, _, _)| *by == source);
        theirs.map(|(_, value, error)| (self.ours - value).abs() <= error + 1e-9 * value.abs())
    }
}

/// Compares all published values of an experiment for which there are runs, in the order of the list.
#[must_use]
pub fn compare(experiment: Experiment, runs: &Runs<'_>, published: &[PublishedValue]) -> Vec<ComparedValue> {
    let name = experiment.to_string();
    let mut compared: Vec<ComparedValue> = Vec::new();
    for row in published.iter().filter(|row| row.experiment == name) {
        let theirs = (row.source, row.value, row.error);
        let known = compared.iter_mut().find(|known| {
            known.composition == row.composition
                && known.quantity == row.quantity
                && known.policy == row.policy
                && known.n == row.n
                && known.mice == row.mice
        });
        if let Some(known) = known {
            known.theirs.push(theirs);
        } else if let Some((run, ours)) = ours(experiment, runs, row) {
            compared.push(ComparedValue {
                composition: row.composition,
                quantity: row.quantity,
                policy: row.policy.clone(),
                n: row.n,
                mice: row.mice,
                ours,
                by_engine: run
                    .granted_by_engine
                    .filter(|_| row.quantity == Quantity::Granted)
                    .map(count),
                theirs: vec![theirs],
            });
        }
    }
    compared
}

/// Returns our run and its value.
fn ours<'a>(experiment: Experiment, runs: &Runs<'a>, row: &PublishedValue) -> Option<(&'a RunRow, f64)> {
    let equal = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same(one, other),
        _ => false,
    };
    let alike = runs.of(experiment).filter(|run: &&RunRow| {
        run.composition == row.composition
            && run.policy == row.policy
            && equal(run.mice, row.mice)
            && equal(unlocking(run), row.n.map(f64::from))
    });
    let run = reference(alike)?;
    let value = match row.quantity {
        Quantity::Granted => Some(count(run.granted)),
        Quantity::GrantedPart => (run.tasks > 0).then(|| count(run.granted) / count(run.tasks)),
        Quantity::DelayAverage => run.delay_average,
        Quantity::DelayP99 => run.delay_p99,
    };
    Some((run, value?))
}
