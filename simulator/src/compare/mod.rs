//! Compares two runs of one workload: the tasks that only one run grants, the differences in delay of the tasks
//! that both grant, and the dominant shares of the tasks.
//!
//! A [`ComparedRun`] is a run that this process simulated or read from a file. A [`Comparison`] has the
//! differences between two runs, and [`Comparison::page`] formats them for people. Begin reading at
//! [`Comparison::of`].

mod compared_run;
mod error;
mod numbers;
mod table;
mod text;

use serde::Serialize;

use crate::{Decision, Delays, Summary, Task, Workload, seconds};
pub use compared_run::{ComparedRun, pair};
pub use error::CompareError;
pub use numbers::Spread;
pub use text::Page;

/// The differences between run A and run B.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Totals of run A.
    pub a: Totals,
    /// Totals of run B.
    pub b: Totals,
    /// Number of tasks.
    pub tasks: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// The classes, in the workload's order.
    pub classes: Vec<ClassPair>,
    /// Number of tasks for each combination of an end in A and an end in B; combinations without tasks are left
    /// out.
    pub ends: Vec<EndPair>,
    /// Differences between the delays of the tasks that both runs grant.
    pub delay_change: DelayChange,
    /// Dominant shares of the tasks, grouped by the runs that grant them.
    pub dominant_shares: DominantShares,
    /// The tasks that only A grants, in the order of arrival.
    pub only_a: Vec<TaskPair>,
    /// The tasks that only B grants, in the order of arrival.
    pub only_b: Vec<TaskPair>,
}

/// Totals of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// The run's name.
    pub run: String,
    /// Number of granted tasks.
    pub granted: usize,
    /// Number of tasks that were denied or expired.
    pub refused: usize,
    /// Number of tasks that still waited at the end.
    pub waiting: usize,
    /// Delays of the granted tasks; `None` if there are none.
    pub delay_seconds: Option<Delays>,
}

/// One class of tasks in both runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPair {
    /// The class's name.
    pub class: String,
    /// Number of its tasks.
    pub tasks: usize,
    /// Number of its tasks that A grants.
    pub granted_a: usize,
    /// Number of its tasks that B grants.
    pub granted_b: usize,
}

/// How a task ended in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It was granted.
    Granted,
    /// It was denied or expired.
    Refused,
    /// It still waited at the end of the run.
    Waiting,
}

/// Number of tasks with one pair of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndPair {
    /// The end in A.
    pub a: End,
    /// The end in B.
    pub b: End,
    /// Number of tasks with this pair.
    pub tasks: usize,
}

/// Differences in delay, B minus A, of the tasks that both runs grant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DelayChange {
    /// Number of tasks that B grants sooner.
    pub sooner: usize,
    /// Number of tasks that both runs grant at the same time.
    pub same: usize,
    /// Number of tasks that B grants later.
    pub later: usize,
    /// Distribution of the differences in seconds; `None` if no task is granted by both.
    pub seconds: Option<Spread>,
}

/// Dominant shares of tasks: the largest share that a task demands of any of its blocks, by the rules of run A.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DominantShares {
    /// Tasks that both runs grant.
    pub both: Option<Spread>,
    /// Tasks that only A grants.
    pub only_a: Option<Spread>,
    /// Tasks that only B grants.
    pub only_b: Option<Spread>,
    /// Tasks that neither run grants.
    pub neither: Option<Spread>,
}

/// A task that only one of the runs grants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskPair {
    /// The task's number in the workload, or its place in the trace, counted from 0.
    pub task: usize,
    /// Time of arrival, in seconds.
    pub arrival: f64,
    /// Number of blocks that the task requests.
    pub blocks: usize,
    /// The task's dominant share.
    pub dominant_share: f64,
    /// The task's class.
    pub class: String,
    /// Time of the grant, in seconds.
    pub granted_at: f64,
    /// How the task ended in the other run.
    pub other: End,
}

impl From<Decision> for End {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Granted(_) => Self::Granted,
            Decision::Refused(_) => Self::Refused,
            Decision::Waiting => Self::Waiting,
        }
    }
}

impl End {
    const ALL: [Self; 3] = [Self::Granted, Self::Refused, Self::Waiting];
}

