//! The workload of the OSDI'21 micro-benchmarks. It equals that of the released simulator with the same seed,
//! task for task.
//!
//! Tasks are small (mice) or large (elephants) in each of two independent respects: epsilon and number of
//! blocks. Each task has one demand on each of the newest blocks. Random numbers are drawn in the order of
//! the released simulator.

use privatekube_policy::{Budget, Composition, Delta, Epsilon, Mechanism, Weight};

use super::{BlockArrival, Task, Workload, WorkloadError};
use crate::{Random, span, time};

/// The small and the large epsilon; a block has 1.
const MOUSE_EPSILON: f64 = 0.01;
const ELEPHANT_EPSILON: f64 = 0.1;
/// The small and the large number of blocks.
const MOUSE_BLOCKS: u32 = 1;
const ELEPHANT_BLOCKS: u32 = 10;
/// Each demand is at least this part of the nominal one; the random rest makes all demands different.
const LEAST_PART: f64 = 0.999_999_9;
/// A task's delta, from which its Renyi curve is made.
const TASK_DELTA: &str = "0.000000001";
/// A block's delta, from which its Renyi capacity is made.
const BLOCK_DELTA: &str = "0.000001";
const CLASSES: [&str; 4] = [
    "small epsilon, few blocks",
    "small epsilon, many blocks",
    "large epsilon, few blocks",
    "large epsilon, many blocks",
];

/// The parameters of the workload; those that never vary are constants.
#[derive(Clone, Debug)]
pub struct Micro {
    /// The composition.
    pub composition: Composition,
    /// The mean time between two tasks, in seconds.
    pub interval: f64,
    /// Duration in seconds.
    pub duration: f64,
    /// Seconds after which a waiting task expires; never if `None`.
    pub timeout: Option<f64>,
    /// Percentage of tasks with the small epsilon.
    pub mice_percentage: f64,
    /// The blocks.
    pub blocks: Blocks,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// A task as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Time of arrival in seconds.
    pub at: f64,
    /// Number of the oldest requested block.
    pub first: u32,
    /// Number of the newest requested block.
    pub last: u32,
    /// The epsilon demanded of each of them.
    pub epsilon: f64,
}

/// The blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blocks {
    /// One block from the start, which each task requests.
    One,
    /// Twelve blocks at the start (the released simulator makes one more than its `init_amount` of 11), then
    /// one every ten seconds. 75% of the tasks request the newest block, the others the newest ten.
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

    /// Limits of the GPUs and gigabytes of a task. They don't affect budgets, but the released simulator
    /// draws them.
    fn compute(self) -> (u32, u32) {
        match self {
            Self::One => (1, 1),
            Self::Growing => (3, 412),
        }
    }

    /// Returns the arrival times of the blocks in seconds.
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
    /// Draws the workload.
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

    /// Returns the arrival times of the blocks in seconds, in ascending order.
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
            // A block arrives before a task of the same time.
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
            // The released simulator also draws completion time, GPUs and memory. A choice among one still
            // consumes a random number.
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

/// Rounds a demand up to the ledger's unit of 1e-12.
fn epsilon(value: f64) -> Epsilon {
    #[expect(clippy::cast_possible_truncation, reason = "at most 1, so at most 1e12")]
    let units = (value * 1e12).ceil() as i64;
    Epsilon::from_units(units.into())
}
