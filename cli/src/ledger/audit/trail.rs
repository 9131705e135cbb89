//! Follows a ledger entry by entry, and keeps of each decision what an auditor asks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use privatekube_api::{DatasetKey, Subject, SubjectKind, moment};
use privatekube_ledger::{Committed, Entry, Replay, Requester};
use privatekube_policy::{BlockId, ClaimId, Composition, Engine, Event, Record, Time};
use privatekube_view::{record_of_claim, shown_coordinate, why_denied};

use super::{
    Filter,
    report::{Charged, Decision, OfLedger, WhoAsked, rules_text},
};
use crate::ledger::claim_of_record;

/// The trail of one ledger.
pub(super) struct Trail {
    filter: Filter,
    /// In which entry each claim arrived, and who asked for it.
    arrived: HashMap<ClaimId, Arrived>,
    /// What claims had consumed and released of blocks after the last entry that changed it.
    used: HashMap<ClaimId, BTreeMap<BlockId, Used>>,
    decisions: Vec<Decision>,
    composition: Option<Arc<Composition>>,
    /// The entry of the checkpoint that it begins with.
    opening: Option<u64>,
}

#[derive(Clone, Debug)]
struct Arrived {
    entry: u64,
    requester: Option<Arc<Requester>>,
}

/// What a claim had used of a block.
#[derive(Clone, Debug, Default)]
struct Used {
    consumed: Vec<i128>,
    released: Vec<i128>,
}

