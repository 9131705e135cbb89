//! The workload of the OSDI'21 macro-benchmark under event-level privacy, rebuilt from what is published.
//!
//! A block a day; statistics (mice) and trainings (elephants) come all the time and ask for the newest days. The times
//! are those of the release's `scheduling/main.go`; its random numbers have no seed, so only the distribution is the same.

use privatekube_policy::{Composition, Delta, Epsilon, Orders, Weight};

use super::{BlockArrival, StatisticDays, Task, Workload, WorkloadError, macro_pipelines, newest_blocks};
use crate::{Random, span, time};

/// One interval between two blocks, in seconds.
pub(crate) const DAY: f64 = 86_400.0;
/// How many blocks there are when the first task comes.
const FIRST_BLOCKS: u32 = 10;
/// How many blocks come while tasks do.
const LATER_BLOCKS: u32 = 50;
/// How many tasks come on a day, on average.
pub(crate) const TASKS_A_DAY: u32 = 300;
/// How many days a task waits at most.
const TIMEOUT: u32 = 5;
const BLOCK_EPSILON: &str = "10";
const BLOCK_DELTA: &str = "0.0000001";
const CLASSES: [&str; 4] = [
    "mice",
    "elephants, epsilon 0.5",
    "elephants, epsilon 1",
    "elephants, epsilon 5",
];

/// The workload's parameters. Those that don't vary are constants.
#[derive(Clone, Debug)]
pub struct Macro {
    /// Whether Renyi curves are added up, on the twelve orders of the paper's trainings.
    pub is_renyi: bool,
    /// How many tasks in 100 are mice.
    pub mice_percentage: f64,
    /// For how many days statistics ask.
    pub statistic_days: StatisticDays,
    /// Of the random numbers.
    pub seed: u64,
}

impl Macro {
    /// How budgets add up.
    #[must_use]
    pub fn composition(&self) -> Composition {
        if self.is_renyi {
            Composition::Renyi(Orders::default())
        } else {
            Composition::Basic
        }
    }

    /// Draws the workload. Tasks that ask for more days than there are ask for no block, and so wait in vain.
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        if !(0.0..=100.0).contains(&self.mice_percentage) {
            return Err(WorkloadError::Mice(self.mice_percentage));
        }
        let composition = self.composition();
        let epsilon: Epsilon = BLOCK_EPSILON.parse()?;
        let delta: Delta = BLOCK_DELTA.parse()?;
        let capacity = composition.capacity(epsilon, delta)?;
        // A day's block is there when the day is over.
        let days = 1..=FIRST_BLOCKS + LATER_BLOCKS;
        let blocks = BlockArrival::all_at(days.map(|day| f64::from(day) * DAY), &capacity)?;
        let last_day = FIRST_BLOCKS + LATER_BLOCKS + 1;
        Ok(Workload {
            blocks,
            tasks: self.tasks(&composition, f64::from(last_day) * DAY)?,
            composition,
            classes: CLASSES.map(str::to_owned).to_vec(),
            timeout: Some(span(f64::from(TIMEOUT) * DAY)?),
            // Every task that waits has come to its end by then.
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
