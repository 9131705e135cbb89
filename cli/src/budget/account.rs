//! What a mechanism costs at each Renyi order, and the epsilon that the curve proves.

use std::fmt::Write as _;

use privatekube_policy::{
    Budget, Composition, Conversion, Delta, Epsilon, Mechanism, MechanismError, Order, Orders, Proven,
    Rounding, is_beyond_count,
};
use serde::Serialize;

use crate::{
    output::{Form, Report},
    table::Table,
};

/// A mechanism's cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// The mechanism, as it is read.
    pub(crate) mechanism: String,
    /// The delta for which epsilon is proven.
    pub(crate) delta: String,
    /// The cost at each order.
    pub(crate) curve: Vec<Point>,
    /// The pure epsilon with delta 0; none if the mechanism has none.
    pub(crate) pure_epsilon: Option<String>,
    /// What is proven by the classical conversion; none if no order proves anything.
    pub(crate) classical: Option<Proof>,
    /// What is proven by the improved conversion.
    pub(crate) improved: Option<Proof>,
    /// What to try for a smaller epsilon.
    pub(crate) hints: Vec<Hint>,
}

/// The cost at an order. Decimals have all digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    /// The order.
    pub(crate) order: String,
    /// The Renyi epsilon; none if it is more than 64 bits count: the true one is unknown.
    pub(crate) epsilon: Option<String>,
    /// The epsilon that this order proves by the classical conversion.
    pub(crate) classical: Option<String>,
    /// The epsilon that this order proves by the improved conversion.
    pub(crate) improved: Option<String>,
}

/// A proven epsilon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proof {
    /// The epsilon, rounded up.
    pub(crate) epsilon: String,
    /// The order that proves it.
    pub(crate) order: String,
}

/// That other orders prove less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hint {
    /// Why: `firstOrder`, `lastOrder`, `coarseOrders`, `deltaIsMost` or `noOrder`.
    pub(crate) reason: &'static str,
    /// What to do.
    pub(crate) message: String,
}

/// Between two neighbouring orders, how many are tried to see whether they are too far apart.
const BETWEEN: u32 = 15;
/// The epsilon has to fall by this much, as one part in so many, to be worth a hint.
const WORTH: i128 = 100;
/// The orders beyond the last that are tried, as multiples of it.
const BEYOND: [u64; 5] = [2, 4, 8, 16, 32];
/// The orders below the first that are tried, as parts of what the first is above 1.
const BELOW: [u64; 4] = [2, 4, 8, 16];

impl Account {
    /// The account of a mechanism.
    pub(crate) fn of(mechanism: &Mechanism, orders: &Orders, delta: Delta) -> Result<Self, MechanismError> {
        let curve = renyi(mechanism, orders)?;
        let points = orders.iter().zip(curve.units()).map(|(order, units)| {
            let of = |conversion: Conversion| proven(conversion, order, *units, delta);
            Point {
                order: order.to_string(),
                epsilon: counted(*units).map(|epsilon| epsilon.to_string()),
                classical: of(Conversion::Basic).map(|epsilon| epsilon.to_string()),
                improved: of(Conversion::Improved).map(|epsilon| epsilon.to_string()),
            }
        });
        let classical = Conversion::Basic.epsilon(orders, &curve, delta);
        let improved = Conversion::Improved.epsilon(orders, &curve, delta);
        let proof = |proven: &Proven<Epsilon>| Proof {
            epsilon: proven.value.to_string(),
            order: proven.order.to_string(),
        };
        let pure = mechanism.demand(&Composition::Basic).ok();
        let pure = pure.and_then(|budget| match budget.units() {
            [epsilon, 0] => counted(*epsilon),
            _ => None,
        });
        Ok(Self {
            mechanism: mechanism.to_string(),
            delta: delta.to_string(),
            curve: points.collect(),
            pure_epsilon: pure.map(|epsilon| epsilon.to_string()),
            classical: classical.as_ref().map(proof),
            improved: improved.as_ref().map(proof),
            hints: hints(mechanism, orders, delta, improved.as_ref()),
        })
    }
}

/// The Renyi curve that the ledger charges.
pub(super) fn renyi(mechanism: &Mechanism, orders: &Orders) -> Result<Budget, MechanismError> {
    mechanism.demand(&Composition::Renyi(orders.clone()))
}

/// An epsilon; none if it is more than can be counted.
fn counted(units: i64) -> Option<Epsilon> {
    let units = i128::from(units);
    (!is_beyond_count(units)).then(|| Epsilon::from_units(units))
}

