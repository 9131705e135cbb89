//! Whether a block's books add up: checked before anything is written and after anything is read, apart from the
//! engine that keeps them.

use std::collections::BTreeSet;

use privatekube_policy::{BlockBooks, BlockId, ClaimId, Composition, Engine, Event, Record};
use thiserror::Error;

/// A block whose books don't add up. It's a fault of the engine, and nothing may be granted on it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the books of block {block} are wrong: {problem}")]
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

/// Checks the blocks that these events and records are about.
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
        }
    }
    for record in records {
        match record {
            Record::BlockAdded { block } | Record::BlockRetired { block } => _ = blocks.insert(block),
            Record::Unlocked { blocks: unlocked } => blocks.extend(unlocked),
            Record::Granted { claim, .. }
            | Record::Consumed { claim, .. }
            | Record::Released { claim, .. } => {
                _ = claims.insert(claim);
            }
            // What ends while it waits holds no budget.
            Record::Waits { .. }
            | Record::Denied { .. }
            | Record::Expired { .. }
            | Record::Withdrawn { .. } => {}
        }
    }
    for claim in claims {
        blocks.extend(blocks_of(engine, claim));
    }
    blocks.into_iter().try_for_each(|block| check(engine, block))
}

fn blocks_of<'a>(engine: &'a Engine, claim: &ClaimId) -> impl Iterator<Item = &'a BlockId> {
    let demands = engine.claim(claim).map(|claim| claim.arrival.demands.as_slice());
    demands
        .unwrap_or_default()
        .iter()
        .flat_map(|demand| &demand.blocks)
}

fn check(engine: &Engine, block: &BlockId) -> Result<(), Imbalance> {
    // A claim may wait for blocks that were never added: there is nothing to check.
    let Some(books) = engine.block(block) else {
        return Ok(());
    };
    match problem(&books, &engine.setting().composition) {
        Some(problem) => Err(Imbalance {
            block: block.clone(),
            problem,
        }),
        None => Ok(()),
    }
}

/// What is wrong with `books`, if anything.
fn problem(books: &BlockBooks, composition: &Composition) -> Option<&'static str> {
    let capacity = books.capacity.units();
    let parts = [&books.locked, &books.unlocked, &books.allocated, &books.consumed];
    if capacity.len() != composition.coordinates() || parts.iter().any(|part| part.len() != capacity.len()) {
        return Some("they have not the coordinates of the dataset's composition");
    }
    let at = |coordinate: usize| parts.map(|part| part[coordinate]);
    let mut spent_any = false;
    let mut holds_at_one = false;
    let mut holds_at_all = true;
    for (coordinate, capacity) in capacity.iter().map(|capacity| i128::from(*capacity)).enumerate() {
        let [locked, unlocked, allocated, consumed] = at(coordinate);
        if locked < 0 || allocated < 0 || consumed < 0 {
            return Some("locked, allocated or consumed is negative");
        }
        let sum = [unlocked, allocated, consumed]
            .iter()
            .try_fold(locked, |sum, part| sum.checked_add(*part));
        if sum != Some(capacity) {
            return Some("locked + unlocked + allocated + consumed is not the capacity");
        }
        spent_any |= allocated > 0 || consumed > 0;
        holds_at_one |= capacity > 0 && unlocked >= 0;
        holds_at_all &= unlocked >= 0;
    }
    let holds = match composition {
        Composition::Basic => holds_at_all,
        // A Renyi filter is sound while one order holds; the others may be overdrawn.
        Composition::Renyi(_) => !spent_any || holds_at_one,
    };
    (!holds).then_some("more is granted than was unlocked")
}
