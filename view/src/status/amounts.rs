//! Budgets as decimal numbers, for statuses and grants.

use privatekube_api::{Amounts, GrantedBudget, RenyiAmount};
use privatekube_policy::{Composition, is_beyond_count};

/// A budget with `units` at each coordinate, none where more is demanded than 64 bits count. For Renyi composition, `epsilon`
/// is the one at the coordinate `at`.
pub(crate) fn amounts(
    composition: &Composition,
    at: usize,
    units: impl Fn(usize) -> Option<i128>,
) -> Amounts {
    let shown = |at: usize| units(at).map(|units| composition.display_units(at, units));
    // A sum of epsilons and one at an order where budget is left are far below what 64 bits count.
    let counted = |at: usize| shown(at).unwrap_or_else(|| composition.display_units(at, i64::MAX.into()));
    match composition {
        Composition::Basic => Amounts {
            epsilon: counted(0),
            delta: Some(counted(1)),
            renyi: None,
        },
        Composition::Renyi(orders) => Amounts {
            epsilon: counted(at),
            delta: None,
            renyi: Some(
                orders
                    .iter()
                    .enumerate()
                    .map(|(at, order)| RenyiAmount {
                        order: order.to_string(),
                        epsilon: shown(at),
                    })
                    .collect(),
            ),
        },
    }
}

/// A granted budget: epsilon and delta, or a Renyi curve.
pub(crate) fn granted_budget(units: &[i64], composition: &Composition) -> GrantedBudget {
    let known = |units: i128| (!is_beyond_count(units)).then_some(units);
    let amounts = amounts(composition, 0, |at| {
        known(units.get(at).copied().map_or(0, i128::from))
    });
    match amounts.renyi {
        Some(renyi) => GrantedBudget::Curve { renyi },
        None => GrantedBudget::Guarantee {
            epsilon: amounts.epsilon,
            delta: amounts.delta.unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Mechanism;

    use super::*;

    #[test]
    fn a_granted_epsilon_that_can_not_be_counted_is_null() {
        let composition = Composition::Renyi(privatekube_policy::Orders::default());
        let mechanism: Mechanism = "gaussian(sigma=0.0018)".parse().unwrap();
        let demand = mechanism.demand(&composition).unwrap();
        let GrantedBudget::Curve { renyi } = granted_budget(demand.units(), &composition) else {
            panic!("a dataset with Renyi composition grants curves")
        };
        assert!(
            renyi[0]
                .epsilon
                .as_deref()
                .is_some_and(|epsilon| epsilon.starts_with("231481."))
        );
        assert_eq!((renyi[11].order.as_str(), &renyi[11].epsilon), ("64", &None));
        let json = serde_json::to_string(&renyi[11]).unwrap();
        assert_eq!(json, r#"{"order":"64","epsilon":null}"#);
        let read: RenyiAmount = serde_json::from_str(&json).unwrap();
        assert_eq!(read, renyi[11]);
    }
}