/// The epsilon that one order proves.
fn proven(conversion: Conversion, order: Order, units: i64, delta: Delta) -> Option<Epsilon> {
    let orders = Orders::new(vec![order]).ok()?;
    let curve = Budget::new(vec![units]).ok()?;
    let proven = conversion.epsilon(&orders, &curve, delta)?;
    Some(proven.value)
}

/// Which other orders prove an epsilon that is smaller by a hundredth or more.
fn hints(mechanism: &Mechanism, orders: &Orders, delta: Delta, best: Option<&Proven<Epsilon>>) -> Vec<Hint> {
    let all: Vec<Order> = orders.iter().collect();
    let Some(best) = best else {
        return vec![Hint {
            reason: "noOrder",
            message: "the cost at every order is more than can be counted: no order proves an epsilon"
                .to_owned(),
        }];
    };
    let at = all
        .iter()
        .position(|order| *order == best.order)
        .unwrap_or_default();
    let mut hints = Vec::new();
    let mut tell = |reason, why: &str, tried: Vec<Order>| {
        let found = least(mechanism, &tried, delta);
        if let Some(found) = found.filter(|found| is_worth(found.value, best.value)) {
            let (better, now) = (found.value, best.value);
            let message = format!(
                "{why}: order {} would prove {} in place of {}",
                found.order,
                better.short(Rounding::Up),
                now.short(Rounding::Up)
            );
            hints.push(Hint { reason, message });
        }
    };
    let beside = |other: Option<&Order>| other.map_or(Vec::new(), |other| between(best.order, *other));
    let mut inner = beside(all.get(at + 1));
    inner.extend(beside(at.checked_sub(1).and_then(|before| all.get(before))));
    tell(
        "coarseOrders",
        "the orders are far apart around the one that proves it",
        inner,
    );
    if at + 1 == all.len() {
        let tried = BEYOND.iter().filter_map(|times| scaled(best.order, *times, 1));
        let why = "the largest order proves it, and larger ones might prove less";
        tell("lastOrder", why, tried.collect());
    }
    if at == 0 {
        let tried = BELOW.iter().filter_map(|parts| scaled(best.order, 1, *parts));
        let why = "the smallest order proves it, and smaller ones might prove less";
        tell("firstOrder", why, tried.collect());
    }
    hints
}

fn is_worth(better: Epsilon, now: Epsilon) -> bool {
    (now.units() - better.units()).saturating_mul(WORTH) >= now.units() && better < now
}

/// The least epsilon that any of these orders proves.
fn least(mechanism: &Mechanism, tried: &[Order], delta: Delta) -> Option<Proven<Epsilon>> {
    let mut tried = tried.to_vec();
    tried.sort_unstable();
    tried.dedup();
    let orders = Orders::new(tried).ok()?;
    let curve = renyi(mechanism, &orders).ok()?;
    Conversion::Improved.epsilon(&orders, &curve, delta)
}

/// Orders between one and another, with few digits, and the nearer to the one the closer together.
fn between(one: Order, other: Order) -> Vec<Order> {
    let orders = (1..=BETWEEN).filter_map(|at| {
        let part = f64::from(at) / f64::from(BETWEEN + 1);
        let order = one.value() + (other.value() - one.value()) * part * part;
        let decimals = usize::from(order < 100.0) + usize::from(order < 10.0);
        format!("{order:.decimals$}").parse().ok()
    });
    orders.collect()
}

/// 1 + (order - 1) * times / parts.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn scaled(order: Order, times: u64, parts: u64) -> Option<Order> {
    let less_one = (order.value() - 1.0) * times as f64 / parts as f64;
    let text = if less_one >= 10.0 {
        format!("{:.0}", 1.0 + less_one)
    } else {
        format!("{:.3}", 1.0 + less_one)
    };
    text.parse().ok()
}

/// A decimal with all digits as one with 4, rounded up; what stands for more than can be counted if there is none.
pub(crate) fn few(decimal: Option<&str>) -> String {
    match decimal {
        Some(text) => text
            .parse::<Epsilon>()
            .map_or_else(|_| text.to_owned(), |epsilon| epsilon.short(Rounding::Up)),
        None => beyond(),
    }
}

/// A delta with all digits as one with 4.
pub(super) fn short_delta(delta: &str) -> String {
    let parsed = delta.parse::<Delta>();
    parsed.map_or_else(|_| delta.to_owned(), |delta| delta.short(Rounding::Nearest))
}

