//! The result of one run: its rows of the tables.

use privatekube_policy::Composition;
use serde::{Deserialize, Serialize};

use super::{ClassRow, DelayRow, RunRow};
use crate::{
    Outcome,
    experiment::{CompositionKind, ExperimentError, Parameters, Prepared},
};

/// Limit of the number of points of a delay distribution.
const MOST_POINTS: usize = 100;

/// The result of one run: its rows of the tables. As JSON it is a line of a sweep's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The row of table `runs`.
    pub row: RunRow,
    /// The classes, in the workload's order: name, number of tasks, number of granted tasks.
    pub classes: Vec<(String, u64, u64)>,
    /// The cumulative distribution of delays: seconds, and the number of tasks granted with at most that
    /// delay. Of more than 100 points, 100 at most are kept: the first, the last, and others evenly spaced by
    /// granted tasks.
    pub delays: Vec<(f64, u64)>,
}

impl Parameters {
    /// Makes the run.
    pub fn result(&self) -> Result<RunResult, ExperimentError> {
        let prepared = self.prepare()?;
        let outcome = prepared.run()?;
        let by_engine = prepared.run_by_engine()?;
        Ok(RunResult::of(&prepared, &outcome, by_engine.as_ref()))
    }
}

impl RunResult {
    fn of(prepared: &Prepared, outcome: &Outcome, by_engine: Option<&Outcome>) -> Self {
        let (parameters, workload) = (&prepared.parameters, &prepared.workload);
        let summary = outcome.summary(workload);
        let delay = summary.delay;
        let fairness = by_engine.unwrap_or(outcome).fairness;
        let row = RunRow {
            run: parameters.name(),
            experiment: parameters.experiment,
            policy: parameters
                .policy
                .map(|policy| policy.to_string())
                .unwrap_or_default(),
            order: parameters.order,
            composition: match workload.composition {
                Composition::Basic => CompositionKind::Basic,
                Composition::Renyi(_) => CompositionKind::Renyi,
            },
            n: parameters.n,
            lifetime: parameters.lifetime,
            mice: parameters.mice,
            recompute_after: parameters.recompute_after,
            fairness: parameters.fairness,
            spread: parameters.spread,
            least: parameters.least,
            revision: Some(parameters.revision.unwrap_or_default().into()),
            seed: parameters.seed,
            blocks: count(workload.blocks.len()),
            tasks: count(summary.tasks),
            granted: count(summary.granted),
            granted_by_engine: by_engine.map(|outcome| count(outcome.summary(workload).granted)),
            bound: outcome.bound,
            refused: count(summary.refused),
            waiting: count(summary.waiting),
            delay_average: delay.map(|delay| delay.average),
            delay_p50: delay.map(|delay| delay.p50),
            delay_p90: delay.map(|delay| delay.p90),
            delay_p99: delay.map(|delay| delay.p99),
            delay_p999: delay.map(|delay| delay.p999),
            delay_max: delay.map(|delay| delay.max),
            jain: fairness.and_then(|fairness| fairness.jain),
            weighted_jain: fairness.and_then(|fairness| fairness.weighted_jain),
            weight_disagreement: fairness.and_then(|fairness| fairness.weight_disagreement),
            fair_at_once: fairness.and_then(|fairness| fairness.fair_at_once),
            fair_not_at_once: fairness.and_then(|fairness| fairness.fair_not_at_once),
            envied: fairness.map(|fairness| fairness.envied),
            envied_unknown: fairness.map(|fairness| fairness.envied_unknown),
            unused_blocks: fairness.map(|fairness| fairness.unused_blocks),
            wall: outcome.wall.as_secs_f64(),
        };
        let classes = summary.classes.into_iter();
        Self {
            row,
            classes: classes
                .map(|class| (class.class, count(class.tasks), count(class.granted)))
                .collect(),
            delays: thin(distribution(&outcome.delays(workload))),
        }
    }

    pub(super) fn class_rows(&self) -> impl Iterator<Item = ClassRow> {
        self.classes.iter().map(|(class, tasks, granted)| ClassRow {
            run: self.row.run.clone(),
            class: class.clone(),
            tasks: *tasks,
            granted: *granted,
        })
    }

    pub(super) fn delay_rows(&self) -> impl Iterator<Item = DelayRow> {
        self.delays.iter().map(|(delay, granted)| DelayRow {
            run: self.row.run.clone(),
            delay: *delay,
            granted: *granted,
        })
    }
}

/// A count as a table's column: nothing is lost, since a `usize` has at most 64 bits.
const fn count(number: usize) -> u64 {
    number as u64
}

/// Returns each distinct delay and the number of delays up to it, from delays in ascending order.
fn distribution(sorted: &[f64]) -> Vec<(f64, u64)> {
    let mut granted = 0;
    let chunks = sorted.chunk_by(|one, other| one.total_cmp(other).is_eq());
    chunks
        .filter_map(|same| {
            granted += count(same.len());
            Some((*same.first()?, granted))
        })
        .collect()
}

fn thin(points: Vec<(f64, u64)>) -> Vec<(f64, u64)> {
    let Some((_, total)) = points.last().copied().filter(|_| points.len() > MOST_POINTS) else {
        return points;
    };
    let steps = count(MOST_POINTS - 1);
    let mut kept: Vec<(f64, u64)> = Vec::with_capacity(MOST_POINTS);
    for step in 0..=steps {
        let wanted = total * step / steps;
        let at = points.partition_point(|(_, granted)| *granted < wanted);
        // If many delays are equal, several steps lead to the same point.
        let point = points.get(at).copied();
        kept.extend(point.filter(|point| kept.last() != Some(point)));
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_distribution_is_kept_whole() {
        let points = thin(distribution(&[0.0, 0.0, 0.5, 2.0]));
        assert_eq!(points, [(0.0, 2), (0.5, 3), (2.0, 4)]);
        assert_eq!(thin(distribution(&[])), []);
    }

    proptest! {
        #[test]
        fn a_thinned_distribution_has_true_points_close_to_each_other(
            delays in proptest::collection::vec(0_u32..5_000, 1..3_000),
        ) {
            let mut delays: Vec<f64> = delays.into_iter().map(f64::from).collect();
            delays.sort_by(f64::total_cmp);
            let all = distribution(&delays);
            let kept = thin(all.clone());
            prop_assert!(kept.len() <= MOST_POINTS);
            prop_assert_eq!(kept.first(), all.first());
            prop_assert_eq!(kept.last(), all.last());
            prop_assert!(kept.iter().all(|point| all.contains(point)));
            let step = count(delays.len()) / count(MOST_POINTS - 1) + 1;
            for pair in kept.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
                // What is left out between two points is at most one step; the last point itself may be a
                // jump.
                let left_out = all.iter().rev().find(|(delay, _)| *delay < pair[1].0);
                prop_assert!(left_out.unwrap().1 - pair[0].1 <= step);
            }
        }
    }
}
