//! Budgets as decimal numbers, for statuses and grants.

use privatekube_api::{Amounts, GrantedBudget, RenyiAmount};
use privatekube_policy::Composition;

/// A budget with `units` at each coordinate. For Renyi composition, `epsilon` is the one at the coordinate `at`.
pub(crate) fn amounts(composition: &Composition, at: usize, units: impl Fn(usize) -> i128) -> Amounts {
    let shown = |at: usize| composition.display_units(at, units(at));
    match composition {
        Composition::Basic => Amounts {
            epsilon: shown(0),
            delta: Some(shown(1)),
            renyi: None,
        },
        Composition::Renyi(orders) => Amounts {
            epsilon: shown(at),
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
    let amounts = amounts(composition, 0, |at| units.get(at).copied().map_or(0, i128::from));
    match amounts.renyi {
        Some(renyi) => GrantedBudget::Curve { renyi },
        None => GrantedBudget::Guarantee {
            epsilon: amounts.epsilon,
            delta: amounts.delta.unwrap_or_default(),
        },
    }
}
