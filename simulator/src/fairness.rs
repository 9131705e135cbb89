//! The measures of fairness of a run, kept up to date while it is made. `docs/fairness.md` defines them; classes of tasks
//! are their groups.

use std::sync::Arc;

use privatekube_policy::{
    BlockId, DatasetRules, Engine, Span, Time, Unlocking,
    fairness::{Envy, GroupShares, SharingIncentive, UnusedBudget, WaitingClaim, disagreement, jain},
};
use serde::Serialize;

use crate::{Task, Workload};

/// At how many moments of a run the unused budget is looked at, evenly spaced from its begin to its end.
const MOMENTS: u64 = 100;

/// What the measures of fairness say about a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fairness {
    /// Jain's index of the classes' dominant shares; none if nothing was granted.
    pub jain: Option<f64>,
    /// The same of their dominant shares divided by their weights.
    pub weighted_jain: Option<f64>,
    /// How far dominant shares are from being proportional to weights; none if nothing was granted.
    pub weight_disagreement: Option<f64>,
    /// Number of tasks that were granted at once among those that demand at most a fair share; none unless arrivals
    /// unlock blocks, since a fair share is known there only.
    pub fair_at_once: Option<u64>,
    /// Number of those that were not.
    pub fair_not_at_once: Option<u64>,
    /// Number of grants that a waiting task envied.
    pub envied: u64,
    /// Number of grants of which this is not known, since too many different demands waited.
    pub envied_unknown: u64,
    /// Unlocked budget that no waiting task had use for, in blocks: the average over the run.
    pub unused_blocks: f64,
}

/// The state of the measures during a run.
#[derive(Debug)]
pub(crate) struct Measures<'a> {
    workload: &'a Workload,
    /// N, where arrivals unlock blocks.
    arrivals: Option<u32>,
    rules: DatasetRules,
    shares: GroupShares<usize, u32>,
    incentive: SharingIncentive,
    envy: Envy<u32>,
    unused: UnusedBudget<u32>,
    /// The tasks that wait, by their numbers.
    waiting: Vec<bool>,
    /// The next moment at which the unused budget is looked at, and the time between two.
    next: Time,
    step: Span,
    looks: u32,
    unused_sum: f64,
}

/// What one event decided: numbers of tasks.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) waits: Vec<usize>,
    pub(crate) granted: Vec<usize>,
    pub(crate) refused: Vec<usize>,
}

impl<'a> Measures<'a> {
    pub(crate) fn new(workload: &'a Workload, rules: DatasetRules) -> Self {
        let step = Span::from_micros((workload.end.micros() / MOMENTS).max(1));
        Self {
            workload,
            arrivals: match rules.unlocking {
                Unlocking::Arrivals(arrivals) => Some(arrivals),
                Unlocking::Lifetime { .. } | Unlocking::Immediate => None,
            },
            shares: GroupShares::new(rules.share_rule()),
            incentive: SharingIncentive::default(),
            envy: Envy::default(),
            unused: UnusedBudget::new(workload.composition.clone()),
            rules,
            waiting: vec![false; workload.tasks.len()],
            next: Time::default(),
            step,
            looks: 0,
            unused_sum: 0.0,
        }
    }

