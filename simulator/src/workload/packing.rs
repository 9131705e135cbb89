//! The workload of DPack's microbenchmark (EuroSys'25, section 6.2): a batch of tasks that all wait until all
//! budget unlocks at one tick. Tasks differ in their best orders, in the number of blocks that they request,
//! or in both.

use std::sync::LazyLock;

use privatekube_policy::{Budget, Composition, Delta, Epsilon, Orders, Weight};

use super::{
    BlockArrival, Task, Workload, WorkloadError,
    curves::{Curve, Family, Picker, Shape, around, in_range, shaped, zoo},
    digits::writable,
};
use crate::{Random, time};

/// A block's guarantee: epsilon 10 and delta 1e-7, in units.
const EPSILON: i128 = 10_000_000_000_000;
const DELTA: i128 = 100_000_000_000;
/// Number of blocks if tasks request several, and the mean number that they request.
const BLOCKS: u32 = 20;
const AVERAGE_BLOCKS: usize = 10;
/// The centre of the best orders.
const CENTRE: f64 = 5.0;
/// Mean and standard deviation of the range of a task's shares over the orders 4 to 8.
const RANGE_AVERAGE: f64 = 0.05;
const RANGE_DEVIATION: f64 = 0.03;
/// Arrival time of blocks and tasks in seconds: after a tick, so that they wait for the next one.
const START: f64 = 1.0;
/// Seconds between two ticks.
pub(crate) const TICK: f64 = 10.0;
/// Seconds in which a block unlocks: less than a tick, so that the first tick unlocks everything.
pub(crate) const LIFETIME: f64 = 1.0;

/// The parameters of the workload; those that never vary are constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// Standard deviation of the best orders around order 5, in places among the orders.
    pub order_spread: f64,
    /// Standard deviation of the number of requested blocks around ten of twenty; `None` means that there is
    /// one block.
    pub block_spread: Option<f64>,
    /// A task's demand at its best order, as a part of a block.
    pub least: f64,
    /// Number of tasks.
    pub tasks: u32,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// The curves from which all workloads are made, and the capacity of a block.
struct Origin {
    capacity: Budget,
    curves: Vec<Curve>,
}

/// Returns the curves, which are computed once, since their sums and integrals take long.
fn origin() -> Result<&'static Origin, WorkloadError> {
    static ORIGIN: LazyLock<Result<Origin, WorkloadError>> = LazyLock::new(|| {
        let orders = Orders::default();
        let composition = Composition::Renyi(orders.clone());
        let capacity = composition.capacity(Epsilon::from_units(EPSILON), Delta::from_units(DELTA))?;
        Ok(Origin {
            curves: in_range(zoo(&orders, &capacity)?),
            capacity,
        })
    });
    ORIGIN.as_ref().map_err(Clone::clone)
}

