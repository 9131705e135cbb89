//! Maps the machine resources that a task used to a privacy demand, by Alibaba-DP's published mapping
//! (`alibaba_privacy_workload/privacy_workload.py` and `config/_default.yaml` of the repository
//! alibaba-dp-workload).

use privatekube_policy::{Budget, Composition, Conversion, Delta, Mechanism, Orders};

use super::{BLOCK_DELTA, BLOCK_EPSILON};
use crate::workload::{
    WorkloadError,
    calibration::{NoiseSearch, as_f64},
    digits,
};

/// The resources that a task used, each as a part of the maximum over the trace: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Memory times runtime.
    pub(super) memory_hours: f64,
    /// Runtime.
    pub(super) runtime: f64,
    /// Requested GPUs.
    pub(super) gpus: f64,
    /// Bytes read.
    pub(super) read: f64,
}

/// The kinds of mechanisms. The first three are for tasks without GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gaussian,
    Laplace,
    SubsampledLaplace,
    DpFtrl,
    SubsampledGaussian,
}

/// A demand, and the number of blocks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Profile {
    pub(super) kind: Kind,
    pub(super) blocks: u32,
    pub(super) demand: Budget,
}

impl Kind {
    pub(super) const ON_CPU: [Self; 3] = [Self::Gaussian, Self::Laplace, Self::SubsampledLaplace];
    pub(super) const ON_GPU: [Self; 2] = [Self::DpFtrl, Self::SubsampledGaussian];
    pub(super) const ALL: [Self; 5] = [
        Self::Gaussian,
        Self::Laplace,
        Self::SubsampledLaplace,
        Self::DpFtrl,
        Self::SubsampledGaussian,
    ];

    /// Returns its name in the trace.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Laplace => "laplace",
            Self::SubsampledLaplace => "subsampled_laplace",
            Self::DpFtrl => "dp_ftrl",
            Self::SubsampledGaussian => "subsampled_gaussian",
        }
    }
}

const LEAST_EPSILON: f64 = 0.1;
const MOST_EPSILON: f64 = 1000.0;
/// The number of blocks that the maximum of bytes is mapped to. Tasks with more than [`MOST_BLOCKS_KEPT`] are
/// left out.
const MOST_BLOCKS_MAPPED: f64 = 100_000.0;
const MOST_BLOCKS_KEPT: u32 = 100;
/// Number of records in a block.
const BLOCK_RECORDS: u32 = 1000;
const LEAST_BATCH: f64 = 64.0;
const MOST_BATCH: u32 = 4096;
const MOST_EPOCHS: f64 = 200.0;
/// The trace has an epsilon of 1,000,000 instead of an infinite one: here in units of 1e-12.
const DEMAND_LIMIT_UNITS: i64 = 1_000_000_000_000_000_000;
/// Tasks that demand less of a block at their best order are left out, as are those that demand more than all
/// of it.
const LEAST_SHARE: f64 = 0.001;
const SEARCH: NoiseSearch = NoiseSearch {
    least: 0.001,
    most: 1000.0,
    tolerance: 0.1,
};

/// Interpolates linearly from `least` to `most`; the trace's program calls this an affine map.
fn map(part: f64, least: f64, most: f64) -> f64 {
    least + part * (most - least)
}

fn whole(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "cut off on purpose, and between 0 and 100000"
    )]
    let whole = value as u32;
    whole
}

impl Usage {
    /// Returns the demand of a task with this usage, or `None` if the trace leaves such tasks out.
    pub(super) fn profile(&self, kind: Kind, orders: &Orders) -> Result<Option<Profile>, WorkloadError> {
        let blocks = whole(map(self.read, 1.0, MOST_BLOCKS_MAPPED)).max(1);
        if blocks > MOST_BLOCKS_KEPT {
            return Ok(None);
        }
        let records = blocks * BLOCK_RECORDS;
        if self.certainly_exceeds_block(kind, records) {
            return Ok(None);
        }
        let demand = self.demand(kind, records, orders)?;
        let share = least_share(&demand, orders)?;
        Ok((LEAST_SHARE..=1.0)
            .contains(&share)
            .then_some(Profile { kind, blocks, demand }))
    }

