//! Synthetic submissions: the published mapping applied to usage that is drawn instead of measured.
//!
//! Each constant's comment states its distribution. Of the trace itself, only the shape is published: like a
//! power law, with many small requests and a long tail of large ones.

use privatekube_policy::{Orders, Weight};

use super::{
    Submission, Submissions,
    profile::{Kind, Profile, Usage},
};
use crate::{Random, workload::WorkloadError};

/// Number of different recurring tasks. Most tasks of the cluster's trace recur (Weng et al., NSDI'22,
/// section 4.3).
pub const CATALOGUE: usize = 1000;
/// Limit of the number of tasks, for the sake of memory.
const MOST_TASKS: u32 = 10_000_000;
/// Percentage of tasks that use GPUs.
const ON_GPU_PERCENT: f64 = 50.0;
/// Standard deviations of the logarithms of runtime, memory and bytes read.
const RUNTIME_SPREAD: f64 = 2.0;
const MEMORY_SPREAD: f64 = 1.0;
const READ_SPREAD: f64 = 3.0;
/// The maximum of a resource lies this number of standard deviations above the median; one draw in thirty
/// thousand exceeds it and is capped.
const MOST_SPREADS: f64 = 4.0;

impl Submissions {
    /// Draws `tasks` tasks. They arrive as a Poisson process; each is one of a catalogue, with equal
    /// probabilities.
    pub fn synthetic(tasks: u32, seed: u64) -> Result<Self, WorkloadError> {
        if !(1..=MOST_TASKS).contains(&tasks) {
            return Err(WorkloadError::Tasks {
                given: tasks,
                most: MOST_TASKS,
            });
        }
        let orders = Orders::default();
        let mut random = Random::new(seed);
        let catalogue = catalogue(&mut random, &orders)?;
        let waits: Vec<f64> = (0..=tasks).map(|_| random.expovariate(1.0)).collect();
        let total: f64 = waits.iter().sum();
        let mut waited = 0.0;
        // The last interval is the one up to the end.
        let submissions = waits.iter().take(tasks as usize).filter_map(|wait| {
            waited += wait;
            let profile = random.choose(&catalogue)?;
            Some(Submission {
                at: waited / total,
                blocks: profile.blocks,
                demand: profile.demand.clone(),
                weight: Weight::default(),
                class: profile.kind as usize,
            })
        });
        Ok(Self {
            tasks: submissions.collect(),
            orders,
            classes: Kind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
        })
    }
}

fn catalogue(random: &mut Random, orders: &Orders) -> Result<Vec<Profile>, WorkloadError> {
    let mut catalogue = Vec::with_capacity(CATALOGUE);
    while catalogue.len() < CATALOGUE {
        let usage = Usage::draw(random);
        let on_gpu = random.either(ON_GPU_PERCENT / 100.0, true, false);
        let kinds: &[Kind] = if on_gpu { &Kind::ON_GPU } else { &Kind::ON_CPU };
        if let Some(kind) = random.choose(kinds) {
            catalogue.extend(usage.profile(*kind, orders)?);
        }
    }
    Ok(catalogue)
}

impl Usage {
    /// Runtime, memory and bytes are log-normal and independent; GPUs are uniform.
    fn draw(random: &mut Random) -> Self {
        let runtime = normal(random) * RUNTIME_SPREAD;
        let memory = normal(random) * MEMORY_SPREAD;
        Self {
            memory_hours: part(runtime + memory, RUNTIME_SPREAD.hypot(MEMORY_SPREAD)),
            runtime: part(runtime, RUNTIME_SPREAD),
            read: part(normal(random) * READ_SPREAD, READ_SPREAD),
            gpus: random.random(),
        }
    }
}

/// Returns a log-normal amount as a part of the maximum.
fn part(logarithm: f64, spread: f64) -> f64 {
    (logarithm - MOST_SPREADS * spread).exp().min(1.0)
}

/// Draws from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.random()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Random::new(1);
        let drawn: Vec<f64> = (0..100_000).map(|_| normal(&mut random)).collect();
        let mean = drawn.iter().sum::<f64>() / 1e5;
        let variance = drawn.iter().map(|value| value * value).sum::<f64>() / 1e5;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
    }

    #[test]
    fn the_median_task_reads_little_and_few_read_very_much() {
        let mut random = Random::new(2);
        let reads: Vec<f64> = (0..100_000).map(|_| Usage::draw(&mut random).read).collect();
        let above = |part: f64| reads.iter().filter(|read| **read > part).count();
        // Of normal numbers, half are above 0, 4.5% above 1.69 (where a task would request 100 blocks), and
        // 0.003% above 4.
        assert!((49_000..51_000).contains(&above((-12_f64).exp())));
        assert!((4_200..4_800).contains(&above(0.000_99)));
        assert!(reads.iter().filter(|read| **read >= 1.0).count() < 12);
    }
}
