//! Builders of rules, events and ledgers for tests, and snapshots of an engine.

use futures::executor::block_on;
use privatekube_ledger::{Committed, Ledger, MemoryStore, Store};
use privatekube_policy::{
    Amount, Arrival, BlockId, BlockState, Budget, ClaimId, Composition, DatasetRules, Demand, Denial, Engine,
    Event, Phase, Policy, Revision, Span, Time, Unlocking, Weight,
};

/// Policy DPF, all budget available at once, Basic composition.
pub(crate) fn rules() -> DatasetRules {
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    }
}

pub(crate) fn at(micros: u64) -> Time {
    Time::from_micros(micros)
}

pub(crate) fn block(name: &str, epsilon: i64) -> Event {
    Event::AddBlock {
        block: name.into(),
        capacity: budget(epsilon),
    }
}

pub(crate) fn budget(epsilon: i64) -> Budget {
    Budget::new(vec![epsilon, 0]).unwrap()
}

pub(crate) fn claim(name: &str, epsilon: i64, blocks: &[&str]) -> Event {
    Event::Arrive(Arrival {
        claim: name.into(),
        demands: vec![Demand {
            blocks: blocks.iter().map(|block| BlockId::from(*block)).collect(),
            budget: budget(epsilon),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

pub(crate) fn claim_until(name: &str, epsilon: i64, blocks: &[&str], timeout: u64) -> Event {
    let Event::Arrive(arrival) = claim(name, epsilon, blocks) else {
        unreachable!()
    };
    Event::Arrive(Arrival {
        timeout: Some(Span::from_micros(timeout)),
        ..arrival
    })
}

pub(crate) fn consume(name: &str) -> Event {
    Event::Consume {
        claim: name.into(),
        amount: Amount::All,
    }
}

pub(crate) fn release(name: &str) -> Event {
    Event::Release {
        claim: name.into(),
        amount: Amount::All,
    }
}

pub(crate) fn open<S: Store>(store: S) -> Ledger<S> {
    block_on(Ledger::open(store, "writer-1".to_owned(), rules())).unwrap()
}

/// Commits `events` in one entry.
pub(crate) fn commit(ledger: &mut Ledger<MemoryStore>, now: u64, events: &[Event]) -> Committed {
    let mut draft = ledger.draft(at(now)).unwrap();
    for event in events {
        draft.apply(event.clone()).unwrap();
    }
    block_on(draft.commit()).unwrap()
}

/// All of an engine's state that can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) blocks: Vec<(BlockId, BlockState)>,
    pub(crate) claims: Vec<ClaimSnapshot>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClaimSnapshot {
    pub(crate) claim: ClaimId,
    pub(crate) arrival: Arrival,
    pub(crate) phase: Phase,
    pub(crate) times: (Time, Option<Time>),
    pub(crate) denial: Option<Denial>,
    pub(crate) consumed: Vec<(BlockId, Budget)>,
    pub(crate) released: Vec<(BlockId, Budget)>,
}

pub(crate) fn snapshot(engine: &Engine) -> Snapshot {
    let owned = |amounts: Vec<(&BlockId, Budget)>| {
        // Of a claim without demands, not even zeros are told.
        let is_any = |(_, budget): &(&BlockId, Budget)| budget.units().iter().any(|amount| *amount != 0);
        let amounts = amounts.into_iter().filter(is_any);
        amounts.map(|(block, budget)| (block.clone(), budget)).collect()
    };
    let blocks = engine.blocks();
    let claims = engine.claims().map(|claim| {
        let mut state = engine.claim(claim).unwrap();
        // What a claim demanded that ended without a grant may be forgotten.
        if matches!(state.phase, Phase::Denied | Phase::Expired | Phase::Withdrawn) {
            state.arrival.demands.clear();
        }
        ClaimSnapshot {
            claim: claim.clone(),
            arrival: state.arrival.clone(),
            phase: state.phase,
            times: (state.arrived, state.decided),
            denial: state.denial.cloned(),
            consumed: owned(state.consumed),
            released: owned(state.released),
        }
    });
    Snapshot {
        blocks: blocks
            .map(|block| (block.clone(), engine.block(block).unwrap()))
            .collect(),
        claims: claims.collect(),
    }
}
