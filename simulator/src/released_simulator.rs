//! A model of the simulator released with the OSDI'21 paper (dpsched 1.0): DPF under basic composition, with
//! its floating-point accounts and the order in which it really visits waiting tasks.
//!
//! That simulator arranges waiting tasks as a binary heap by dominant share and then iterates over the heap's
//! array, of which only the first element is in its sorted place. This changes some totals by up to a
//! percent, so reproducing its published figures takes its order. The engine visits tasks in the order that
//! the paper describes. Under every other policy and composition, the engine's totals equal those of the
//! released simulator.
//!
//! Begin reading at [`ReleasedSimulator::run`].

use std::collections::HashSet;

use crate::workload::Draw;

/// Amounts that differ by less count as equal (`sim.numerical_delta`).
const TOLERANCE: f64 = 1e-8;
/// Seconds after which a block that unlocks by arrivals retires, whatever is unlocked by then.
const RETIRES_AFTER: f64 = 10.0 * 10.0 * 1.01;

/// How a block unlocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unlocks {
    /// By this number of arrivals.
    Arrivals(u32),
    /// Over time.
    Lifetime {
        /// Seconds in which a block unlocks.
        seconds: f64,
        /// Seconds between two steps.
        tick: f64,
    },
}

/// The input of the released simulator: a benchmark in which no task expires before the end.
#[derive(Clone, Debug)]
pub struct ReleasedSimulator {
    /// The tasks, in the order of arrival.
    pub draws: Vec<Draw>,
    /// Arrival times of the blocks in seconds, in ascending order.
    pub blocks: Vec<f64>,
    /// How blocks unlock.
    pub unlocks: Unlocks,
    /// The end in seconds. Nothing happens at that time or later.
    pub end: f64,
}

/// How a task ended, with the time in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReleasedDecision {
    /// Granted at this time.
    Granted(f64),
    /// Refused at this time, because one of its blocks had retired with too little budget.
    Refused(f64),
    /// Still waiting at the end.
    Waiting,
}

struct Block {
    created: f64,
    locked: f64,
    unlocked: f64,
    arrivals: u32,
    retired: bool,
    /// Under a lifetime: the number of steps and how many of them are done; `None` before the block's first
    /// tick.
    steps: Option<(u64, u64)>,
}

struct Run<'a> {
    of: &'a ReleasedSimulator,
    blocks: Vec<Block>,
    waiting: Vec<usize>,
    decisions: Vec<ReleasedDecision>,
}

impl ReleasedSimulator {
    /// Runs the simulator and returns how each task ended.
    #[must_use]
    pub fn run(&self) -> Vec<ReleasedDecision> {
        let mut run = Run {
            of: self,
            blocks: Vec::new(),
            waiting: Vec::new(),
            decisions: vec![ReleasedDecision::Waiting; self.draws.len()],
        };
        let mut ticks = 0_u32;
        for (number, draw) in self.draws.iter().enumerate() {
            run.tick_until(draw.at, &mut ticks);
            run.arrive(number, draw);
        }
        run.tick_until(self.end, &mut ticks);
        run.decisions
    }
}

impl Run<'_> {
    /// Adds the blocks that arrive until `now`.
    fn add_blocks(&mut self, now: f64) {
        while let Some(created) = self
            .of
            .blocks
            .get(self.blocks.len())
            .copied()
            .filter(|at| *at <= now)
        {
            self.blocks.push(Block {
                created,
                locked: 1.0,
                unlocked: 0.0,
                arrivals: 0,
                retired: false,
                steps: None,
            });
        }
    }

    /// Performs the ticks before `until`.
    fn tick_until(&mut self, until: f64, ticks: &mut u32) {
        let Unlocks::Lifetime { seconds, tick } = self.of.unlocks else {
            return;
        };
        loop {
            let now = f64::from(*ticks) * tick;
            if now >= until {
                return;
            }
            *ticks += 1;
            self.add_blocks(now);
            let mut raised = false;
            for block in &mut self.blocks {
                raised |= block.tick(now, seconds, tick);
            }
            if raised {
                self.pass(now, &(0..self.waiting.len()).collect::<Vec<_>>(), true);
            }
        }
    }

    fn arrive(&mut self, number: usize, draw: &Draw) {
        self.add_blocks(draw.at);
        let mut raised = false;
        if let Unlocks::Arrivals(n) = self.of.unlocks {
            let is_static = self.of.blocks.len() == 1;
            for block in &mut self.blocks {
                block.retired |= !is_static && draw.at > block.created + RETIRES_AFTER;
            }
            for block in draw.first..=draw.last {
                raised |= self.blocks[block as usize].arrive(n);
            }
        }
        self.waiting.push(number);
        let visited: Vec<usize> = if raised {
            (0..self.waiting.len()).collect()
        } else {
            vec![self.waiting.len() - 1]
        };
        self.pass(draw.at, &visited, raised);
    }

    /// Visits the waiting tasks at the places `visited` and grants those that fit. If `refuses`, as in a pass
    /// after unlocking, then refuses tasks that wait for a retired block with too little budget.
    fn pass(&mut self, now: f64, visited: &[usize], refuses: bool) {
        let draws = &self.of.draws;
        let mut heap: Vec<(f64, usize)> = visited
            .iter()
            .map(|at| (draws[self.waiting[*at]].epsilon, *at))
            .collect();
        heapify(&mut heap);
        let mut unused: Vec<f64> = self.blocks.iter().map(|block| block.unlocked).collect();
        let mut decided = HashSet::new();
        for (epsilon, at) in heap {
            let number = self.waiting[at];
            let blocks = draws[number].first as usize..=draws[number].last as usize;
            if unused[blocks.clone()]
                .iter()
                .any(|unused| unused + TOLERANCE < epsilon)
            {
                continue;
            }
            for block in blocks {
                unused[block] -= epsilon;
                let unlocked = &mut self.blocks[block].unlocked;
                *unlocked -= epsilon.min(*unlocked);
            }
            self.decisions[number] = ReleasedDecision::Granted(now);
            decided.insert(number);
        }
        if refuses {
            for number in &self.waiting {
                if !decided.contains(number) && self.is_lost(&draws[*number], &unused) {
                    self.decisions[*number] = ReleasedDecision::Refused(now);
                    decided.insert(*number);
                }
            }
        }
        if !decided.is_empty() {
            self.waiting.retain(|number| !decided.contains(number));
        }
    }

    /// Whether the simulator refuses a task. It checks the task's oldest block only; or, if blocks unlock by
    /// arrivals and the oldest has not retired, the newest.
    fn is_lost(&self, draw: &Draw, unused: &[f64]) -> bool {
        let (oldest, newest) = (draw.first as usize, draw.last as usize);
        if self.blocks[oldest].retired {
            return unused[oldest] < draw.epsilon;
        }
        let by_arrivals = matches!(self.of.unlocks, Unlocks::Arrivals(_));
        by_arrivals && newest != oldest && self.blocks[newest].retired && unused[newest] < draw.epsilon
    }
}

