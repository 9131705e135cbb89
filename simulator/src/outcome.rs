//! The result of a run: how each task of a workload ended, and summaries of that.

use std::time::Duration;

use privatekube_policy::Time;
use serde::Serialize;

use crate::{Fairness, Workload, seconds};

/// How one task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The task was granted all its demand at this time.
    Granted(Time),
    /// The task was denied or expired at this time.
    Refused(Time),
    /// The task still waited when the run ended.
    Waiting,
}

/// How all tasks ended, and how long the run took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One decision for each task, by the task's number.
    pub decisions: Vec<Decision>,
    /// An upper bound on the sum of the granted tasks' weights under any policy; only a search for the
    /// optimum computes it.
    pub bound: Option<u64>,
    /// The measures of fairness; none unless the engine made the run.
    pub fairness: Option<Fairness>,
    /// Wall-clock time that the run took on this machine.
    pub wall: Duration,
}

/// Counts and delays of an outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of tasks that arrived.
    pub tasks: usize,
    /// Number of tasks that were granted.
    pub granted: usize,
    /// Number of tasks that were denied or expired.
    pub refused: usize,
    /// Number of tasks that still waited at the end.
    pub waiting: usize,
    /// Arrived and granted tasks of each class, in the workload's order.
    pub classes: Vec<ClassCount>,
    /// Delays of the granted tasks; `None` if no task was granted.
    pub delay: Option<Delays>,
}

/// Counts of one class of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class's name.
    pub class: String,
    /// Number of its tasks that arrived.
    pub tasks: usize,
    /// Number of its tasks that were granted.
    pub granted: usize,
}

/// Delays of granted tasks from arrival to grant, in seconds. The p-quantile is the smallest delay that at
/// least a fraction p of the tasks does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delays {
    /// The mean.
    pub average: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Outcome {
    /// Returns the delay of each granted task in seconds, in ascending order.
    #[must_use]
    pub fn delays(&self, workload: &Workload) -> Vec<f64> {
        let pairs = workload.tasks.iter().zip(&self.decisions);
        let mut delays: Vec<u64> = pairs
            .filter_map(|(task, decision)| match decision {
                // A run grants no task before its arrival; if lines of `replay` claim so, the task waited for
                // nothing.
                Decision::Granted(at) => Some(at.micros().saturating_sub(task.at.micros())),
                Decision::Refused(_) | Decision::Waiting => None,
            })
            .collect();
        delays.sort_unstable();
        delays
            .into_iter()
            .map(|delay| seconds(Time::from_micros(delay)))
            .collect()
    }

    /// Counts the tasks of the outcome, in all and by class.
    #[must_use]
    pub fn summary(&self, workload: &Workload) -> Summary {
        let mut classes: Vec<ClassCount> = workload
            .classes
            .iter()
            .map(|class| ClassCount {
                class: class.clone(),
                tasks: 0,
                granted: 0,
            })
            .collect();
        let (mut granted, mut refused, mut waiting) = (0, 0, 0);
        for (task, decision) in workload.tasks.iter().zip(&self.decisions) {
            let is_granted = matches!(decision, Decision::Granted(_));
            match decision {
                Decision::Granted(_) => granted += 1,
                Decision::Refused(_) => refused += 1,
                Decision::Waiting => waiting += 1,
            }
            if let Some(class) = classes.get_mut(task.class) {
                class.tasks += 1;
                class.granted += usize::from(is_granted);
            }
        }
        Summary {
            tasks: self.decisions.len(),
            granted,
            refused,
            waiting,
            classes,
            delay: Delays::of(&self.delays(workload)),
        }
    }
}

impl Delays {
    /// Summarizes delays in seconds, given in ascending order.
    fn of(sorted: &[f64]) -> Option<Self> {
        let max = *sorted.last()?;
        // Rounding up to a place makes each quantile one of the delays.
        let quantile = |thousandths: usize| {
            let place = (sorted.len() * thousandths).div_ceil(1000).max(1);
            sorted.get(place - 1).copied().unwrap_or(max)
        };
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^32 tasks")]
        let count = sorted.len() as f64;
        Some(Self {
            average: sorted.iter().sum::<f64>() / count,
            p50: quantile(500),
            p90: quantile(900),
            p99: quantile(990),
            p999: quantile(999),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_delays_that_occurred() {
        let delays: Vec<f64> = (1..=200).map(f64::from).collect();
        let delays = Delays::of(&delays).unwrap();
        assert_eq!(
            (delays.p50, delays.p90, delays.p99, delays.p999, delays.max),
            (100.0, 180.0, 198.0, 200.0, 200.0)
        );
        assert!((delays.average - 100.5).abs() < 1e-12);
        let one = Delays::of(&[3.0]).unwrap();
        assert_eq!((one.p50, one.p999, one.average), (3.0, 3.0, 3.0));
        assert_eq!(Delays::of(&[]), None);
    }
}
