//! A block's status: how much of its budget is locked, available, allocated and consumed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{PrivateDataBlockStatus, conditions};
use privatekube_policy::{BlockId, BlockState, Composition};

use super::{amounts::amounts, condition};
use crate::{BlockView, CommittedState, objects::BlockObject};

/// What a block says whose budget was written off.
pub(crate) const WRITTEN_OFF: &str = "entries of the ledger were lost, so that all of its budget counts as consumed but for \
                                      what is granted: give data that nobody has used another block";

/// A block as it is committed, or why it can't be used. `now` dates the condition of an object without a creation time.
pub(crate) fn block_view(
    state: CommittedState<'_>,
    block: &BlockId,
    object: &BlockObject,
    now: &v1::Time,
) -> BlockView {
    let metadata = &object.object.metadata;
    let since = metadata.creation_timestamp.clone();
    let committed = state.engine.block(block);
    let written_off =
        committed.as_ref().is_some_and(|block| block.written_off) || state.engine.is_lost(block);
    BlockView {
        dimensions: object.dimensions.clone(),
        composition: state.engine.rules().composition.clone(),
        committed,
        written_off,
        written_off_after: state.engine.last_write_off().filter(|_| written_off),
        problem: object.problem.clone(),
        since: since.unwrap_or_else(|| now.clone()),
        generation: metadata.generation,
        sequence: state.sequence,
    }
}

/// A block's status.
pub(crate) fn block_status(block: &BlockView) -> PrivateDataBlockStatus {
    let budget = block
        .committed
        .as_ref()
        .map(|committed| budget_status(committed, &block.composition));
    let (reason, message) = match &block.problem {
        _ if block.written_off => ("WrittenOff", WRITTEN_OFF),
        None => ("InLedger", "its budget is in the ledger"),
        Some(problem) => ("Unusable", problem.as_str()),
    };
    let mut ready = condition(
        conditions::READY,
        block.problem.is_none() && !block.written_off,
        reason,
        message,
        block.since.clone(),
    );
    ready.observed_generation = block.generation;
    PrivateDataBlockStatus {
        ledger_sequence: Some(block.sequence),
        written_off_after: block.written_off_after,
        conditions: vec![ready],
        ..budget.unwrap_or_default()
    }
}

/// A block's budget as its status shows it. For Renyi composition the one epsilon shown is that at the order at which the
/// most Gaussian mechanisms of one size fit, which stays the same for as long as anything is left there; after that, the one
/// at the order with the largest part left.
fn budget_status(block: &BlockState, composition: &Composition) -> PrivateDataBlockStatus {
    let at = shown_coordinate(block, composition);
    let shown = |units: &dyn Fn(usize) -> i128| Some(amounts(composition, at, units));
    let of = |list: &[i128], at: usize| list.get(at).copied().unwrap_or(0);
    PrivateDataBlockStatus {
        order: match composition {
            Composition::Basic => None,
            Composition::Renyi(orders) => orders.iter().nth(at).map(|order| order.to_string()),
        },
        total: shown(&|at| block.capacity.units().get(at).copied().map_or(0, i128::from)),
        locked: shown(&|at| of(&block.locked, at)),
        available: shown(&|at| of(&block.available, at)),
        allocated: shown(&|at| of(&block.allocated, at)),
        consumed: shown(&|at| of(&block.consumed, at)),
        arrivals: Some(block.arrivals),
        ledger_sequence: None,
        written_off_after: None,
        conditions: Vec::new(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "chooses which order is shown, nothing else"
)]
fn shown_coordinate(block: &BlockState, composition: &Composition) -> usize {
    let Composition::Renyi(orders) = composition else {
        return 0;
    };
    let capacity = |at: usize| block.capacity.units()[at] as f64;
    let left = |at: usize| (block.locked[at] + block.available[at]) as f64 / capacity(at);
    let usable = || {
        orders
            .iter()
            .enumerate()
            .filter(|(at, _)| block.capacity.units()[*at] > 0)
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
        let mut block = BlockState {
            locked: units.clone(),
            available: vec![0; units.len()],
            allocated: vec![0; units.len()],
            consumed: vec![0; units.len()],
            arrivals: 0,
            retired: false,
            written_off: false,
            capacity,
        };
        let shown = |block: &BlockState| budget_status(block, &composition).order.unwrap();
        assert_eq!(shown(&block), "5");
        block.locked[6] = 1;
        assert_eq!(shown(&block), "5");
        block.locked[6] = 0;
        assert_ne!(shown(&block), "5");
    }
}