impl Block {
    /// Unlocks the share of one arrival. Returns false if the block has retired.
    fn arrive(&mut self, n: u32) -> bool {
        self.arrivals += 1;
        if self.retired {
            return false;
        }
        let share = 1.0 / f64::from(n);
        let amount = if (share - self.locked).abs() < TOLERANCE {
            self.locked
        } else {
            share
        };
        self.unlock(amount);
        self.retired = self.arrivals == n;
        true
    }

    /// Unlocks the share of one tick. Returns false if the block has retired.
    fn tick(&mut self, now: f64, lifetime: f64, tick: f64) -> bool {
        if self.retired {
            return false;
        }
        let end = self.created + lifetime;
        let (steps, done) = *self.steps.get_or_insert_with(|| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and at most 9e8 seconds in ticks of 2 ms or more: below 2^39"
            )]
            let more = ((end - now).max(0.0) / tick) as u64;
            (if end <= now { 1 } else { more + 1 }, 0)
        });
        let done = done + 1;
        self.steps = Some((steps, done));
        let amount = if done == steps {
            self.locked
        } else {
            #[expect(clippy::cast_precision_loss, reason = "below 2^39, so exact in a double")]
            let (steps, done) = (steps as f64, done as f64);
            1.0 / steps * done - (1.0 - self.locked)
        };
        self.unlock(amount);
        self.retired = done == steps;
        true
    }

    fn unlock(&mut self, amount: f64) {
        self.locked -= amount;
        self.unlocked += amount.min(1.0 - self.unlocked);
    }
}

/// Python's `heapq.heapify`: from the last parent to the first, sinks each to a leaf along the smaller
/// children and raises it again from there.
fn heapify(heap: &mut [(f64, usize)]) {
    for parent in (0..heap.len() / 2).rev() {
        sink(heap, parent);
    }
}

fn is_less(one: (f64, usize), other: (f64, usize)) -> bool {
    one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)).is_lt()
}

fn sink(heap: &mut [(f64, usize)], start: usize) {
    let sunk = heap[start];
    let mut at = start;
    let mut child = 2 * at + 1;
    while child < heap.len() {
        let right = child + 1;
        if right < heap.len() && !is_less(heap[child], heap[right]) {
            child = right;
        }
        heap[at] = heap[child];
        at = child;
        child = 2 * at + 1;
    }
    while at > start {
        let parent = (at - 1) / 2;
        if !is_less(sunk, heap[parent]) {
            break;
        }
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = sunk;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From CPython 3.11: `h = [...]; heapq.heapify(h)`.
    #[test]
    fn the_heap_is_that_of_python() {
        let mut heap: Vec<(f64, usize)> = [5.0, 3.0, 8.0, 1.0, 9.0, 2.0, 7.0, 3.0, 1.0, 6.0]
            .into_iter()
            .enumerate()
            .map(|(at, value)| (value, at))
            .collect();
        heapify(&mut heap);
        let places: Vec<usize> = heap.into_iter().map(|(_, at)| at).collect();
        assert_eq!(places, [3, 8, 5, 1, 9, 2, 6, 7, 0, 4]);
    }
}
