//! Budgets as numbers, for objects.

use privatekube_api::{Amounts, GrantedBudget, RenyiAmount};
use privatekube_policy::Composition;

/// Budgets with `units` at each coordinate. For Renyi the one epsilon shown is that at the coordinate `at`.
pub(super) fn amounts(composition: &Composition, at: usize, units: impl Fn(usize) -> i128) -> Amounts {
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

/// A granted budget.
pub(super) fn granted_budget(units: &[i64], composition: &Composition) -> GrantedBudget {
    let amounts = amounts(composition, 0, |at| units.get(at).copied().map_or(0, i128::from));
    match amounts.renyi {
        Some(renyi) => GrantedBudget::Curve { renyi },
        None => GrantedBudget::Guarantee {
            epsilon: amounts.epsilon,
            delta: amounts.delta.unwrap_or_default(),
        },
    }
}
