//! An adversary against a block's guarantee: it chooses each mechanism by the answers to earlier ones.
//!
//! The adversary makes two queries. The first is a Gaussian with the mean 0 or `mu`. The second depends on
//! its answer: a mechanism with two outputs that uses up one order, and that distinguishes best at that
//! order. Every query goes through the engine and is granted, and the true delta of both answers together is
//! integrated. This is done for two blocks: one with a capacity by the basic conversion, as blocks have, and
//! one by the improved conversion, which holds for each order alone and breaks the guarantee here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the tolerances are larger"
)]

use privatekube_policy::{
    Budget, Composition, DatasetRules, Delta, Engine, Epsilon, Event, Mechanism, Order, Orders, Phase,
    Policy, Revision, Unlocking, adaptive_delta,
};
use proptest::prelude::*;
use serde_json::json;

const PROMISES: [(&str, &str); 4] = [("10", "1e-7"), ("10", "1e-5"), ("3", "1e-7"), ("1", "1e-6")];

/// A block and its guarantee.
struct Block {
    epsilon: f64,
    delta: f64,
    orders: Orders,
    capacity: Budget,
}

/// A mechanism that answers yes with probability `p`, or `q` without the record.
struct TwoPoint {
    p: f64,
    q: f64,
}

fn renyi(orders: &Orders) -> Composition {
    Composition::Renyi(orders.clone())
}

fn values(orders: &Orders) -> Vec<f64> {
    orders.iter().map(Order::value).collect()
}

impl Block {
    /// A block with the capacity that blocks have.
    fn basic(epsilon: &str, delta: &str, orders: Orders) -> Self {
        let capacity = renyi(&orders).capacity(epsilon.parse().unwrap(), delta.parse().unwrap());
        Self {
            epsilon: epsilon.parse().unwrap(),
            delta: delta.parse().unwrap(),
            capacity: capacity.unwrap(),
            orders,
        }
    }

    /// A block with capacity at every order that has any by itself, however many these are.
    fn untrimmed(epsilon: &str, delta: &str, orders: Orders) -> Self {
        let alone = |order| {
            Self::basic(epsilon, delta, Orders::new(vec![order]).unwrap())
                .capacity
                .units()[0]
        };
        let capacity = Budget::new(orders.iter().map(alone).collect()).unwrap();
        Self {
            capacity,
            ..Self::basic(epsilon, delta, orders)
        }
    }

    /// A block with a capacity that blocks must not have.
    fn improved(epsilon: &str, delta: &str, orders: Orders) -> Self {
        let (value, log_delta) = (
            epsilon.parse::<f64>().unwrap(),
            delta.parse::<f64>().unwrap().ln(),
        );
        let capacity = orders.iter().map(|order| {
            let a = order.value();
            let left = value - ((a - 1.0) / a).ln() + (log_delta + a.ln()) / (a - 1.0);
            (order, Epsilon::from_units((left * 1e12).floor().max(0.0) as i128))
        });
        let capacity: Vec<_> = capacity.collect();
        Self {
            epsilon: value,
            delta: log_delta.exp(),
            capacity: renyi(&orders).capacity_curve(&capacity).unwrap(),
            orders,
        }
    }

    /// The bound of delta for any adversary.
    fn bound(&self) -> f64 {
        let epsilon = Epsilon::from_units((self.epsilon * 1e12).round() as i128);
        adaptive_delta(&self.orders, &self.capacity, epsilon).units() as f64 / 1e18
    }

