//! How far a block is unlocked: k of n steps, taken by arrivals or by the clock.

use crate::{Time, Unlocking};

/// A block's steps.
#[derive(Clone, Debug)]
pub(super) struct UnlockSchedule {
    /// At least 1.
    steps: u64,
    done: u64,
    clock: Option<Clock>,
}

/// Steps at `first`, `first + tick`, ...
#[derive(Clone, Copy, Debug)]
struct Clock {
    first: u64,
    tick: u64,
}

impl UnlockSchedule {
    /// Of a block that is added at `now`: what unlocks at once is not done yet.
    pub(super) fn new(unlocking: Unlocking, now: Time) -> Self {
        match unlocking {
            Unlocking::Arrivals(steps) => Self {
                steps: u64::from(steps).max(1),
                done: 0,
                clock: None,
            },
            Unlocking::Immediate => {
                let clock = Clock {
                    first: now.micros(),
                    tick: 1,
                };
                Self {
                    steps: 1,
                    done: 0,
                    clock: Some(clock),
                }
            }
            Unlocking::Lifetime { lifetime, tick } => {
                let tick = tick.micros().max(1);
                let first = now.micros().checked_next_multiple_of(tick).unwrap_or(u64::MAX);
                let end = now.after(lifetime).micros();
                // A difference of u64s divided by at least 1; only a whole u64 of ticks would be one too many.
                let more = end.checked_sub(first).map_or(0, |rest| rest / tick);
                Self {
                    steps: more.saturating_add(1),
                    done: 0,
                    clock: Some(Clock { first, tick }),
                }
            }
        }
    }

    pub(super) const fn done(&self) -> u64 {
        self.done
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.done >= self.steps
    }

    /// Takes the step of an arrival, if arrivals are what unlocks and one is left.
    pub(super) const fn arrive(&mut self) -> bool {
        let steps = self.clock.is_none() && !self.is_complete();
        if steps {
            self.done += 1;
        }
        steps
    }

    /// Takes the clock's steps until `now`.
    pub(super) fn settle(&mut self, now: Time) -> bool {
        let Some(clock) = self.clock else { return false };
        let due = now.micros().checked_sub(clock.first);
        let due = due.map_or(0, |since| (since / clock.tick).saturating_add(1).min(self.steps));
        let steps = due > self.done;
        self.done = self.done.max(due);
        steps
    }

    /// What is unlocked of `capacity` after the steps done.
    pub(super) fn unlocked(&self, capacity: i64) -> i128 {
        // 63 bits times 64 bits: exact.
        i128::from(capacity) * i128::from(self.done) / i128::from(self.steps)
    }

    /// The first step after which at least `total` of `capacity` is unlocked.
    pub(super) fn step_for(&self, capacity: i64, total: i128) -> Option<u64> {
        if capacity <= 0 || total > i128::from(capacity) {
            return None;
        }
        let capacity = i128::from(capacity);
        let product = total.max(0) * i128::from(self.steps);
        u64::try_from((product + capacity - 1) / capacity).ok()
    }

    /// When the clock takes a step; none if it is arrivals that do.
    pub(super) fn time_of(&self, step: u64) -> Option<Time> {
        self.clock.map(|clock| {
            let later = step.saturating_sub(1).saturating_mul(clock.tick);
            Time::from_micros(clock.first.saturating_add(later))
        })
    }

    /// The first time after `now` at which a step would be taken, whether one is left or not.
    pub(super) fn tick_after(&self, now: Time) -> Option<Time> {
        let clock = self.clock?;
        let ticks = now
            .micros()
            .checked_sub(clock.first)
            .map_or(0, |since| since / clock.tick + 1);
        let at = ticks
            .checked_mul(clock.tick)
            .and_then(|later| clock.first.checked_add(later));
        at.map(Time::from_micros)
    }

    /// When the clock takes its first step after `now`.
    pub(super) fn next_after(&self, now: Time) -> Option<Time> {
        let mut schedule = self.clone();
        schedule.settle(now);
        if schedule.is_complete() {
            None
        } else {
            schedule.time_of(schedule.done + 1)
        }
    }
}