impl Trail {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            arrived: HashMap::new(),
            used: HashMap::new(),
            decisions: Vec::new(),
            composition: None,
            opening: None,
        }
    }

    /// Of an entry up to the checkpoint, the chain of hashes is verified, so that who asked can be told. What it left can't.
    pub(super) fn earlier(&mut self, entry: &Entry) {
        self.note(entry);
    }

    /// The entries before a gap are no part of the ledger.
    pub(super) fn gap(&mut self) {
        self.arrived.clear();
    }

    /// Begins with the state of a checkpoint.
    pub(super) fn begin(&mut self, replay: &Replay) {
        let Some(engine) = replay.engine() else { return };
        self.opening = Some(replay.head().sequence);
        for id in engine.claims().filter(|id| self.filter.has_claim(id)) {
            let used = used(engine, id);
            if !used.is_empty() {
                self.used.insert(id.clone(), used);
            }
        }
    }

    /// Keeps who asked for the claims that arrive in an entry.
    fn note(&mut self, entry: &Entry) {
        let requesters = entry
            .requesters
            .iter()
            .map(|requester| (&requester.claim, requester));
        let requesters: HashMap<&ClaimId, &Requester> = requesters.collect();
        for event in &entry.events {
            match event {
                Event::Arrive(arrival) if self.filter.has_claim(&arrival.claim) => {
                    let requester = requesters.get(&arrival.claim);
                    let arrived = Arrived {
                        entry: entry.sequence,
                        requester: requester.map(|requester| Arc::new((*requester).clone())),
                    };
                    self.arrived.insert(arrival.claim.clone(), arrived);
                }
                Event::Forget { claims, .. } => {
                    for claim in claims {
                        self.arrived.remove(claim);
                        self.used.remove(claim);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry, committed: &Committed, replay: &Replay) {
        let Some(engine) = replay.engine() else { return };
        self.note(entry);
        let composition = Arc::clone(
            self.composition
                .get_or_insert_with(|| Arc::new(engine.rules().composition.clone())),
        );
        for record in committed.records() {
            let Some(id) = claim_of_record(record).filter(|id| self.filter.has_claim(id)) else {
                continue;
            };
            let Some((outcome, at)) = kind(record, entry.time) else {
                continue;
            };
            let amounts = self.amounts(engine, id, record);
            let arrived = self.arrived.get(id).cloned();
            let requester = arrived.as_ref().and_then(|arrived| arrived.requester.clone());
            let is_of_user = self.filter.user.as_deref().is_none_or(|user| {
                let of = requester.as_ref().and_then(|requester| requester.user.as_deref());
                of == Some(user)
            });
            if entry.sequence <= self.filter.after || !is_of_user {
                continue;
            }
            let blocks: Vec<Charged> = amounts
                .into_iter()
                .filter(|(block, _)| self.filter.has_block(block))
                .filter_map(|(block, units)| charged(engine, &composition, &block, units))
                .collect();
            if self.filter.block.is_some() && blocks.is_empty() && !self.is_about_block(engine, id) {
                continue;
            }
            let mut what = record_of_claim(record, id).unwrap_or_default();
            if let Record::Denied { reason, .. } = record {
                what = format!("{what}: {}", why_denied(reason, &composition));
            }
            let subject = Subject::of(id);
            let is_pod = subject
                .as_ref()
                .is_some_and(|subject| subject.kind == SubjectKind::Pod);
            let name = subject.map(|subject| format!("{}/{}", subject.namespace, subject.name));
            self.decisions.push(Decision {
                entry: entry.sequence,
                written: moment(entry.time),
                decided: moment(at),
                claim: id.to_string(),
                pod: name.filter(|_| is_pod),
                outcome,
                what,
                arrived: arrived.map(|arrived| arrived.entry),
                requester: WhoAsked(requester),
                program: entry.program.clone(),
                writer: entry.writer.clone(),
                blocks,
            });
        }
    }

    /// Whether a claim demands something of the block that is asked for.
    fn is_about_block(&self, engine: &Engine, id: &ClaimId) -> bool {
        engine.claim(id).is_some_and(|claim| {
            let blocks = claim.arrival.demands.iter().flat_map(|demand| &demand.blocks);
            blocks.into_iter().any(|block| self.filter.has_block(block))
        })
    }

    /// What a decision moved of each block: allocated by a grant, consumed, or returned.
    fn amounts(&mut self, engine: &Engine, id: &ClaimId, record: &Record) -> Vec<(BlockId, Vec<i128>)> {
        match record {
            Record::Granted { .. } => {
                let Some(claim) = engine.claim(id) else {
                    return Vec::new();
                };
                let demands = claim.arrival.demands.iter().flat_map(|demand| {
                    let units = whole(demand.budget.units());
                    demand
                        .blocks
                        .iter()
                        .map(move |block| (block.clone(), units.clone()))
                });
                demands.collect()
            }
            Record::Consumed { .. } | Record::Released { .. } => {
                let is_release = matches!(record, Record::Released { .. });
                let now = used(engine, id);
                let before = self.used.entry(id.clone()).or_default();
                let mut moved = Vec::new();
                for (block, now) in now {
                    let before = before.entry(block.clone()).or_default();
                    let (now, before) = if is_release {
                        (now.released, &mut before.released)
                    } else {
                        (now.consumed, &mut before.consumed)
                    };
                    before.resize(now.len(), 0);
                    let units: Vec<i128> = now.iter().zip(&*before).map(|(now, was)| now - was).collect();
                    *before = now;
                    if units.iter().any(|units| *units != 0) {
                        moved.push((block, units));
                    }
                }
                moved
            }
            _ => Vec::new(),
        }
    }

    /// What the ledger says; `None` of an empty one.
    pub(super) fn end(self, dataset: &DatasetKey, replay: &Replay) -> Option<OfLedger> {
        let engine = replay.engine()?;
        let head = replay.head();
        Some(OfLedger {
            dataset: dataset.to_string(),
            rules: engine.rules().clone(),
            rules_text: rules_text(engine.rules()),
            opening: self.opening,
            after: self.filter.after,
            entries: head.sequence,
            hash: head.hash.to_string(),
            as_of: moment(head.time),
            decisions: self.decisions,
        })
    }
}

/// A decision in a word, and when it was made; `None` for a record that decides nothing about a claim.
fn kind(record: &Record, written: Time) -> Option<(&'static str, Time)> {
    Some(match record {
        Record::Granted { at, .. } => ("granted", *at),
        Record::Denied { at, .. } => ("denied", *at),
        Record::Expired { at, .. } => ("expired", *at),
        Record::Withdrawn { .. } => ("withdrawn", written),
        Record::Consumed { .. } => ("consumed", written),
        Record::Released { .. } => ("released", written),
        Record::Waits { .. }
        | Record::BlockAdded { .. }
        | Record::BlockRetired { .. }
        | Record::WrittenOff { .. }
        | Record::Unlocked { .. } => return None,
    })
}

fn whole(units: &[i64]) -> Vec<i128> {
    units.iter().map(|units| (*units).into()).collect()
}

/// What a claim has consumed and released of each block.
fn used(engine: &Engine, id: &ClaimId) -> BTreeMap<BlockId, Used> {
    let mut used: BTreeMap<BlockId, Used> = BTreeMap::new();
    let Some(claim) = engine.claim(id) else {
        return used;
    };
    for (block, budget) in &claim.consumed {
        used.entry((*block).clone()).or_default().consumed = whole(budget.units());
    }
    for (block, budget) in &claim.released {
        used.entry((*block).clone()).or_default().released = whole(budget.units());
    }
    used
}

/// An amount of a block, and what is neither allocated nor consumed of it after the entry.
fn charged(
    engine: &Engine,
    composition: &Arc<Composition>,
    block: &BlockId,
    units: Vec<i128>,
) -> Option<Charged> {
    let state = engine.block(block)?;
    let left = state.locked.iter().zip(&state.available);
    Some(Charged {
        shown: shown_coordinate(&state, composition),
        left: left.map(|(locked, available)| locked + available).collect(),
        composition: Arc::clone(composition),
        block: block.to_string(),
        units,
    })
}
