//! A block's status: how much of its budget is locked, available, allocated and consumed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{BlockTable, PrivateDataBlockSpec, PrivateDataBlockStatus, beginning, conditions};
use privatekube_policy::{BlockId, BlockState, Composition, Rounding, is_beyond_count};

use super::{amounts::amounts, condition};
use crate::{
    BlockView, CommittedState, DatasetObjects, PhaseReason, SourceId,
    block::Problem,
    block_warnings::{StatedBudget, above_guarantee, guarantee, shared_data_source},
    objects::BlockObject,
};

/// What a block says whose budget was written off.
pub(crate) const WRITTEN_OFF: &str = "entries of the ledger were lost, so that all of its budget counts as consumed but for \
                                      what is granted: give data that nobody has used another block";

/// A block as it is committed, or why it can't be used. `now` dates the condition of an object without a creation time.
pub(crate) fn block_view(
    state: CommittedState<'_>,
    block: &BlockId,
    object: &BlockObject,
    objects: &DatasetObjects,
    now: &v1::Time,
) -> BlockView {
    let metadata = &object.object.metadata;
    let spec = &object.object.spec;
    let of_dataset = objects.default_guarantee();
    let above_guarantee = above_guarantee(spec, &state.engine.rules().composition, of_dataset);
    let since = metadata.creation_timestamp.clone();
    let committed = state.engine.block(block);
    let written_off =
        committed.as_ref().is_some_and(|block| block.written_off) || state.engine.is_lost(block);
    BlockView {
        dimensions: object.dimensions.clone(),
        composition: Some(state.engine.rules().composition.clone()),
        committed,
        written_off,
        written_off_after: state.engine.last_write_off().filter(|_| written_off),
        problem: object.problem.clone().map(Problem::Unusable),
        stated: StatedBudget::of(spec, of_dataset),
        spent: spec.spent(&state.engine.rules().composition).ok().flatten(),
        source: SourceId::of(spec),
        listed_source: listed_source(spec),
        shares_with: objects.with_same_source(block.as_str()).map(Box::from),
        above_guarantee: above_guarantee.map(String::into_boxed_str),
        since: since.unwrap_or_else(|| now.clone()),
        uid: metadata.uid.as_deref().map(Box::from),
        generation: metadata.generation,
        sequence: state.sequence,
    }
}

/// A block of a dataset that has no ledger, and why. `now` dates the condition of an object without a creation time.
pub(crate) fn block_without_ledger(
    block: &str,
    object: &BlockObject,
    objects: &DatasetObjects,
    why: PhaseReason,
    now: v1::Time,
) -> BlockView {
    let metadata = &object.object.metadata;
    let spec = &object.object.spec;
    BlockView {
        dimensions: object.dimensions.clone(),
        composition: None,
        committed: None,
        written_off: false,
        written_off_after: None,
        problem: Some(Problem::NoLedger(why)),
        stated: StatedBudget::of(spec, objects.default_guarantee()),
        spent: None,
        source: SourceId::of(spec),
        listed_source: listed_source(spec),
        shares_with: objects.with_same_source(block).map(Box::from),
        above_guarantee: None,
        since: metadata.creation_timestamp.clone().unwrap_or(now),
        uid: metadata.uid.as_deref().map(Box::from),
        generation: metadata.generation,
        sequence: 0,
    }
}

/// The beginning of a block's data source, for lists.
fn listed_source(spec: &PrivateDataBlockSpec) -> Option<Box<str>> {
    let beginning = spec.data_source.as_deref().map(beginning);
    beginning.map(String::into_boxed_str)
}

