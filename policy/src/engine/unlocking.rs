//! How far a block is unlocked: k of n equal steps, taken by arrivals or by the clock. Every operation is
//! arithmetic on a few integers.

use crate::{Time, Unlocking};

/// The steps of one block.
#[derive(Clone, Debug)]
pub(super) struct UnlockSchedule {
    /// All of them: at least 1.
    steps: u64,
    /// Those taken so far.
    done: u64,
    /// None if arrivals take the steps.
    clock: Option<Clock>,
}

/// A clock that takes a step at `first`, at `first + tick`, and so on, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Clock {
    first: u64,
    tick: u64,
}

impl UnlockSchedule {
    /// The schedule of a block that is added at `now`, without any step taken.
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
                // Beyond the last representable time, which is 584,000 years away, a step would never be
                // taken.
                let first = now.micros().checked_next_multiple_of(tick).unwrap_or(u64::MAX);
                let end = now.after(lifetime).micros();
                // Saturates only for 2^64 - 1 ticks of a microsecond, where one step more or less makes no
                // difference.
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

    /// Takes a step for an arrival, if arrivals unlock and a step is left. Returns whether it did.
    pub(super) const fn arrive(&mut self) -> bool {
        let steps = self.clock.is_none() && !self.is_complete();
        if steps {
            self.done += 1;
        }
        steps
    }

    /// Takes the steps of this many arrivals, or of the clock until `now`.
    pub(super) fn restore(&mut self, arrivals: u64, now: Time) {
        if self.clock.is_none() {
            self.done = arrivals.min(self.steps);
        }
        self.settle(now);
    }

    /// Takes the steps of the clock until `now`. Returns whether there were any.
    pub(super) fn settle(&mut self, now: Time) -> bool {
        let Some(clock) = self.clock else { return false };
        let due = now.micros().checked_sub(clock.first);
        // Before the first step none is due. The sum saturates above `steps`, to which it is cut.
        let due = due.map_or(0, |since| (since / clock.tick).saturating_add(1).min(self.steps));
        let steps = due > self.done;
        self.done = self.done.max(due);
        steps
    }

    /// The amount of `capacity` that is unlocked after the steps taken, rounded down.
    pub(super) fn unlocked(&self, capacity: i64) -> i128 {
        // 63 bits times 64 bits fit in 127 bits.
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

    /// The time at which the clock takes a step; none if arrivals take the steps. Saturates at the last
    /// representable time, which is never reached.
    pub(super) fn time_of(&self, step: u64) -> Option<Time> {
        self.clock.map(|clock| {
            let later = step.saturating_sub(1).saturating_mul(clock.tick);
            Time::from_micros(clock.first.saturating_add(later))
        })
    }

    /// The first tick after `now`, whether a step is left or not; none beyond the last representable time.
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

    /// The time of the clock's first step after `now`; none if none is left, or if arrivals take the steps.
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
