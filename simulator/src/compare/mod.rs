//! What differs between two runs of one workload: who is granted by the one and not by the other, how long those wait
//! that both grant, and how large all of them are.
//!
//! A [`ComparedRun`] is a run that was made or read; a [`Comparison`] is of two of them, and its [`page`](Comparison::page) is for people.

mod compared_run;
mod error;
mod numbers;
mod text;

use serde::Serialize;

use crate::{Decision, Delays, Summary, Task, Workload, seconds};
pub use compared_run::{ComparedRun, pair};
pub use error::CompareError;
pub use numbers::Spread;
pub use text::Page;

/// What differs between run A and run B.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The one run.
    pub a: Totals,
    /// The other.
    pub b: Totals,
    /// How many tasks came.
    pub tasks: usize,
    /// How many blocks came.
    pub blocks: usize,
    /// The classes, in the workload's order.
    pub classes: Vec<ClassPair>,
    /// How many tasks ended how in A and how in B; those pairs that occur.
    pub ends: Vec<EndPair>,
    /// Of the tasks that both grant: how much later B does.
    pub delay_change: DelayChange,
    /// How large the tasks are, by who grants them.
    pub dominant_shares: DominantShares,
    /// The tasks that only A grants, in the order in which they come.
    pub only_a: Vec<TaskPair>,
    /// The tasks that only B grants, in the order in which they come.
    pub only_b: Vec<TaskPair>,
}

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// What it is called.
    pub run: String,
    /// How many tasks were granted.
    pub granted: usize,
    /// How many were denied, or waited for their whole timeout.
    pub refused: usize,
    /// How many still waited at the end.
    pub waiting: usize,
    /// How long the granted ones waited; none if there are none.
    pub delay_seconds: Option<Delays>,
}

/// A class of tasks in both runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPair {
    /// Its name.
    pub class: String,
    /// How many of its tasks came.
    pub tasks: usize,
    /// How many A grants.
    pub granted_a: usize,
    /// How many B grants.
    pub granted_b: usize,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It was granted.
    Granted,
    /// It was denied, or waited for its whole timeout.
    Refused,
    /// It still waited.
    Waiting,
}

/// Tasks that ended in the same two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndPair {
    /// In A.
    pub a: End,
    /// In B.
    pub b: End,
    /// How many.
    pub tasks: usize,
}

/// Delay in B minus delay in A, of tasks that both grant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DelayChange {
    /// How many are granted sooner in B.
    pub sooner: usize,
    /// How many are granted at the same time.
    pub same: usize,
    /// How many are granted later in B.
    pub later: usize,
    /// In seconds; none if both grant no task.
    pub seconds: Option<Spread>,
}

/// The tasks' dominant shares: the largest part of a block's capacity that a task asks, at any order that has any.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DominantShares {
    /// Of those that both grant.
    pub both: Option<Spread>,
    /// Of those that only A grants.
    pub only_a: Option<Spread>,
    /// Of those that only B grants.
    pub only_b: Option<Spread>,
    /// Of those that neither grants.
    pub neither: Option<Spread>,
}

/// A task that ended in two ways.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskPair {
    /// Its number in the workload, or its place in the trace, counted from 0.
    pub task: usize,
    /// When it came, in seconds.
    pub arrival: f64,
    /// How many blocks it asks for.
    pub blocks: usize,
    /// Its dominant share.
    pub dominant_share: f64,
    /// Its class.
    pub class: String,
    /// When the one run granted it, in seconds.
    pub granted_at: f64,
    /// How it ended in the other.
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
    /// Of two runs, which must be of the same tasks. What these ask may differ, as under two compositions: shares are
    /// those of A then.
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
            only_a: only(&a.workload, &pairs, |pair| (pair.a, pair.b)),
            only_b: only(&a.workload, &pairs, |pair| (pair.b, pair.a)),
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

/// A task and both its ends.
struct Pair<'a> {
    number: usize,
    task: &'a Task,
    share: f64,
    a: Decision,
    b: Decision,
}

fn pairs<'a>(a: &'a ComparedRun, b: &'a ComparedRun) -> impl Iterator<Item = Pair<'a>> {
    let tasks = a.workload.tasks.iter().zip(&a.numbers);
    let decisions = a.outcome.decisions.iter().zip(&b.outcome.decisions);
    tasks.zip(decisions).map(|((task, number), (of_a, of_b))| Pair {
        number: *number,
        task,
        share: dominant_share(&a.workload, task),
        a: *of_a,
        b: *of_b,
    })
}

/// For people: the policies compare exact fractions.
fn dominant_share(workload: &Workload, task: &Task) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share that is shown, in a few digits"
    )]
    let part = |(asked, there): (&i64, &i64)| *asked as f64 / *there as f64;
    let blocks = task
        .blocks
        .iter()
        .filter_map(|block| workload.blocks.get(*block as usize));
    let shares = blocks.flat_map(|block| {
        let amounts = task.demand.units().iter().zip(block.capacity.units());
        amounts.filter(|(_, there)| **there > 0).map(part)
    });
    shares.fold(0.0, f64::max)
}

fn only(
    workload: &Workload,
    pairs: &[Pair<'_>],
    ends: impl Fn(&Pair<'_>) -> (Decision, Decision),
) -> Vec<TaskPair> {
    let granted = pairs.iter().filter_map(|pair| match ends(pair) {
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
