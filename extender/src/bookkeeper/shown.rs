//! What objects' statuses show of what is committed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use privatekube_api::{Amounts, GrantedBudget, PrivateDataBlockStatus, RenyiAmount, conditions};
use privatekube_policy::{BlockBooks, BlockId, Budget, ClaimState, Composition, Engine, Phase, Time};

use super::explain::Why;
use crate::clock;

/// The conditions of a claim: Granted always, the others once they are true.
pub(super) fn claim_conditions(claim: &ClaimState<'_>, why: &Why, changed: Option<Time>) -> Vec<Condition> {
    let condition = |type_: &str, is: bool, at: Time| Condition {
        type_: type_.to_owned(),
        status: if is { "True" } else { "False" }.to_owned(),
        reason: why.reason.to_owned(),
        message: why.message.clone(),
        last_transition_time: clock::meta_time(at),
        observed_generation: None,
    };
    let decided = claim.decided.unwrap_or(claim.arrived);
    let granted = matches!(claim.phase, Phase::Granted | Phase::Consumed | Phase::Released);
    let mut all = vec![condition(conditions::GRANTED, granted, decided)];
    let any = |used: &[(&BlockId, Budget)]| used.iter().any(|(_, budget)| !budget.is_zero());
    let further = [
        (conditions::CONSUMED, any(&claim.consumed)),
        (conditions::RELEASED, any(&claim.released)),
        (conditions::DENIED, claim.phase == Phase::Denied),
        (conditions::EXPIRED, claim.phase == Phase::Expired),
    ];
    let true_now = further.into_iter().filter(|(_, is)| *is);
    all.extend(true_now.map(|(type_, _)| condition(type_, true, changed.unwrap_or(decided))));
    all
}

/// The claim's largest share of a block's budget at a coordinate, for people. The engine compares exact fractions.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(super) fn dominant_share(engine: &Engine, claim: &ClaimState<'_>) -> Option<f64> {
    let shares = claim.arrival.demands.iter().flat_map(|demand| {
        demand
            .blocks
            .iter()
            .filter_map(|block| engine.block(block))
            .flat_map(|books| {
                let capacity = books.capacity.units().to_vec();
                let asked = demand.budget.units().to_vec();
                asked
                    .into_iter()
                    .zip(capacity)
                    .filter(|(_, capacity)| *capacity > 0)
                    .map(|(asked, capacity)| asked as f64 / capacity as f64)
            })
    });
    shares.reduce(f64::max)
}

fn amounts(composition: &Composition, at: usize, units: impl Fn(usize) -> i128) -> Amounts {
    match composition {
        Composition::Basic => Amounts {
            epsilon: composition.display_units(0, units(0)),
            delta: Some(composition.display_units(1, units(1))),
            renyi: None,
        },
        Composition::Renyi(orders) => Amounts {
            epsilon: composition.display_units(at, units(at)),
            delta: None,
            renyi: Some(
                orders
                    .iter()
                    .enumerate()
                    .map(|(at, order)| RenyiAmount {
                        order: order.to_string(),
                        epsilon: composition.display_units(at, units(at)),
                    })
                    .collect(),
            ),
        },
    }
}

/// A granted budget as numbers.
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

/// A block's budget as its status shows it. For Renyi the one epsilon shown is that at the order at which most
/// Gaussians of one size fit, which is the same from the block's first day on; once nothing is left there, that at
/// the order with the largest part left.
pub(super) fn block_status(books: &BlockBooks, composition: &Composition) -> PrivateDataBlockStatus {
    let at = shown_coordinate(books, composition);
    let shown = |units: &dyn Fn(usize) -> i128| Some(amounts(composition, at, units));
    let of = |list: &[i128], at: usize| list.get(at).copied().unwrap_or(0);
    PrivateDataBlockStatus {
        order: match composition {
            Composition::Basic => None,
            Composition::Renyi(orders) => orders.iter().nth(at).map(|order| order.to_string()),
        },
        total: shown(&|at| books.capacity.units().get(at).copied().map_or(0, i128::from)),
        locked: shown(&|at| of(&books.locked, at)),
        available: shown(&|at| of(&books.unlocked, at)),
        allocated: shown(&|at| of(&books.allocated, at)),
        consumed: shown(&|at| of(&books.consumed, at)),
        arrivals: Some(books.arrivals),
        ledger_sequence: None,
        conditions: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "only chooses what is shown")]
fn shown_coordinate(books: &BlockBooks, composition: &Composition) -> usize {
    let Composition::Renyi(orders) = composition else {
        return 0;
    };
    let capacity = |at: usize| books.capacity.units()[at] as f64;
    let left = |at: usize| (books.locked[at] + books.unlocked[at]) as f64 / capacity(at);
    let usable = || {
        orders
            .iter()
            .enumerate()
            .filter(|(at, _)| books.capacity.units()[*at] > 0)
    };
    let best = |figures: &mut dyn Iterator<Item = (usize, f64)>| {
        figures
            .reduce(|best, other| if other.1 > best.1 { other } else { best })
            .map(|(at, _)| at)
    };
    // A Gaussian costs in proportion to the order.
    let usual = best(&mut usable().map(|(at, order)| (at, capacity(at) / order.value())));
    match usual.filter(|at| left(*at) > 0.0) {
        Some(at) => at,
        None => best(&mut usable().map(|(at, _)| (at, left(at)))).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Orders;

    use super::*;

    #[test]
    fn the_order_shown_stays_the_same_until_nothing_is_left_there() {
        let composition = Composition::Renyi(Orders::default());
        let capacity = composition
            .capacity("10".parse().unwrap(), "1e-7".parse().unwrap())
            .unwrap();
        let units: Vec<i128> = capacity.units().iter().map(|units| i128::from(*units)).collect();
        let mut books = BlockBooks {
            locked: units.clone(),
            unlocked: vec![0; units.len()],
            allocated: vec![0; units.len()],
            consumed: vec![0; units.len()],
            arrivals: 0,
            retired: false,
            capacity,
        };
        let shown = |books: &BlockBooks| block_status(books, &composition).order.unwrap();
        assert_eq!(shown(&books), "5");
        books.locked[6] = 1;
        assert_eq!(shown(&books), "5");
        books.locked[6] = 0;
        assert_ne!(shown(&books), "5");
    }
}