/// How a cost is shown that is more than can be counted.
pub(crate) fn beyond() -> String {
    let units = i64::MAX / 10_i64.pow(Epsilon::DECIMALS);
    format!("over {units}")
}

impl Report for Account {
    fn text(&self, form: Form) -> String {
        let paint = form.paint;
        let delta = short_delta(&self.delta);
        let mut text = format!("{}\n\n", paint.bold(&self.mechanism));
        let mut table = Table::new(&[
            ">ORDER",
            ">RENYI EPSILON",
            ">EPSILON, CLASSICAL",
            ">EPSILON, IMPROVED",
            "",
        ]);
        let proves = |proof: &Option<Proof>, point: &Point| {
            proof.as_ref().is_some_and(|proof| proof.order == point.order)
        };
        for point in &self.curve {
            let mark = match (proves(&self.classical, point), proves(&self.improved, point)) {
                (true, true) => "proves both",
                (true, false) => "proves the classical one",
                (false, true) => "proves the improved one",
                (false, false) => "",
            };
            let nothing = || "-".to_owned();
            let told = |epsilon: &Option<String>| epsilon.as_deref().map_or_else(nothing, |e| few(Some(e)));
            table.row([
                point.order.clone(),
                few(point.epsilon.as_deref()),
                told(&point.classical),
                told(&point.improved),
                mark.to_owned(),
            ]);
        }
        text.push_str(&table.text("", paint));
        text.push('\n');
        let _ = match (&self.improved, &self.classical) {
            (Some(improved), Some(classical)) => writeln!(
                text,
                "for delta {}: epsilon {} by the improved conversion (at order {}), {} by the classical one (at order {})",
                delta,
                paint.bold(&few(Some(&improved.epsilon))),
                improved.order,
                few(Some(&classical.epsilon)),
                classical.order
            ),
            _ => writeln!(text, "for delta {delta}: no epsilon is proven"),
        };
        if let Some(pure) = &self.pure_epsilon {
            let _ = writeln!(text, "for delta 0: epsilon {}", few(Some(pure)));
        }
        for hint in &self.hints {
            let _ = writeln!(text, "{} {}", paint.middling("hint:"), hint.message);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(mechanism: &str, orders: Option<&str>, delta: &str) -> Account {
        let orders = orders.map_or_else(Orders::default, |text| super::super::orders(text).unwrap());
        Account::of(&mechanism.parse().unwrap(), &orders, delta.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_curve_with_what_it_proves() {
        let account = account(
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)",
            Some("2,8,64"),
            "1e-9",
        );
        assert_eq!(
            account.text(Form::default()),
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)

ORDER   RENYI EPSILON   EPSILON, CLASSICAL   EPSILON, IMPROVED
    2          0.1286                20.86               19.47
    8          0.5841                3.545               3.114   proves both
   64           21769                21769               21769

for delta 1e-9: epsilon 3.114 by the improved conversion (at order 8), 3.545 by the classical one (at order 8)
hint: the orders are far apart around the one that proves it: order 9.97 would prove 2.751 in place of 3.114
"
        );
    }

    #[test]
    fn an_order_that_saturates_has_no_number() {
        let account = account("3000000*gaussian(sigma=1)", Some("2,64"), "1e-9");
        assert_eq!(account.curve[1].epsilon, None);
        assert_eq!(account.curve[1].improved, None);
        let text = account.text(Form::default());
        assert!(
            text.contains("   64    over 9223372                    -                   -\n"),
            "{text}"
        );
        let nothing = super::tests::account("gaussian(sigma=1e-300)", None, "1e-9");
        assert_eq!(nothing.improved, None);
        assert_eq!(nothing.hints[0].reason, "noOrder");
    }

    #[test]
    fn the_first_and_the_last_order_are_hinted_at() {
        let reasons = |mechanism, orders, delta| -> Vec<&str> {
            let account = account(mechanism, Some(orders), delta);
            account.hints.iter().map(|hint| hint.reason).collect()
        };
        assert_eq!(reasons("gaussian(sigma=60)", "2,32,64", "1e-9"), ["lastOrder"]);
        assert_eq!(reasons("gaussian(sigma=0.1)", "8,16", "1e-9"), ["firstOrder"]);
        assert!(reasons("gaussian(sigma=5)", "16,20,24,28,32,36,40", "1e-9").is_empty());
    }

    #[test]
    fn a_pure_epsilon_is_told() {
        let account = account("3*laplace(scale=10)", None, "1e-9");
        assert_eq!(account.pure_epsilon.as_deref(), Some("0.3"));
    }
}
