//! The OSDI'21 micro-benchmarks' workload, task for task that of the reference simulator with the same seed.
//!
//! Two kinds of tasks, mice and elephants, on each of two independent axes: epsilon and number of blocks. Each task
//! asks the same of the newest blocks. Random numbers are drawn in the reference's order.

use privatekube_policy::{Budget, Composition, Delta, Epsilon, Mechanism, Weight};

use super::{BlockArrival, Task, Workload, WorkloadError};
use crate::{Random, span, time};

/// The smaller and the larger demand for epsilon, of a block's 1.
const MOUSE_EPSILON: f64 = 0.01;
const ELEPHANT_EPSILON: f64 = 0.1;
/// The smaller and the larger number of blocks.
const MOUSE_BLOCKS: u32 = 1;
const ELEPHANT_BLOCKS: u32 = 10;
/// Each demand is this part of its kind's at least, so that no two are equal.
const LEAST_PART: f64 = 0.999_999_9;
/// A task's delta, which makes its Renyi curve.
const TASK_DELTA: &str = "0.000000001";
/// A block's delta, which makes its Renyi capacity.
const BLOCK_DELTA: &str = "0.000001";
const CLASSES: [&str; 4] = [
    "small epsilon, few blocks",
    "small epsilon, many blocks",
    "large epsilon, few blocks",
    "large epsilon, many blocks",
];

/// The workload's parameters. Those that don't vary are constants.
#[derive(Clone, Debug)]
pub struct Micro {
    /// How budgets add up.
    pub composition: Composition,
    /// The mean time between two tasks, in seconds.
    pub interval: f64,
    /// How long it goes on, in seconds.
    pub duration: f64,
    /// How long a task waits, in seconds.
    pub timeout: Option<f64>,
    /// How many tasks in 100 ask for the smaller epsilon.
    pub mice_percentage: f64,
    /// Which blocks there are.
    pub blocks: Blocks,
    /// Of the random numbers.
    pub seed: u64,
}

/// A task as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// When it comes, in seconds.
    pub at: f64,
    /// The oldest block that it asks for.
    pub first: u32,
    /// The newest.
    pub last: u32,
    /// What it asks of each of them.
    pub epsilon: f64,
}

/// Which blocks there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blocks {
    /// One, from the start. Each task asks for it.
    One,
    /// Twelve at the start (the reference makes one more than its `init_amount` of 11), then one every ten seconds. 75
    /// tasks in 100 ask for the newest, the others for the newest ten.
    Growing,
}

impl Blocks {
    const GROWING_AT_START: u32 = 12;
    const SECONDS_BETWEEN: f64 = 10.0;

    fn mice_percentage(self) -> f64 {
        match self {
            Self::One => 100.0,
            Self::Growing => 75.0,
        }
    }

    /// The most GPUs and gigabytes that a task may ask for. They matter to no budget, but are drawn.
    fn compute(self) -> (u32, u32) {
        match self {
            Self::One => (1, 1),
            Self::Growing => (3, 412),
        }
    }

    /// When the blocks come, in seconds.
    fn arrivals(self, duration: f64) -> Vec<f64> {
        match self {
            Self::One => vec![0.0],
            Self::Growing => {
                let first = (0..Self::GROWING_AT_START).map(|_| 0.0);
                let later = (1_u32..).map(|nth| f64::from(nth) * Self::SECONDS_BETWEEN);
                first.chain(later.take_while(|at| *at < duration)).collect()
            }
        }
    }
}

impl Micro {
    /// The workload that is drawn.
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        if !(0.0..=100.0).contains(&self.mice_percentage) {
            return Err(WorkloadError::Mice(self.mice_percentage));
        }
        let capacity = self.capacity()?;
        Ok(Workload {
            composition: self.composition.clone(),
            blocks: BlockArrival::all_at(self.block_arrivals(), &capacity)?,
            tasks: self
                .draws()
                .iter()
                .map(|draw| self.task(draw))
                .collect::<Result<_, _>>()?,
            classes: CLASSES.map(str::to_owned).to_vec(),
            timeout: self.timeout.map(span).transpose()?,
            end: time(self.duration)?,
        })
    }

    fn capacity(&self) -> Result<Budget, WorkloadError> {
        let delta = match self.composition {
            Composition::Basic => Delta::ZERO,
            Composition::Renyi(_) => BLOCK_DELTA.parse()?,
        };
        Ok(self.composition.capacity(epsilon(1.0), delta)?)
    }

    fn demand(&self, epsilon: Epsilon) -> Result<(Budget, Delta), WorkloadError> {
        let delta = match self.composition {
            Composition::Basic => Delta::ZERO,
            Composition::Renyi(_) => TASK_DELTA.parse()?,
        };
        let mechanism = Mechanism::for_guarantee(epsilon, delta)?;
        Ok((mechanism.demand(&self.composition)?, delta))
    }

    /// When the blocks come, in seconds, the earliest first.
    #[must_use]
    pub fn block_arrivals(&self) -> Vec<f64> {
        self.blocks.arrivals(self.duration)
    }

    /// Draws the tasks.
    #[must_use]
    pub fn draws(&self) -> Vec<Draw> {
        let arrivals = self.block_arrivals();
        let mut random = Random::new(self.seed);
        let (gpus, gigabytes) = self.blocks.compute();
        let few = self.blocks.mice_percentage() / 100.0;
        let small = self.mice_percentage / 100.0;
        let mut draws = Vec::new();
        let mut now = 0.0;
        loop {
            now += random.expovariate(1.0 / self.interval);
            if now >= self.duration {
                return draws;
            }
            // A block that comes at the same time as a task is there before it.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a block every ten seconds, and virtual time has at most 9e8 seconds"
            )]
            let existing = arrivals.partition_point(|at| *at <= now) as u32;
            let count = random.either(few, MOUSE_BLOCKS, ELEPHANT_BLOCKS).min(existing);
            let kind = random.either(small, MOUSE_EPSILON, ELEPHANT_EPSILON);
            draws.push(Draw {
                at: now,
                first: existing - count,
                last: existing - 1,
                epsilon: kind * random.uniform(LEAST_PART, 1.0),
            });
            // The reference draws completion time, GPUs and memory too. One to choose from still takes a number.
            random.one_to(1);
            random.one_to(gpus);
            random.one_to(gigabytes);
        }
    }

    fn task(&self, draw: &Draw) -> Result<Task, WorkloadError> {
        let count = draw.last - draw.first + 1;
        let is_large = draw.epsilon >= f64::midpoint(MOUSE_EPSILON, ELEPHANT_EPSILON);
        let has_many = f64::from(count) >= f64::from(MOUSE_BLOCKS + ELEPHANT_BLOCKS) / 2.0;
        let requested = epsilon(draw.epsilon);
        let (demand, delta) = self.demand(requested)?;
        Ok(Task {
            at: time(draw.at)?,
            blocks: (draw.first..=draw.last).collect(),
            demand,
            guarantee: Some((requested, delta)),
            weight: Weight::default(),
            class: 2 * usize::from(is_large) + usize::from(has_many),
        })
    }
}

/// Rounded up to the ledger's unit, as a demand is.
fn epsilon(value: f64) -> Epsilon {
    #[expect(clippy::cast_possible_truncation, reason = "at most 1, so at most 1e12")]
    let units = (value * 1e12).ceil() as i64;
    Epsilon::from_units(units.into())
}