/// A block's status.
pub(crate) fn block_status(block: &BlockView) -> PrivateDataBlockStatus {
    let budget = block
        .committed
        .as_ref()
        .zip(block.composition.as_ref())
        .map(|(committed, composition)| budget_status(committed, composition));
    let budget = budget.unwrap_or_default();
    let table = BlockTable {
        guarantee: stated_guarantee(block),
        data_source: block.listed_source.as_deref().map(str::to_owned),
        ..budget.table.unwrap_or_default()
    };
    let (reason, message) = match &block.problem {
        _ if block.written_off => ("WrittenOff", WRITTEN_OFF),
        None => ("InLedger", "its budget is in the ledger"),
        Some(problem) if block.committed.as_ref().is_some_and(|block| block.retired) => {
            ("Retired", problem.message())
        }
        Some(problem) => (problem.reason(), problem.message()),
    };
    let mut ready = condition(
        conditions::READY,
        block.problem.is_none() && !block.written_off,
        reason,
        message,
        block.since.clone(),
    );
    ready.observed_generation = block.generation;
    let mut all = vec![ready];
    let shared = block.shares_with.as_deref().map(shared_data_source);
    let above = block.above_guarantee.as_deref().map(str::to_owned);
    for (type_, reason, message) in [
        (conditions::DATA_SOURCE_SHARED, "SameDataSource", shared),
        (conditions::ABOVE_GUARANTEE, "BudgetAboveGuarantee", above),
    ] {
        all.extend(message.map(|message| {
            let mut warning = condition(type_, true, reason, &message, block.since.clone());
            warning.observed_generation = block.generation;
            warning
        }));
    }
    // What is wrong comes before what is right.
    let is_usable = block.problem.is_none() && !block.written_off;
    let told = all.get(1).filter(|_| is_usable).or(all.first());
    PrivateDataBlockStatus {
        summary: told.map(|told| beginning(&told.message)),
        table: Some(table),
        ledger_sequence: Some(block.sequence).filter(|sequence| *sequence > 0),
        written_off_after: block.written_off_after,
        conditions: all,
        ..budget
    }
}

/// The guarantee that a block's budget in the ledger was made of, for people. The dataset may have another one by now.
fn stated_guarantee(block: &BlockView) -> Option<String> {
    let committed = block.committed.as_ref()?;
    Some(match block.stated {
        Some(StatedBudget::Curve) => "curve".to_owned(),
        Some(StatedBudget::Guarantee(epsilon, delta))
            if block.capacity_of(epsilon, delta).as_ref() == Some(&committed.capacity) =>
        {
            // Without a space, for programs that split rows into words.
            guarantee(epsilon, delta).replace(' ', "")
        }
        _ => "unknown".to_owned(),
    })
}

/// A block's budget as its status shows it. For Renyi composition the one epsilon shown is that at the order at which the
/// most Gaussian mechanisms of one size fit, which stays the same for as long as anything is left there; after that, the one
/// at the order with the largest part left.
pub(crate) fn budget_status(block: &BlockState, composition: &Composition) -> PrivateDataBlockStatus {
    let shown_at = shown_coordinate(block, composition);
    let of = |list: &[i128], at: usize| list.get(at).copied().unwrap_or(0);
    let capacity = |at: usize| block.capacity.units().get(at).copied().map_or(0, i128::from);
    let known = |units: i128| (!is_beyond_count(units)).then_some(units);
    let is_known = |at: usize| known(of(&block.allocated, at)).and(known(of(&block.consumed, at)));
    let shown = |units: &dyn Fn(usize) -> Option<i128>| Some(amounts(composition, shown_at, units));
    let short = |units: i128| Some(composition.display_short(shown_at, units, Rounding::Nearest));
    PrivateDataBlockStatus {
        order: match composition {
            Composition::Basic => None,
            Composition::Renyi(orders) => orders.iter().nth(shown_at).map(|order| order.to_string()),
        },
        total: shown(&|at| Some(capacity(at))),
        locked: shown(&|at| Some(of(&block.locked, at))),
        available: shown(&|at| is_known(at).map(|_| of(&block.available, at))),
        allocated: shown(&|at| known(of(&block.allocated, at))),
        consumed: shown(&|at| known(of(&block.consumed, at))),
        arrivals: Some(block.arrivals),
        table: Some(BlockTable {
            total: short(capacity(shown_at)),
            locked: short(of(&block.locked, shown_at)),
            available: short(of(&block.available, shown_at)),
            allocated: short(of(&block.allocated, shown_at)),
            consumed: short(of(&block.consumed, shown_at)),
            ..BlockTable::default()
        }),
        ..PrivateDataBlockStatus::default()
    }
}

