//! Checks that the amounts of a block's budget add up to its capacity, independently of the engine that
//! computes them: before an entry is written, and after an entry is read.

use std::collections::BTreeSet;

use privatekube_policy::{BlockId, BlockState, Composition, Engine, Event, Record};
use thiserror::Error;

/// A block whose amounts don't add up. That is a bug of the engine, and nothing may be granted on the block.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the amounts of block {block} are wrong: {problem}")]
pub struct Imbalance {
    /// The block.
    pub block: BlockId,
    /// What is wrong.
    pub problem: &'static str,
}

/// Checks every block.
pub(crate) fn check_all(engine: &Engine) -> Result<(), Imbalance> {
    engine.blocks().try_for_each(|block| check(engine, block))
}

/// Checks the blocks that these events and records name, and the blocks of the claims that they name.
pub(crate) fn check_touched(engine: &Engine, events: &[Event], records: &[Record]) -> Result<(), Imbalance> {
    let mut claims = BTreeSet::new();
    let mut blocks = BTreeSet::new();
    for event in events {
        match event {
            Event::AddBlock { block, .. } | Event::RetireBlock { block } => _ = blocks.insert(block),
            Event::Arrive(arrival) => _ = claims.insert(&arrival.claim),
            Event::Match { claim, .. }
            | Event::Consume { claim, .. }
            | Event::Release { claim, .. }
            | Event::Withdraw { claim }
            | Event::NeverRan { claim } => _ = claims.insert(claim),
            // A write-off has a record for each block, and what is forgotten stays in the accounts.
            Event::WriteOff { .. } | Event::Forget { .. } => {}
        }
    }
    for record in records {
        match record {
            Record::BlockAdded { block } | Record::BlockRetired { block } | Record::WrittenOff { block } => {
                _ = blocks.insert(block);
            }
            Record::Unlocked { blocks: unlocked } => blocks.extend(unlocked),
            Record::Granted { claim, .. }
            | Record::Consumed { claim, .. }
            | Record::Released { claim, .. } => {
                _ = claims.insert(claim);
            }
            // A claim that waits, or ended while it waited, has no budget allocated.
            Record::Waits { .. }
            | Record::Denied { .. }
            | Record::Expired { .. }
            | Record::Withdrawn { .. } => {}
        }
    }
    for claim in claims {
        blocks.extend(engine.blocks_of(claim));
    }
    blocks.into_iter().try_for_each(|block| check(engine, block))
}

fn check(engine: &Engine, block: &BlockId) -> Result<(), Imbalance> {
    // A claim may wait for blocks that were never added: there is nothing to check.
    let Some(state) = engine.block(block) else {
        return Ok(());
    };
    match problem(&state, &engine.rules().composition) {
        Some(problem) => Err(Imbalance {
            block: block.clone(),
            problem,
        }),
        None => Ok(()),
    }
}

/// What is wrong with a block's amounts, if anything.
fn problem(state: &BlockState, composition: &Composition) -> Option<&'static str> {
    let capacity = state.capacity.units();
    let parts = [&state.locked, &state.available, &state.allocated, &state.consumed];
    if capacity.len() != composition.coordinates() || parts.iter().any(|part| part.len() != capacity.len()) {
        return Some("their coordinates are not those of the dataset's composition");
    }
    let parts_at = |coordinate: usize| parts.map(|part| part[coordinate]);
    let mut any_granted = false;
    let mut holds_at_one = false;
    let mut holds_at_all = true;
    for (coordinate, capacity) in capacity.iter().map(|capacity| i128::from(*capacity)).enumerate() {
        let [locked, available, allocated, consumed] = parts_at(coordinate);
        if locked < 0 || allocated < 0 || consumed < 0 {
            return Some("locked, allocated or consumed is negative");
        }
        let sum = [available, allocated, consumed]
            .iter()
            .try_fold(locked, |sum, part| sum.checked_add(*part));
        if sum != Some(capacity) {
            return Some("locked + available + allocated + consumed is not the capacity");
        }
        any_granted |= allocated > 0 || consumed > 0;
        holds_at_one |= capacity > 0 && available >= 0;
        holds_at_all &= available >= 0;
    }
    let holds = match composition {
        Composition::Basic => holds_at_all,
        // A Renyi filter is sound as long as one order has not spent more than its budget; the others may
        // have.
        Composition::Renyi(_) => !any_granted || holds_at_one,
    };
    (!holds).then_some("more is granted than was unlocked")
}

#[cfg(test)]
mod tests {
    use privatekube_policy::{Budget, Orders};

    use super::*;

    /// A block with capacity (10, 4) of which so much is `[locked, available, allocated, consumed]`.
    fn block(parts: [[i128; 2]; 4]) -> BlockState {
        let [locked, available, allocated, consumed] = parts.map(Vec::from);
        BlockState {
            capacity: Budget::new(vec![10, 4]).unwrap(),
            locked,
            available,
            allocated,
            consumed,
            arrivals: 0,
            retired: false,
            written_off: false,
        }
    }

    fn renyi() -> Composition {
        let orders = ["2", "4"].map(|order| order.parse().unwrap());
        Composition::Renyi(Orders::new(orders.to_vec()).unwrap())
    }

    #[test]
    fn amounts_that_add_up_are_right() {
        for parts in [
            [[10, 4], [0, 0], [0, 0], [0, 0]],
            [[1, 1], [2, 1], [3, 1], [4, 1]],
        ] {
            assert_eq!(problem(&block(parts), &Composition::Basic), None);
            assert_eq!(problem(&block(parts), &renyi()), None);
        }
    }

    #[test]
    fn a_unit_too_many_or_too_few_is_wrong() {
        for part in 0..4 {
            for off in [-1, 1] {
                let mut parts = [[1, 1], [2, 1], [3, 1], [4, 1]];
                parts[part][1] += off;
                let wrong = problem(&block(parts), &renyi());
                assert_eq!(
                    wrong,
                    Some("locked + available + allocated + consumed is not the capacity")
                );
            }
        }
    }

    #[test]
    fn negative_parts_are_wrong_though_they_add_up() {
        for part in [0, 2, 3] {
            let mut parts = [[10, 4], [0, 0], [10, 4], [10, 4]];
            parts[part] = [-20, -8];
            parts[1] = [10, 4];
            assert_eq!(
                problem(&block(parts), &renyi()),
                Some("locked, allocated or consumed is negative")
            );
        }
    }

    #[test]
    fn an_overdrawn_coordinate_is_wrong_unless_another_order_holds() {
        let overdrawn = block([[0, 0], [5, -1], [5, 5], [0, 0]]);
        assert_eq!(problem(&overdrawn, &renyi()), None);
        assert!(problem(&overdrawn, &Composition::Basic).is_some());
        let everywhere = block([[0, 0], [-1, -1], [11, 5], [0, 0]]);
        assert!(problem(&everywhere, &renyi()).is_some());
        // An order without any budget holds nothing, whatever is charged there.
        let mut nowhere = block([[0, 0], [-1, 0], [11, 0], [0, 0]]);
        nowhere.capacity = Budget::new(vec![10, 0]).unwrap();
        assert!(problem(&nowhere, &renyi()).is_some());
    }

    #[test]
    fn a_coordinate_too_many_is_wrong() {
        let mut block = block([[10, 4], [0, 0], [0, 0], [0, 0]]);
        block.available.push(0);
        assert!(problem(&block, &Composition::Basic).is_some());
    }
}