    fn task(&self, number: usize) -> Option<&'a Task> {
        self.workload.tasks.get(number)
    }

    /// A task's blocks with their capacities.
    fn blocks_of(&self, task: &'a Task) -> impl Iterator<Item = (u32, &'a [i64])> + use<'a> {
        let blocks = &self.workload.blocks;
        let numbers = task.blocks.iter();
        numbers.filter_map(|number| Some((*number, blocks.get(*number as usize)?.capacity.units())))
    }

    fn comparable(&self, task: &'a Task) -> Option<WaitingClaim<u32>> {
        let demands: Vec<(u32, &[i64], &[i64])> = self
            .blocks_of(task)
            .map(|(block, capacity)| (block, task.demand.units(), capacity))
            .collect();
        WaitingClaim::new(self.rules.share_rule(), &demands, task.weight, 0)
    }

    /// A task is about to arrive.
    pub(crate) fn arrives(&mut self, number: usize) {
        if let Some(task) = self.task(number) {
            self.shares.arrived(&task.class, task.weight);
        }
    }

    /// A task has arrived. `decided` is what that decided.
    pub(crate) fn arrived(&mut self, number: usize, decided: &Decided, engine: &Engine, names: &[BlockId]) {
        let (Some(arrivals), Some(task)) = (self.arrivals, self.task(number)) else {
            return;
        };
        // A task without blocks stands for one that is not matched yet: it has not arrived at any block.
        if decided.refused.contains(&number) || task.blocks.is_empty() {
            return;
        }
        let places = task.blocks.iter().map(|block| {
            let state = names.get(*block as usize).and_then(|name| engine.block(name));
            state.map_or(u64::MAX, |state| state.arrivals)
        });
        let places: Vec<u64> = places.collect();
        let blocks = self.blocks_of(task).zip(places);
        let blocks = blocks.map(|((_, capacity), place)| (place, task.demand.units(), capacity));
        let at_once = decided.granted.contains(&number);
        self.incentive.arrived(arrivals, blocks, at_once);
    }

    /// One event decided so much.
    pub(crate) fn decided(&mut self, decided: &Decided) {
        for number in &decided.waits {
            self.set_waiting(*number, true);
        }
        let mut granted = Vec::new();
        for number in &decided.granted {
            let Some(task) = self.task(*number) else { continue };
            for (block, capacity) in self.blocks_of(task) {
                self.shares
                    .granted(&task.class, &block, task.demand.units(), capacity);
            }
            let waited = self.set_waiting(*number, false);
            if let Some(comparable) = self.comparable(task) {
                granted.push((comparable, waited));
            }
        }
        for number in &decided.refused {
            let waited = self.set_waiting(*number, false);
            let ended = self.task(*number).filter(|_| waited);
            if let Some(comparable) = ended.and_then(|task| self.comparable(task)) {
                self.envy.ends(&comparable);
            }
        }
        let granted: Vec<(&WaitingClaim<u32>, bool)> =
            granted.iter().map(|(claim, waited)| (claim, *waited)).collect();
        self.envy.granted(&granted);
    }

    /// Notes whether a task waits. Returns whether it waited before.
    fn set_waiting(&mut self, number: usize, waits: bool) -> bool {
        let Some(waiting) = self.waiting.get_mut(number) else {
            return false;
        };
        let before = std::mem::replace(waiting, waits);
        let Some(task) = self.task(number).filter(|_| before != waits) else {
            return before;
        };
        let amounts: Arc<[i64]> = task.demand.units().into();
        for block in &task.blocks {
            if waits {
                self.unused.waits(block, &amounts);
            } else {
                self.unused.ends(block, &amounts);
            }
        }
        if waits && let Some(comparable) = self.comparable(task) {
            self.envy.waits(&comparable);
        }
        before
    }

    /// The next moment at which the unused budget is looked at.
    pub(crate) const fn next_look(&self) -> Time {
        self.next
    }

    /// Looks at the unused budget. The engine's time is the moment of the look.
    pub(crate) fn look(&mut self, engine: &Engine, names: &[BlockId]) {
        for (block, name) in (0..).zip(names) {
            if let Some(state) = engine.block(name) {
                let capacity = state.capacity.units();
                self.unused_sum += self.unused.of_block(&block, &state.available, capacity);
            }
        }
        self.looks += 1;
        self.next = self.next.after(self.step);
    }

    pub(crate) fn finish(&self) -> Fairness {
        let shares = self.shares.all().map(|(_, group)| {
            let share = group.dominant.value();
            (share, f64::from(group.weight.get()))
        });
        let of_arrivals = |count| self.arrivals.map(|_| count);
        Fairness {
            jain: jain(shares.clone().map(|(share, _)| share)),
            weighted_jain: jain(shares.clone().map(|(share, weight)| share / weight)),
            weight_disagreement: disagreement(shares),
            fair_at_once: of_arrivals(self.incentive.at_once),
            fair_not_at_once: of_arrivals(self.incentive.not_at_once),
            envied: self.envy.envied(),
            envied_unknown: self.envy.unknown(),
            unused_blocks: if self.looks == 0 {
                0.0
            } else {
                self.unused_sum / f64::from(self.looks)
            },
        }
    }
}