/// The coordinate whose amounts are shown of a block where there is room for one: epsilon (Basic), or the Renyi order at which
/// the most Gaussian mechanisms of one size fit, and once nothing is left there, that with the largest part left.
#[expect(
    clippy::cast_precision_loss,
    reason = "chooses which order is shown, nothing else"
)]
#[must_use]
pub fn shown_coordinate(block: &BlockState, composition: &Composition) -> usize {
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

    /// A block that guarantees (10, 1e-7), all of it locked.
    fn locked(composition: &Composition) -> BlockState {
        let (epsilon, delta) = ("10".parse().unwrap(), "1e-7".parse().unwrap());
        let capacity = composition.capacity(epsilon, delta).unwrap();
        let units: Vec<i128> = capacity.units().iter().map(|units| i128::from(*units)).collect();
        BlockState {
            locked: units.clone(),
            available: vec![0; units.len()],
            allocated: vec![0; units.len()],
            consumed: vec![0; units.len()],
            arrivals: 0,
            retired: false,
            written_off: false,
            capacity,
        }
    }

    #[test]
    fn tables_have_four_digits_and_amounts_have_all() {
        let composition = Composition::Renyi(Orders::default());
        let mut block = locked(&composition);
        (block.locked[6], block.allocated[6]) = (4_970_400_000_001, 1_000_050_000_000);
        let status = budget_status(&block, &composition);
        let table = status.table.unwrap();
        assert_eq!(status.total.unwrap().epsilon, "5.97047608726");
        assert_eq!(table.total.unwrap(), "5.97");
        assert_eq!(table.locked.unwrap(), "4.97");
        assert_eq!(table.allocated.unwrap(), "1");
        assert_eq!(table.consumed.unwrap(), "0");
    }

    #[test]
    fn what_can_not_be_counted_is_null() {
        let composition = Composition::Renyi(Orders::default());
        let mut block = locked(&composition);
        // A granted claim that costs more at order 64 than 64 bits count.
        block.allocated[11] = i64::MAX.into();
        block.available[11] = -i128::from(i64::MAX);
        let status = budget_status(&block, &composition);
        let at = |amounts: &Option<privatekube_api::Amounts>, at: usize| {
            amounts.as_ref().unwrap().renyi.as_ref().unwrap()[at]
                .epsilon
                .clone()
        };
        assert_eq!(
            (at(&status.allocated, 11), at(&status.available, 11)),
            (None, None)
        );
        assert_eq!(at(&status.allocated, 10).as_deref(), Some("0"));
        assert_eq!(at(&status.consumed, 11).as_deref(), Some("0"));
        assert!(at(&status.total, 11).unwrap().starts_with("9.74"));
        (block.consumed[11], block.allocated[11]) = (block.allocated[11], 0);
        let status = budget_status(&block, &composition);
        assert_eq!(
            (at(&status.consumed, 11), at(&status.available, 11)),
            (None, None)
        );
    }

    #[test]
    fn the_order_shown_stays_the_same_until_nothing_is_left_there() {
        let composition = Composition::Renyi(Orders::default());
        let mut block = locked(&composition);
        let shown = |block: &BlockState| budget_status(block, &composition).order.unwrap();
        assert_eq!(shown(&block), "5");
        block.locked[6] = 1;
        assert_eq!(shown(&block), "5");
        block.locked[6] = 0;
        assert_ne!(shown(&block), "5");
    }
}
