//! What is suspicious about a block, for whoever creates it and in its conditions. A block is used all the same: it may be meant
//! so.

use privatekube_api::PrivateDataBlockSpec;
use privatekube_policy::{Composition, Delta, Epsilon, Rounding};

/// What a block's budget is stated as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatedBudget {
    /// Its own epsilon and delta, or its dataset's.
    Guarantee(Epsilon, Delta),
    /// A Renyi curve of its own.
    Curve,
}

impl StatedBudget {
    /// The budget of a block, where `default` is the guarantee of its dataset; `None` if neither states a valid one.
    pub(crate) fn of(block: &PrivateDataBlockSpec, default: Option<(Epsilon, Delta)>) -> Option<Self> {
        let Some(stated) = &block.initial_budget else {
            return default.map(|(epsilon, delta)| Self::Guarantee(epsilon, delta));
        };
        if stated.renyi.is_some() {
            return Some(Self::Curve);
        }
        let epsilon = stated.epsilon.as_ref()?.epsilon("epsilon").ok()?;
        let delta = stated.delta.as_ref()?.delta("delta").ok()?;
        Some(Self::Guarantee(epsilon, delta))
    }
}

/// A guarantee for people: `(10, 1e-7)`.
pub(crate) fn guarantee(epsilon: Epsilon, delta: Delta) -> String {
    let (epsilon, delta) = (epsilon.short(Rounding::Nearest), delta.short(Rounding::Nearest));
    format!("({epsilon}, {delta})")
}

/// Two guarantees, with as many digits as it takes to tell them apart.
fn both((epsilon, delta): (Epsilon, Delta), (other, other_delta): (Epsilon, Delta)) -> [String; 2] {
    let composition = Composition::Basic;
    let (allowed, own) = composition.display_apart(0, epsilon.units(), other.units());
    let (allowed_delta, own_delta) = composition.display_apart(1, delta.units(), other_delta.units());
    [
        format!("({own}, {own_delta})"),
        format!("({allowed}, {allowed_delta})"),
    ]
}

/// The warning that `other` has the same data source as a block.
#[must_use]
pub fn shared_data_source(other: &str) -> String {
    format!(
        "block {other} has the same dataSource: unless their dimensions keep the records apart, the same data has two budgets \
         and can be spent twice"
    )
}

/// The warning that a block may spend more than the guarantee of its dataset allows; `None` if it may not, or if either isn't
/// valid.
#[must_use]
pub fn above_guarantee(
    block: &PrivateDataBlockSpec,
    composition: &Composition,
    of_dataset: Option<(Epsilon, Delta)>,
) -> Option<String> {
    let (epsilon, delta) = of_dataset?;
    block.initial_budget.as_ref()?;
    let says = "the guarantee that its dataset states for blocks";
    match StatedBudget::of(block, None)? {
        StatedBudget::Guarantee(own_epsilon, own_delta) => {
            let is_above = own_epsilon > epsilon || own_delta > delta;
            let [own, allowed] = both((epsilon, delta), (own_epsilon, own_delta));
            is_above.then(|| format!("its budget of {own} is above {allowed}, {says}"))
        }
        StatedBudget::Curve => {
            let allows = composition.capacity(epsilon, delta).ok()?;
            let own = block.capacity(composition, None).ok()?;
            let above = own.units().iter().zip(allows.units());
            let at = above.into_iter().position(|(own, allowed)| own > allowed)?;
            let what = composition.coordinate_name(at);
            let allowed = guarantee(epsilon, delta);
            Some(format!(
                "its budget is above {allowed}, {says}: it has more {what} than that allows"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Orders;
    use serde_json::{Value, json};

    use super::*;

    fn warning(budget: &Value, composition: &Composition) -> Option<String> {
        let spec = json!({"dataset": "taxi", "initialBudget": budget});
        let spec: PrivateDataBlockSpec = serde_json::from_value(spec).unwrap();
        let of_dataset = Some(("10".parse().unwrap(), "1e-7".parse().unwrap()));
        above_guarantee(&spec, composition, of_dataset)
    }

    #[test]
    fn a_budget_above_the_guarantee_is_told_with_both() {
        let renyi = Composition::Renyi(Orders::default());
        for composition in [&Composition::Basic, &renyi] {
            assert_eq!(warning(&Value::Null, composition), None);
            for budget in [
                json!({"epsilon": 10, "delta": "1e-7"}),
                json!({"epsilon": "1", "delta": "1e-9"}),
            ] {
                assert_eq!(warning(&budget, composition), None);
            }
            assert_eq!(
                warning(&json!({"epsilon": "10.00001", "delta": "1e-9"}), composition).unwrap(),
                "its budget of (10.00001, 1e-9) is above (10, 1e-7), the guarantee that its dataset states for blocks"
            );
            assert!(warning(&json!({"epsilon": 10, "delta": "1.1e-7"}), composition).is_some());
        }
        let curve = |epsilon: &str| warning(&json!({"renyi": [{"order": 5, "epsilon": epsilon}]}), &renyi);
        assert_eq!(curve("5.97"), None);
        let above = curve("5.98").unwrap();
        assert!(
            above.ends_with("more epsilon at order 5 than that allows"),
            "{above}"
        );
    }
}