impl Packing {
    /// Draws the workload.
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        let spreads = [self.order_spread, self.block_spread.unwrap_or(0.0)];
        // Refuses NaN too.
        if let Some(wrong) = spreads
            .into_iter()
            .find(|spread| !(0.0..f64::INFINITY).contains(spread))
        {
            return Err(WorkloadError::Spread(wrong));
        }
        if !(self.least > 0.0 && self.least < 1.0) {
            return Err(WorkloadError::Least(self.least));
        }
        let Origin { capacity, curves } = origin()?;
        let orders = Orders::default();
        let shape = Shape {
            least: self.least,
            range_average: RANGE_AVERAGE,
            range_deviation: RANGE_DEVIATION,
        };
        let curves = shaped(curves, &orders, shape);
        let centre = orders.iter().position(|order| order.value() >= CENTRE);
        let picker = Picker::new(&curves, centre.unwrap_or(0), self.order_spread);
        let at = time(START)?;
        let count = if self.block_spread.is_some() {
            BLOCKS as usize
        } else {
            1
        };
        let random = &mut Random::new(self.seed);
        let tasks = (0..self.tasks).filter_map(|_| {
            let curve = picker.pick(random)?;
            let blocks = self.draw_blocks(random);
            let demand = curve.demand(capacity).and_then(|demand| writable(&demand));
            let task = demand.map(|demand| Task {
                at,
                blocks,
                demand,
                guarantee: None,
                weight: Weight::default(),
                class: curve.family.place(),
            });
            Some(task)
        });
        Ok(Workload {
            composition: Composition::Renyi(orders.clone()),
            tasks: tasks.collect::<Result<_, _>>()?,
            blocks: BlockArrival::all_at(vec![START; count], capacity)?,
            classes: Family::ALL.map(|family| family.name().to_owned()).to_vec(),
            timeout: None,
            end: time(2.0 * TICK)?,
        })
    }

    /// Draws a number of blocks, and then that many blocks with equal probabilities.
    fn draw_blocks(&self, random: &mut Random) -> Vec<u32> {
        let Some(spread) = self.block_spread else {
            return vec![0];
        };
        let weights: Vec<f64> = (1..=BLOCKS as usize)
            .map(|count| around(count.abs_diff(AVERAGE_BLOCKS), spread))
            .collect();
        let mut rest = random.random() * weights.iter().sum::<f64>();
        let count = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        let mut blocks: Vec<u32> = (0..BLOCKS).collect();
        let count = count.map_or(AVERAGE_BLOCKS, |at| at + 1);
        for (at, left) in (0..count).zip((1..=BLOCKS).rev()) {
            let other = at + random.one_to(left) as usize - 1;
            blocks.swap(at, other);
        }
        blocks.truncate(count);
        blocks.sort_unstable();
        blocks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use privatekube_policy::{DatasetRules, Policy, Revision, Unlocking};

    use super::*;
    use crate::{run, span};

    const ORDERS: Packing = Packing {
        order_spread: 1.0,
        block_spread: None,
        least: 0.005,
        tasks: 1000,
        seed: 1,
    };
    const BLOCKS_DIFFER: Packing = Packing {
        order_spread: 0.0,
        block_spread: Some(3.0),
        least: 0.05,
        tasks: 300,
        seed: 1,
    };

    /// Mean number of tasks that a policy grants, over five seeds.
    fn granted(packing: Packing, policy: Policy) -> f64 {
        let dataset_rules = DatasetRules {
            policy,
            unlocking: Unlocking::Lifetime {
                lifetime: span(LIFETIME).unwrap(),
                tick: span(TICK).unwrap(),
            },
            composition: Composition::Renyi(Orders::default()),
            // The paper compares with DPF whose shares are those at the order where they are largest.
            revision: Revision::Second,
        };
        let mut granted = 0.0;
        for seed in 0..5 {
            let workload = Packing { seed, ..packing }.workload().unwrap();
            let outcome = run(&workload, &dataset_rules).unwrap();
            granted += f64::from(u32::try_from(outcome.summary(&workload).granted).unwrap());
        }
        granted / 5.0
    }

    const DPACK: Policy = Policy::Dpack { recompute_after: 1 };

    #[test]
    fn the_zoo_is_that_of_the_authors() {
        let origin = origin().unwrap();
        let orders = Orders::default();
        assert_eq!(zoo(&orders, &origin.capacity).unwrap().len(), 620);
        let orders: Vec<String> = orders.iter().map(|order| order.to_string()).collect();
        let mut best: BTreeMap<&str, usize> = BTreeMap::new();
        for curve in &origin.curves {
            *best.entry(&orders[curve.best_order()]).or_default() += 1;
        }
        // As counted in a run of the authors' generator with other implementations of the curves.
        let known = [
            ("3", 2),
            ("4", 14),
            ("5", 123),
            ("6", 14),
            ("8", 10),
            ("16", 6),
            ("32", 1),
            ("64", 69),
        ];
        assert_eq!(best, BTreeMap::from(known));
    }

    #[test]
    fn shaped_curves_keep_their_best_orders_and_have_the_same_demand_there() {
        let origin = origin().unwrap();
        let shape = Shape {
            least: 0.02,
            range_average: 0.05,
            range_deviation: 0.0,
        };
        let curves = shaped(&origin.curves, &Orders::default(), shape);
        // The curve with best order 32 is the only one, and is dropped.
        assert_eq!(curves.len(), 238);
        for curve in curves {
            let before = origin
                .curves
                .iter()
                .find(|before| before.mechanism == curve.mechanism)
                .unwrap();
            assert_eq!(before.best_order(), curve.best_order());
            assert!((curve.least() - 0.02).abs() < 1e-12);
            // 4, 5, 6 and 8.
            let middle = &curve.shares[5..9];
            let range =
                middle.iter().copied().fold(0.0, f64::max) - middle.iter().copied().fold(1.0, f64::min);
            assert!((range - 0.05).abs() < 1e-9, "{} {range}", curve.mechanism);
        }
    }

    #[test]
    fn without_a_spread_nothing_differs() {
        let same = Packing {
            order_spread: 0.0,
            ..ORDERS
        };
        assert!((granted(same, DPACK) - granted(same, Policy::Dpf)).abs() < f64::EPSILON);
        let same = Packing {
            block_spread: Some(0.0),
            ..BLOCKS_DIFFER
        };
        let workload = same.workload().unwrap();
        assert!(
            workload
                .tasks
                .iter()
                .all(|task| task.blocks.len() == AVERAGE_BLOCKS)
        );
    }

    /// The ratio of DPack's grants to DPF's is that of another re-creation, with other curves and random
    /// numbers, within 10%.
    #[test]
    fn the_gain_over_dpf_is_the_known_one() {
        let orders = |order_spread, least| Packing {
            order_spread,
            least,
            ..ORDERS
        };
        let blocks = |spread| Packing {
            block_spread: Some(spread),
            ..BLOCKS_DIFFER
        };
        for (packing, known) in [
            (orders(0.0, 0.005), 1.0),
            (orders(0.5, 0.005), 1.47),
            (orders(1.0, 0.005), 2.16),
            (orders(8.0, 0.005), 3.02),
            (orders(1.0, 0.01), 1.61),
            (orders(8.0, 0.01), 2.15),
            (orders(6.0, 0.02), 1.53),
            (blocks(0.0), 0.98),
            (blocks(1.0), 1.23),
            (blocks(3.0), 1.5),
            (blocks(8.0), 1.85),
        ] {
            let gain = granted(packing, DPACK) / granted(packing, Policy::Dpf);
            println!("{packing:?}: {gain:.2}, known {known}");
            assert!(
                (gain / known - 1.0).abs() < 0.1,
                "{packing:?}: {gain}, known {known}"
            );
        }
    }

    #[test]
    fn if_orders_and_blocks_differ_recomputing_costs_grants_more() {
        let both = Packing {
            order_spread: 1.0,
            block_spread: Some(8.0),
            tasks: 600,
            ..BLOCKS_DIFFER
        };
        let (again, once) = (
            granted(both, DPACK),
            granted(
                both,
                Policy::Dpack {
                    recompute_after: u32::MAX,
                },
            ),
        );
        println!("again {again}, once {once}");
        assert!(again > 1.02 * once, "{again} {once}");
    }

    #[test]
    fn invalid_spreads_and_parts_are_refused() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            let error = Packing {
                order_spread: wrong,
                ..ORDERS
            }
            .workload()
            .unwrap_err();
            assert!(error.to_string().contains("accepted is 0 or more"));
        }
        for wrong in [0.0, 1.0, -0.5, f64::NAN] {
            let error = Packing {
                least: wrong,
                ..ORDERS
            }
            .workload()
            .unwrap_err();
            assert!(matches!(error, WorkloadError::Least(_)));
        }
    }
}