    /// The true delta of both answers, where the second query is the best one at any of the orders that `may`
    /// be chosen. `ask` is called with each second query.
    fn delta_of_adversary(
        &self,
        mu: f64,
        may: impl Fn(f64) -> bool,
        mut ask: impl FnMut(&Budget, &TwoPoint),
    ) -> f64 {
        const POINTS: u32 = 300;
        let first: Mechanism = format!("gaussian(sigma={})", 1.0 / mu).parse().unwrap();
        let first = first.demand(&renyi(&self.orders)).unwrap();
        let left: Vec<(f64, f64)> = values(&self.orders)
            .into_iter()
            .zip(self.capacity.units().iter().zip(first.units()))
            .filter(|(order, (capacity, _))| **capacity > 0 && may(*order))
            .map(|(order, (capacity, cost))| (order, (capacity - cost) as f64 / 1e12))
            .filter(|(_, left)| *left > 1e-9)
            .collect();
        let (from, to) = (mu - 10.0, 65.0 * mu + 10.0);
        let step = (to - from) / f64::from(POINTS);
        let mut delta = 0.0;
        for at in 0..=POINTS {
            let y = from + f64::from(at) * step;
            // The privacy loss of the first answer; the second query has to reach the rest.
            let missing = self.epsilon - (mu * y - mu * mu / 2.0);
            let questions = left
                .iter()
                .map(|(order, left)| TwoPoint::best(*order, *left, missing));
            let best = questions.max_by(|one, other| one.gain(missing).total_cmp(&other.gain(missing)));
            let Some(best) = best.filter(|best| best.gain(missing) > 0.0) else {
                continue;
            };
            ask(&first, &best);
            let density = (-(y - mu) * (y - mu) / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            delta += density * step * best.gain(missing);
        }
        delta
    }

    /// Checks that the engine grants both queries.
    fn grants(&self, first: &Budget, second: &TwoPoint) {
        let curve: Vec<_> = self
            .orders
            .iter()
            .map(|order| {
                let units = (second.renyi(order.value()) * 1e12 * (1.0 + 1e-12)).ceil();
                (order, Epsilon::from_units(units as i128))
            })
            .collect();
        let second = renyi(&self.orders).demand_curve(&curve).unwrap();
        let mut engine = Engine::new(DatasetRules {
            policy: Policy::Dpf,
            unlocking: Unlocking::Immediate,
            composition: renyi(&self.orders),
            revision: Revision::CURRENT,
        })
        .unwrap();
        let block = Event::AddBlock {
            block: "b".into(),
            capacity: self.capacity.clone(),
        };
        engine.apply(&block).unwrap();
        for (claim, budget) in [("first", first), ("second", &second)] {
            let arrival = json!({
                "claim": claim,
                "demands": [{"blocks": ["b"], "budget": budget}],
                "minBlocks": 1,
            });
            engine
                .apply(&Event::Arrive(serde_json::from_value(arrival).unwrap()))
                .unwrap();
            let phase = engine.claim(&claim.into()).unwrap().phase;
            assert_eq!(phase, Phase::Granted, "{claim}");
        }
    }
}

impl TwoPoint {
    /// The mechanism that costs `left` at `order` and distinguishes best beyond the privacy loss `missing`.
    /// Without the outputs no, p would cost p^a q^(1-a) = e^((a-1) left), and p - e^missing q be largest as
    /// below; q is then as small as it may be.
    fn best(order: f64, left: f64, missing: f64) -> Self {
        let log_p = (order - 1.0) * (left - missing + ((order - 1.0) / order).ln());
        let p = log_p.exp().min(0.5);
        let affordable = left * (1.0 - 1e-10) - 2e-12;
        let (mut low, mut high) = (-800.0, p.ln());
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            let question = Self { p, q: middle.exp() };
            if question.renyi(order) <= affordable {
                high = middle;
            } else {
                low = middle;
            }
        }
        Self { p, q: high.exp() }
    }

    /// Its Renyi divergence at an order: the larger of both directions.
    fn renyi(&self, order: f64) -> f64 {
        let direction = |p: f64, q: f64| {
            let yes = (order * p.ln() + (1.0 - order) * q.ln()).exp();
            // The moment less 1, which keeps its digits.
            let no = (order * (-p).ln_1p() + (1.0 - order) * (-q).ln_1p()).exp_m1();
            (yes + no).max(0.0).ln_1p() / (order - 1.0)
        };
        direction(self.p, self.q).max(direction(self.q, self.p))
    }

    /// Its part of delta: by how much yes is more probable than `missing` allows.
    fn gain(&self, missing: f64) -> f64 {
        (self.p - missing.exp() * self.q).max(0.0)
    }
}

fn nothing(_: &Budget, _: &TwoPoint) {}

const MEANS: [f64; 6] = [0.02, 0.045, 0.067, 0.1, 0.2, 0.4];

#[test]
fn granted_mechanisms_keep_the_guarantee() {
    for (epsilon, delta) in PROMISES {
        let block = Block::basic(epsilon, delta, Orders::default());
        assert!(block.bound() < block.delta);
        for mu in MEANS {
            let ask = |first: &Budget, second: &TwoPoint| block.grants(first, second);
            let reached = block.delta_of_adversary(mu, |_| true, ask);
            assert!(reached <= block.bound(), "{epsilon} {delta} {mu}: {reached}");
        }
    }
}

