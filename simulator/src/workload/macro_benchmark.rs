//! The workload of the OSDI'21 macro-benchmark under event-level privacy, rebuilt from published data.
//!
//! One block arrives each day. Statistics (mice) and trainings (elephants) arrive as a Poisson process and
//! request the newest days. Times are those of the release's `scheduling/main.go`. That program's random
//! numbers have no seed, so only the distribution is the same.

use privatekube_policy::{Composition, Delta, Epsilon, Orders, Weight};

use super::{BlockArrival, StatisticDays, Task, Workload, WorkloadError, macro_pipelines, newest_blocks};
use crate::{Random, span, time};

/// The interval between two blocks, in seconds.
pub(crate) const DAY: f64 = 86_400.0;
/// Number of blocks when the first task arrives.
const FIRST_BLOCKS: u32 = 10;
/// Number of blocks that arrive while tasks do.
const LATER_BLOCKS: u32 = 50;
/// Mean number of tasks a day.
pub(crate) const TASKS_A_DAY: u32 = 300;
/// Days after which a waiting task expires.
const TIMEOUT: u32 = 5;
const BLOCK_EPSILON: &str = "10";
const BLOCK_DELTA: &str = "0.0000001";
const CLASSES: [&str; 4] = [
    "mice",
    "elephants, epsilon 0.5",
    "elephants, epsilon 1",
    "elephants, epsilon 5",
];

/// The parameters of the workload; those that never vary are constants.
#[derive(Clone, Debug)]
pub struct Macro {
    /// Whether the composition is Renyi, on the twelve orders of the paper's trainings, instead of basic.
    pub is_renyi: bool,
    /// Percentage of mice among the tasks.
    pub mice_percentage: f64,
    /// The number of days that statistics request.
    pub statistic_days: StatisticDays,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Macro {
    /// Returns the composition.
    #[must_use]
    pub fn composition(&self) -> Composition {
        if self.is_renyi {
            Composition::Renyi(Orders::default())
        } else {
            Composition::Basic
        }
    }

    /// Draws the workload. Tasks that request more days than exist get no block, and so wait until they
    /// expire.
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        if !(0.0..=100.0).contains(&self.mice_percentage) {
            return Err(WorkloadError::Mice(self.mice_percentage));
        }
        let composition = self.composition();
        let epsilon: Epsilon = BLOCK_EPSILON.parse()?;
        let delta: Delta = BLOCK_DELTA.parse()?;
        let capacity = composition.capacity(epsilon, delta)?;
        // A day's block arrives when the day is over.
        let days = 1..=FIRST_BLOCKS + LATER_BLOCKS;
        let blocks = BlockArrival::all_at(days.map(|day| f64::from(day) * DAY), &capacity)?;
        let last_day = FIRST_BLOCKS + LATER_BLOCKS + 1;
        Ok(Workload {
            blocks,
            tasks: self.tasks(&composition, f64::from(last_day) * DAY)?,
            composition,
            classes: CLASSES.map(str::to_owned).to_vec(),
            timeout: Some(span(f64::from(TIMEOUT) * DAY)?),
            // By then, every waiting task has expired.
            end: time(f64::from(last_day + TIMEOUT + 1) * DAY)?,
        })
    }

    fn tasks(&self, composition: &Composition, end: f64) -> Result<Vec<Task>, WorkloadError> {
        let mice = macro_pipelines::mice(composition, self.statistic_days)?;
        let elephants = macro_pipelines::elephants(composition)?;
        let mut random = Random::new(self.seed);
        let mut tasks = Vec::new();
        let mut now = f64::from(FIRST_BLOCKS) * DAY;
        loop {
            now += random.expovariate(f64::from(TASKS_A_DAY)) * DAY;
            if now >= end {
                return Ok(tasks);
            }
            let is_mouse = random.either(self.mice_percentage / 100.0, true, false);
            let pipeline = random.choose(if is_mouse { &mice } else { &elephants });
            let Some(pipeline) = pipeline else { continue };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number of days, of which there are 61"
            )]
            let existing = ((now / DAY) as u32).min(FIRST_BLOCKS + LATER_BLOCKS);
            tasks.push(Task {
                at: time(now)?,
                blocks: newest_blocks(pipeline.days, existing),
                demand: pipeline.demand.clone(),
                guarantee: pipeline.guarantee,
                weight: Weight::default(),
                class: pipeline.class,
            });
        }
    }
}