    fn epsilon(&self) -> f64 {
        map(self.memory_hours, LEAST_EPSILON, MOST_EPSILON)
    }

    /// Whether the mechanism that the search would find certainly demands more than a whole block at each
    /// order. If so, the search is skipped.
    ///
    /// That mechanism has at least 0.9 epsilon, so its curve at order a is at least 0.9 epsilon - ln(1/delta)
    /// / (a - 1); the other term of the conversion only lowers the epsilon. No order below 3 has capacity,
    /// and none has more than the block's epsilon.
    fn certainly_exceeds_block(&self, kind: Kind, records: u32) -> bool {
        let is_searched = matches!(kind, Kind::SubsampledLaplace | Kind::SubsampledGaussian);
        let least = (1.0 - SEARCH.tolerance) * self.epsilon() - f64::from(records).ln() / 2.0;
        is_searched && least > 10.0
    }

    fn demand(&self, kind: Kind, records: u32, orders: &Orders) -> Result<Budget, WorkloadError> {
        let composition = Composition::Renyi(orders.clone());
        let epsilon = self.epsilon();
        let delta = f64::from(records).recip();
        let epochs = whole(map(self.runtime, 1.0, MOST_EPOCHS));
        let batch = whole(map(
            self.gpus,
            LEAST_BATCH,
            f64::from(MOST_BATCH.min(records / 10)),
        ));
        let rate = f64::from(batch) / f64::from(records);
        let steps = epochs * records / batch;
        let sigma = (2.0 * (1.25 / delta).ln()).sqrt() / epsilon;
        let text = match kind {
            Kind::Gaussian => format!("{epochs}*gaussian(sigma={sigma})"),
            Kind::DpFtrl => {
                let times = whole(f64::from(records).ln().ceil());
                format!("{times}*gaussian(sigma={sigma})")
            }
            Kind::Laplace => format!("laplace(scale={})", epsilon.recip()),
            Kind::SubsampledLaplace | Kind::SubsampledGaussian => {
                let sampled = |noise: f64| {
                    if kind == Kind::SubsampledLaplace {
                        format!("{steps}*subsampled-laplace(scale={noise},sample-rate={rate})")
                    } else {
                        format!("dp-sgd(noise-multiplier={noise},sample-rate={rate},steps={steps})")
                    }
                };
                let delta = delta_of(delta);
                let noise = SEARCH.find(epsilon, |noise| {
                    let curve = sampled(noise).parse::<Mechanism>()?.demand(&composition)?;
                    let proven = Conversion::Improved.epsilon(orders, &curve, delta);
                    Ok::<_, WorkloadError>(proven.map_or(f64::INFINITY, |proven| as_f64(proven.value)))
                })?;
                // A task for which no noise suffices uses the most noise.
                sampled(noise.unwrap_or(SEARCH.most))
            }
        };
        let demand = text.parse::<Mechanism>()?.demand(&composition)?;
        let capped = demand
            .units()
            .iter()
            .map(|units| (*units).min(DEMAND_LIMIT_UNITS));
        Ok(digits::writable(&Budget::new(capped.collect())?)?)
    }
}

/// Returns a demand's share of a block at its best order.
fn least_share(demand: &Budget, orders: &Orders) -> Result<f64, WorkloadError> {
    let composition = Composition::Renyi(orders.clone());
    let capacity = composition.capacity(BLOCK_EPSILON.parse()?, BLOCK_DELTA.parse()?)?;
    let shares = demand.units().iter().zip(capacity.units());
    #[expect(clippy::cast_precision_loss, reason = "it is compared with a thousandth")]
    let shares = shares
        .filter(|(_, capacity)| **capacity > 0)
        .map(|(demand, capacity)| *demand as f64 / *capacity as f64);
    Ok(shares.fold(f64::INFINITY, f64::min))
}