#[test]
fn the_improved_conversion_breaks_the_guarantee() {
    for (epsilon, delta) in PROMISES {
        let block = Block::improved(epsilon, delta, Orders::default());
        let ask = |first: &Budget, second: &TwoPoint| block.grants(first, second);
        let reached = block.delta_of_adversary(0.045, |_| true, ask) / block.delta;
        assert!(reached > 1.7, "{epsilon} {delta}: {reached}");
        assert!(reached * block.delta <= block.bound());
    }
}

#[test]
fn the_adversary_is_as_strong_as_the_one_known() {
    // An independent replay of such an adversary reached 2.18 times the delta promised with the improved
    // conversion, and 0.198 times with the basic one. The best possible second queries reach 2.454 times at
    // this mean.
    let (epsilon, delta) = PROMISES[0];
    let block = Block::improved(epsilon, delta, Orders::default());
    let reached = block.delta_of_adversary(0.067, |_| true, nothing) / block.delta;
    assert!(reached > 2.18 && reached < 2.46, "{reached}");
    let block = Block::basic(epsilon, delta, Orders::default());
    let reached = MEANS.map(|mu| block.delta_of_adversary(mu, |_| true, nothing) / block.delta);
    let most = reached.into_iter().fold(0.0, f64::max);
    assert!(most > 0.17 && most < 0.21, "{most}");
}

#[test]
fn each_order_alone_keeps_the_guarantee_with_either_conversion() {
    let (epsilon, delta) = PROMISES[0];
    let block = Block::improved(epsilon, delta, Orders::default());
    for only in values(&block.orders) {
        let reached = block.delta_of_adversary(0.067, |order| order.total_cmp(&only).is_eq(), nothing);
        assert!(reached <= block.delta, "{only}: {reached}");
    }
}

#[test]
fn the_bound_for_any_adversary() {
    let bound = |epsilon: &str, delta: &str, orders: Orders| {
        let made = Block::basic(epsilon, delta, orders.clone());
        assert!(
            made.bound() <= made.delta,
            "{epsilon} {delta}: the block that is made keeps its promise"
        );
        let block = Block::untrimmed(epsilon, delta, orders);
        block.bound() / block.delta
    };
    let promises = PROMISES.into_iter().zip([0.4928, 0.6787, 0.0903, 0.0412]);
    for ((epsilon, delta), known) in promises {
        let bound = bound(epsilon, delta, Orders::default());
        assert!((bound - known).abs() < 6e-5, "{epsilon} {delta}: {bound}");
    }
    // Order 1.75 has no capacity up to an epsilon of ln(1/delta) / 0.75.
    for (epsilon, delta, holds) in [
        ("21.4", "1e-7", true),
        ("21.5", "1e-7", false),
        ("15.3", "1e-5", true),
        ("15.4", "1e-5", false),
    ] {
        assert_eq!(bound(epsilon, delta, Orders::default()) < 1.0, holds, "{epsilon}");
    }
    // Cases in which orders have to go without capacity: an epsilon so large that every order has some, and
    // 150 orders.
    assert!((bound("100", "1e-7", Orders::default()) - 1.616).abs() < 6e-4);
    let tenths = (11..110).map(|tenths| format!("{}.{}", tenths / 10, tenths % 10));
    let dense = tenths.chain((12..=63).map(|order| order.to_string()));
    let dense: Result<Vec<Order>, _> = dense.map(|order| order.parse()).collect();
    let dense = bound("10", "1e-7", Orders::new(dense.unwrap()).unwrap());
    assert!((dense - 6.47).abs() < 6e-3, "{dense}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_adversary_of_this_kind_passes_the_bound(
        epsilon in 100_u32..30_000,
        delta in 1_u64..1_000_000,
        mu in 0.005_f64..0.4,
        improved: bool,
    ) {
        let epsilon = Epsilon::from_units(i128::from(epsilon) * 1_000_000_000).to_string();
        let delta = Delta::from_units(i128::from(delta) * 1_000_000_000).to_string();
        let block = if improved {
            Block::improved(&epsilon, &delta, Orders::default())
        } else {
            Block::basic(&epsilon, &delta, Orders::default())
        };
        let reached = block.delta_of_adversary(mu, |_| true, nothing);
        prop_assert!(reached <= block.bound(), "{} above {}", reached, block.bound());
    }
}
