//! Who hears everything that is told and finds what can't be true.

use std::collections::{BTreeMap, BTreeSet};

use privatekube_ledger::{Committed, Entry, Hash, Replay};
use privatekube_policy::{BlockId, Budget, ClaimId, Composition, Demand, Engine, Record};

use serde_json::Value;

use crate::build::{ClaimSnapshot, Snapshot, snapshot};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// What the store holds is not a ledger.
    NotALedger(String),
    /// More was told to be granted than a block has.
    Overspent(BlockId),
    /// What was told is not in the ledger.
    NotInLedger(u64),
    /// The same was told twice, differently.
    ToldDifferently(String),
    /// Somebody committed after being fenced.
    CommittedAfterFence(u64),
    /// A writer's engine is not what the ledger gives.
    EngineDiffers(u64),
    /// A ledger that lost a round still tells or takes something.
    NotPoisoned(u64),
}

#[derive(Default)]
pub(crate) struct Judge {
    /// Hash and records by sequence number.
    told: BTreeMap<u64, (Hash, Vec<Record>)>,
    decided: BTreeMap<ClaimId, (u64, Record)>,
    /// By claim and entry: what was granted.
    grants: BTreeMap<(ClaimId, u64), Vec<Demand>>,
    fenced: BTreeSet<u64>,
    followed: Followed,
    pub(crate) violations: BTreeSet<Violation>,
}

/// The store's entries as far as they were followed.
#[derive(Default)]
struct Followed {
    replay: Replay,
    states: BTreeMap<u64, (Hash, Snapshot)>,
}

impl Judge {
    fn object(&mut self, violation: Violation) {
        self.violations.insert(violation);
    }

    /// The writer of this life has committed, its engine is now `engine`, and the store holds `entries`.
    pub(crate) fn hear(
        &mut self,
        life: u64,
        committed: &Committed,
        engine: &Engine,
        entries: &BTreeMap<u64, Entry>,
    ) {
        let sequence = committed.sequence;
        if self.fenced.contains(&life) {
            self.object(Violation::CommittedAfterFence(life));
        }
        let told = (committed.hash, committed.records().to_vec());
        if *self.told.entry(sequence).or_insert_with(|| told.clone()) != told {
            self.object(Violation::ToldDifferently(format!("entry {sequence}")));
        }
        for record in committed.records() {
            let (Record::Granted { claim, .. }
            | Record::Denied { claim, .. }
            | Record::Expired { claim, .. }
            | Record::Withdrawn { claim }) = record
            else {
                continue;
            };
            let decision = (sequence, record.clone());
            if *self
                .decided
                .entry(claim.clone())
                .or_insert_with(|| decision.clone())
                != decision
            {
                self.object(Violation::ToldDifferently(claim.to_string()));
            }
            if matches!(record, Record::Granted { .. }) {
                let demands = engine.claim(claim).unwrap().arrival.demands.clone();
                self.grants.insert((claim.clone(), sequence), demands);
            }
        }
        self.follow(entries, sequence);
        match self.followed.states.get(&sequence) {
            Some((hash, state)) if *hash == committed.hash => {
                if *state != snapshot(engine) {
                    self.object(Violation::EngineDiffers(sequence));
                }
            }
            _ => self.object(Violation::NotInLedger(sequence)),
        }
    }

    pub(crate) fn fence(&mut self, life: u64) {
        self.fenced.insert(life);
    }

    pub(crate) fn not_poisoned(&mut self, life: u64) {
        self.object(Violation::NotPoisoned(life));
    }

    pub(crate) fn not_a_ledger(&mut self, why: String) {
        self.object(Violation::NotALedger(why));
    }

    fn follow(&mut self, entries: &BTreeMap<u64, Entry>, until: u64) {
        while self.followed.replay.head().sequence < until {
            let next = self.followed.replay.head().sequence + 1;
            let Some(entry) = entries.get(&next) else {
                return;
            };
            if let Err(error) = self.followed.replay.push(entry) {
                self.object(Violation::NotALedger(error.to_string()));
                return;
            }
            let state = snapshot(self.followed.replay.engine().unwrap());
            self.followed.states.insert(next, (entry.hash().unwrap(), state));
        }
    }

    /// At the end: every entry can be kept, everything that was told is in `entries`, and of no block more was granted than it has.
    pub(crate) fn close(&mut self, entries: &BTreeMap<u64, Entry>) {
        let mut replay = Replay::new();
        for entry in entries.values() {
            if let Err(why) = survives(entry) {
                self.object(Violation::NotALedger(why));
            }
            if let Err(error) = replay.push(entry) {
                self.object(Violation::NotALedger(error.to_string()));
                break;
            }
        }
        for (sequence, (hash, _)) in self.told.clone() {
            if entries.get(&sequence).map(Entry::hash) != Some(Ok(hash)) {
                self.object(Violation::NotInLedger(sequence));
            }
        }
        if let Some(engine) = replay.engine() {
            self.weigh(&snapshot(engine), &engine.rules().composition);
        }
    }

    /// Adds up what was told to be granted, less what the ledger says has returned of that very grant.
    fn weigh(&mut self, end: &Snapshot, composition: &Composition) {
        let mut held: BTreeMap<&BlockId, Vec<i64>> = BTreeMap::new();
        for ((claim, sequence), demands) in &self.grants {
            let state = end.claims.iter().find(|state| state.claim == *claim);
            let is_in_ledger = self
                .decided
                .get(claim)
                .is_some_and(|(decided, _)| decided == sequence);
            let returned = state.filter(|state| is_in_ledger && state.arrival.demands == *demands);
            for demand in demands {
                for block in &demand.blocks {
                    let returned = returned.and_then(|state| returned_on(state, block));
                    let sum = held.entry(block).or_default();
                    sum.resize(demand.budget.units().len(), 0);
                    for (at, sum) in sum.iter_mut().enumerate() {
                        *sum += demand.budget.units()[at] - returned.map_or(0, |budget| budget.units()[at]);
                    }
                }
            }
        }
        let mut violations = Vec::new();
        for (block, held) in held {
            let books = end.blocks.iter().find(|(name, _)| name == block);
            let fits = books.is_some_and(|(_, books)| {
                let mut fits = held
                    .iter()
                    .zip(books.capacity.units())
                    .map(|(held, capacity)| held <= capacity);
                match composition {
                    Composition::Basic => fits.all(|fits| fits),
                    Composition::Renyi(_) => fits.any(|fits| fits),
                }
            });
            if !fits {
                violations.push(Violation::Overspent(block.clone()));
            }
        }
        self.violations.extend(violations);
    }
}

/// Whether `entry` comes back the same from a store that sorts keys and keeps numbers as `i64`.
fn survives(entry: &Entry) -> Result<(), String> {
    fn fits(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_i64(),
            Value::Array(values) => values.iter().all(fits),
            Value::Object(fields) => fields.values().all(fits),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }
    let stored = serde_json::to_value(entry).map_err(|error| error.to_string())?;
    if !fits(&stored) {
        return Err(format!("a number that is no i64: {stored}"));
    }
    let read: Entry = serde_json::from_value(stored).map_err(|error| error.to_string())?;
    if read == *entry && read.hash() == entry.hash() {
        Ok(())
    } else {
        Err(format!("{entry:?} comes back as {read:?}"))
    }
}

fn returned_on<'a>(state: &'a ClaimSnapshot, block: &BlockId) -> Option<&'a Budget> {
    state
        .released
        .iter()
        .find(|(name, _)| name == block)
        .map(|(_, budget)| budget)
}