fn delta_of(delta: f64) -> Delta {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most a thousandth, so at most 1e15"
    )]
    let units = (delta * 1e18) as i128;
    Delta::from_units(units)
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Epsilon;

    use super::*;

    const USAGE: Usage = Usage {
        memory_hours: 0.001,
        runtime: 0.0,
        gpus: 0.0,
        read: 0.0,
    };

    fn curve(usage: Usage, kind: Kind) -> Vec<f64> {
        let profile = usage.profile(kind, &Orders::default()).unwrap().unwrap();
        let units = profile.demand.units().iter();
        units
            .map(|units| as_f64(Epsilon::from_units((*units).into())))
            .collect()
    }

    /// Epsilon 1.0999, on one block of 1000 records: sigma = sqrt(2 ln 1250) / 1.0999.
    #[test]
    fn the_published_formulas_give_the_curves() {
        let at_2 = 1.0999_f64.powi(2) / (2.0 * 1250_f64.ln());
        for (kind, times) in [(Kind::Gaussian, 1.0), (Kind::DpFtrl, 7.0)] {
            let found = curve(USAGE, kind)[2];
            assert!((found / (times * at_2) - 1.0).abs() < 1e-9, "{kind:?}: {found}");
        }
        let longer = Usage {
            runtime: 0.02,
            ..USAGE
        };
        let found = curve(longer, Kind::Gaussian)[2];
        assert!((found / (4.0 * at_2) - 1.0).abs() < 1e-9, "4 epochs: {found}");
        let laplace: Mechanism = "laplace(scale=0.909173561232839)".parse().unwrap();
        let laplace = laplace.demand(&Composition::Renyi(Orders::default())).unwrap();
        let found = curve(USAGE, Kind::Laplace)[4];
        let expected = as_f64(Epsilon::from_units(laplace.units()[4].into()));
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}");
    }

    #[test]
    fn sampled_mechanisms_use_their_epsilon_and_not_much_less() {
        let orders = Orders::default();
        for kind in [Kind::SubsampledLaplace, Kind::SubsampledGaussian] {
            let usage = Usage {
                read: 9.0 / 100_000.0,
                ..USAGE
            };
            let profile = usage.profile(kind, &orders).unwrap().unwrap();
            assert_eq!(profile.blocks, 9, "1 + 0.00009 x 99999, cut off");
            let spent = Conversion::Improved
                .epsilon(&orders, &profile.demand, delta_of(1.0 / 9000.0))
                .unwrap();
            let part = as_f64(spent.value) / 1.0999;
            assert!((0.9..=1.0).contains(&part), "{kind:?}: {part}");
        }
    }

    #[test]
    fn tasks_whose_search_is_skipped_would_be_left_out() {
        let orders = Orders::default();
        for kind in [Kind::SubsampledLaplace, Kind::SubsampledGaussian] {
            for records in [1000, 100_000] {
                let least = (10.0 + f64::from(records).ln() / 2.0) / 0.9;
                let usage = |epsilon: f64| Usage {
                    memory_hours: (epsilon - LEAST_EPSILON) / (MOST_EPSILON - LEAST_EPSILON),
                    ..USAGE
                };
                assert!(!usage(least * 0.99).certainly_exceeds_block(kind, records));
                let above = usage(least * 1.01);
                assert!(above.certainly_exceeds_block(kind, records));
                let demand = above.demand(kind, records, &orders).unwrap();
                assert!(least_share(&demand, &orders).unwrap() > 1.0, "{kind:?} {records}");
            }
        }
    }

    #[test]
    fn tasks_that_the_trace_leaves_out_are_left_out() {
        let kept = |usage: Usage, kind| usage.profile(kind, &Orders::default()).unwrap().is_some();
        let reads = |read| Usage { read, ..USAGE };
        assert!(kept(reads(0.000_99), Kind::Laplace), "99 blocks");
        assert!(!kept(reads(0.001_01), Kind::Laplace), "102 blocks");
        let with_memory = |memory_hours| Usage {
            memory_hours,
            ..USAGE
        };
        assert!(
            !kept(with_memory(0.0), Kind::Gaussian),
            "less than a thousandth of a block"
        );
        assert!(!kept(with_memory(0.5), Kind::Laplace), "more than a block");
    }
}