impl Comparison {
    /// Compares two runs. Returns an error unless both have the same tasks and blocks. Demands may differ, as they
    /// do between two compositions; the dominant shares are those of A.
    pub fn of(a: &ComparedRun, b: &ComparedRun) -> Result<Self, CompareError> {
        a.check_same_tasks(b)?;
        let (of_a, of_b) = (a.outcome.summary(&a.workload), b.outcome.summary(&a.workload));
        let classes = of_a.classes.iter().zip(&of_b.classes).map(|(a, b)| ClassPair {
            class: a.class.clone(),
            tasks: a.tasks,
            granted_a: a.granted,
            granted_b: b.granted,
        });
        let pairs: Vec<Pair> = pairs(a, b).collect();
        let count = |one, other| {
            let ended = pairs
                .iter()
                .filter(|pair| (pair.a.into(), pair.b.into()) == (one, other));
            ended.count()
        };
        let ends = End::ALL.into_iter().flat_map(|a| End::ALL.map(|b| (a, b)));
        let ends = ends.map(|(a, b)| EndPair {
            a,
            b,
            tasks: count(a, b),
        });
        Ok(Self {
            tasks: a.workload.tasks.len(),
            blocks: a.workload.blocks.len(),
            classes: classes.collect(),
            ends: ends.filter(|pair| pair.tasks > 0).collect(),
            delay_change: DelayChange::of(&pairs),
            dominant_shares: DominantShares::of(&pairs),
            only_a: granted_by_one(&a.workload, &pairs, |pair| (pair.a, pair.b)),
            only_b: granted_by_one(&a.workload, &pairs, |pair| (pair.b, pair.a)),
            a: Totals::of(a, &of_a),
            b: Totals::of(b, &of_b),
        })
    }
}

impl Totals {
    fn of(run: &ComparedRun, summary: &Summary) -> Self {
        Self {
            run: run.name.clone(),
            granted: summary.granted,
            refused: summary.refused,
            waiting: summary.waiting,
            delay_seconds: summary.delay,
        }
    }
}

/// A task and its decisions in both runs.
struct Pair<'a> {
    /// The task's number in the workload or trace.
    number: usize,
    task: &'a Task,
    /// The dominant share in run A.
    share: f64,
    a: Decision,
    b: Decision,
}

/// Pairs the decisions on each task, in the workload's order.
fn pairs<'a>(a: &'a ComparedRun, b: &'a ComparedRun) -> impl Iterator<Item = Pair<'a>> {
    let tasks = a.workload.tasks.iter().zip(&a.numbers);
    let decisions = a.outcome.decisions.iter().zip(&b.outcome.decisions);
    tasks.zip(decisions).map(|((task, number), (of_a, of_b))| Pair {
        number: *number,
        task,
        share: dominant_share(a, task),
        a: *of_a,
        b: *of_b,
    })
}

/// A task's dominant share by the rule of run A, rounded for display. (The policies compare exact fractions.)
fn dominant_share(a: &ComparedRun, task: &Task) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the share is displayed with a few digits"
    )]
    let part = |(demand, capacity): (i64, i64)| demand as f64 / capacity as f64;
    let blocks = task.blocks.iter();
    let blocks = blocks.filter_map(|block| a.workload.blocks.get(*block as usize));
    let shares = blocks.filter_map(|block| {
        let capacity = block.capacity.units().iter().copied();
        a.share_rule.share(task.demand.units(), capacity).map(part)
    });
    shares.fold(0.0, f64::max)
}

/// The tasks that only the first of two runs grants. `decisions` returns a pair's decisions, the first run's first.
fn granted_by_one(
    workload: &Workload,
    pairs: &[Pair<'_>],
    decisions: impl Fn(&Pair<'_>) -> (Decision, Decision),
) -> Vec<TaskPair> {
    let granted = pairs.iter().filter_map(|pair| match decisions(pair) {
        (Decision::Granted(at), other) if !matches!(other, Decision::Granted(_)) => Some(TaskPair {
            task: pair.number,
            arrival: seconds(pair.task.at),
            blocks: pair.task.blocks.len(),
            dominant_share: pair.share,
            class: workload.classes.get(pair.task.class).cloned().unwrap_or_default(),
            granted_at: seconds(at),
            other: other.into(),
        }),
        _ => None,
    });
    granted.collect()
}

impl DelayChange {
    fn of(pairs: &[Pair<'_>]) -> Self {
        let changes = pairs.iter().filter_map(|pair| match (pair.a, pair.b) {
            (Decision::Granted(a), Decision::Granted(b)) if b >= a => Some(numbers::difference(b, a)),
            (Decision::Granted(a), Decision::Granted(b)) => Some(-numbers::difference(a, b)),
            _ => None,
        });
        let changes: Vec<f64> = changes.collect();
        Self {
            sooner: changes.iter().filter(|change| **change < 0.0).count(),
            same: changes.iter().filter(|change| **change == 0.0).count(),
            later: changes.iter().filter(|change| **change > 0.0).count(),
            seconds: Spread::of(changes),
        }
    }
}

impl DominantShares {
    fn of(pairs: &[Pair<'_>]) -> Self {
        let of = |by_a: bool, by_b: bool| {
            let granted = |decision| matches!(decision, Decision::Granted(_));
            let those = pairs
                .iter()
                .filter(|pair| granted(pair.a) == by_a && granted(pair.b) == by_b);
            Spread::of(those.map(|pair| pair.share).collect())
        };
        Self {
            both: of(true, true),
            only_a: of(true, false),
            only_b: of(false, true),
            neither: of(false, false),
        }
    }
}

#[cfg(test)]
mod tests;
