//! Checks all that writers commit against the store's entries, and collects the violations.

use std::collections::{BTreeMap, BTreeSet};

use privatekube_ledger::{ClockLimit, Entry, Hash, Replay};
use privatekube_policy::{BlockId, Budget, ClaimId, Composition, Demand, Engine, Event, Record};

use serde_json::Value;

use super::writer::Published;
use crate::build::{ClaimSnapshot, Snapshot, snapshot};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// What the store holds is not a ledger.
    NotALedger(String),
    /// More was granted on a block than its capacity.
    Overspent(BlockId),
    /// A committed entry is not in the ledger.
    NotInLedger(u64),
    /// One entry, or the decision of one claim, was published twice with different contents.
    PublishedDifferently(String),
    /// A writer committed after it was fenced.
    CommittedAfterFence(u64),
    /// A writer's engine differs from that of a replay.
    EngineDiffers(u64),
    /// A ledger whose draft was lost can still be read or written.
    NotPoisoned(u64),
    /// Consumed budget of a claim or a block returned, and no event said that the claim never ran.
    ConsumedReturned(String),
    /// A claim was granted by two entries of the ledger.
    GrantedTwice(ClaimId),
    /// An entry is dated further ahead of the other clock than its writer's limit allows.
    DatedAhead(u64),
    /// After all faults have ended and all is repaired, no writer can commit.
    Stuck(String),
}

/// A claim, and how often one of its name was forgotten before.
type Life = (ClaimId, usize);

#[derive(Default)]
pub(crate) struct Checker {
    /// What writers published: hash and records by sequence number.
    published: BTreeMap<u64, (Hash, Vec<Record>)>,
    decided: BTreeMap<Life, (u64, Record)>,
    /// The demands of each grant, by claim and entry.
    grants: BTreeMap<(ClaimId, u64), Vec<Demand>>,
    /// The capacity of each block that ever was.
    capacities: BTreeMap<BlockId, Budget>,
    fenced: BTreeSet<u64>,
    replayed: Replayed,
    pub(crate) violations: BTreeSet<Violation>,
}

/// The store's entries as far as they were replayed.
#[derive(Default)]
struct Replayed {
    replay: Replay,
    states: BTreeMap<u64, (Hash, Snapshot)>,
    granted: BTreeSet<Life>,
    /// The entries that forgot each claim, and what was known of it before.
    forgotten: BTreeMap<ClaimId, BTreeMap<u64, ClaimSnapshot>>,
}

impl Replayed {
    /// The life of a claim in an entry, which forgets it last if it does.
    fn life(&self, claim: &ClaimId, sequence: u64) -> Life {
        let forgotten = self.forgotten.get(claim);
        let before = forgotten.map_or(0, |entries| entries.range(..sequence).count());
        (claim.clone(), before)
    }
}

impl Checker {
    pub(crate) fn report(&mut self, violation: Violation) {
        self.violations.insert(violation);
    }

    /// Checks a commit of the writer of this life, whose engine is now `engine`, and whose clock had this limit; `entries` were
    /// created.
    pub(crate) fn check_commit(
        &mut self,
        life: u64,
        committed: &Published,
        engine: &Engine,
        limit: &ClockLimit,
        entries: &BTreeMap<u64, Entry>,
    ) {
        let sequence = committed.sequence;
        if self.fenced.contains(&life) {
            self.report(Violation::CommittedAfterFence(life));
        }
        let latest = limit.reference.micros() + limit.most_ahead.micros();
        if committed.time.micros() > latest {
            self.report(Violation::DatedAhead(sequence));
        }
        let published = (committed.hash, committed.records.clone());
        if *self
            .published
            .entry(sequence)
            .or_insert_with(|| published.clone())
            != published
        {
            self.report(Violation::PublishedDifferently(format!("entry {sequence}")));
        }
        self.follow(entries, sequence);
        for record in &committed.records {
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
                .entry(self.replayed.life(claim, sequence))
                .or_insert_with(|| decision.clone())
                != decision
            {
                self.report(Violation::PublishedDifferently(claim.to_string()));
            }
            if matches!(record, Record::Granted { .. }) {
                let demands = engine.claim(claim).unwrap().arrival.demands.clone();
                self.grants.insert((claim.clone(), sequence), demands);
            }
        }
        match self.replayed.states.get(&sequence) {
            Some((hash, state)) if *hash == committed.hash => {
                if *state != snapshot(engine) {
                    self.report(Violation::EngineDiffers(sequence));
                }
            }
            _ => self.report(Violation::NotInLedger(sequence)),
        }
    }

    pub(crate) fn fence(&mut self, life: u64) {
        self.fenced.insert(life);
    }

    pub(crate) fn not_poisoned(&mut self, life: u64) {
        self.report(Violation::NotPoisoned(life));
    }

    /// Forgets the entries after this one, which are accepted as lost. What they granted still counts.
    pub(crate) fn lose(&mut self, after: u64) {
        self.published.retain(|sequence, _| *sequence <= after);
        self.decided.retain(|_, (sequence, _)| *sequence <= after);
        self.replayed = Replayed::default();
    }

    fn follow(&mut self, entries: &BTreeMap<u64, Entry>, until: u64) {
        while self.replayed.replay.head().sequence < until {
            let next = self.replayed.replay.head().sequence + 1;
            let Some(entry) = entries.get(&next) else {
                return;
            };
            let committed = match self.replayed.replay.push(entry) {
                Ok(committed) => committed,
                Err(error) => return self.report(Violation::NotALedger(error.to_string())),
            };
            let mut violations = Vec::new();
            for record in committed.records() {
                if let Record::Granted { claim, .. } = record
                    && !self.replayed.granted.insert(self.replayed.life(claim, next))
                {
                    violations.push(Violation::GrantedTwice(claim.clone()));
                }
            }
            let state = snapshot(self.replayed.replay.engine().unwrap());
            for (block, state) in &state.blocks {
                if !self.capacities.contains_key(block) {
                    self.capacities.insert(block.clone(), state.capacity.clone());
                }
            }
            if let Some((_, before)) = self.replayed.states.get(&(next - 1)) {
                for claim in forgotten(entry) {
                    let known = before.claims.iter().find(|state| state.claim == *claim);
                    if let Some(known) = known
                        && !state.claims.iter().any(|state| state.claim == *claim)
                    {
                        let forgotten = self.replayed.forgotten.entry(claim.clone()).or_default();
                        forgotten.insert(next, known.clone());
                    }
                }
                violations.extend(returned(before, &state, entry));
            }
            self.violations.extend(violations);
            self.replayed.states.insert(next, (entry.hash().unwrap(), state));
        }
    }

    /// Checks the end of a run: a store can keep every entry, all that was published is in `entries`, and no
    /// block has more granted than its capacity.
    pub(crate) fn check_end(&mut self, entries: &BTreeMap<u64, Entry>) {
        // What was forgotten by entries whose writers never learned that they were created.
        self.follow(entries, entries.keys().next_back().copied().unwrap_or(0));
        let mut replay = Replay::new();
        for entry in entries.values() {
            if let Err(why) = survives(entry) {
                self.report(Violation::NotALedger(why));
            }
            if let Err(error) = replay.push(entry) {
                self.report(Violation::NotALedger(error.to_string()));
                break;
            }
        }
        for (sequence, (hash, _)) in self.published.clone() {
            if entries.get(&sequence).map(Entry::hash) != Some(Ok(hash)) {
                self.report(Violation::NotInLedger(sequence));
            }
        }
        if let Some(engine) = replay.engine() {
            self.check_grants(&snapshot(engine), &engine.rules().composition);
        }
    }

    /// Checks the sum of all published grants on each block, less what the ledger says was released of that
    /// very grant.
    fn check_grants(&mut self, end: &Snapshot, composition: &Composition) {
        let mut held: BTreeMap<&BlockId, Vec<i64>> = BTreeMap::new();
        for ((claim, sequence), demands) in &self.grants {
            let forgotten = self.replayed.forgotten.get(claim);
            let forgotten = forgotten.and_then(|entries| entries.range(*sequence..).next());
            let state = match forgotten {
                Some((_, state)) => Some(state),
                None => end.claims.iter().find(|state| state.claim == *claim),
            };
            let is_in_ledger = self
                .decided
                .get(&self.replayed.life(claim, *sequence))
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
            let fits = self.capacities.get(block).is_some_and(|capacity| {
                let mut fits = held
                    .iter()
                    .zip(capacity.units())
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

/// Checks that `entry` comes back the same from a store that sorts keys and keeps numbers as `i64`.
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

/// The claims that an entry forgets, if they are there and ended.
fn forgotten(entry: &Entry) -> impl Iterator<Item = &ClaimId> {
    entry.events.iter().flat_map(|event| match event {
        Event::Forget { claims, .. } => claims.as_slice(),
        _ => &[],
    })
}

/// The claims and blocks of which less is consumed after `entry` than before, though it doesn't say that a claim never ran.
fn returned(before: &Snapshot, after: &Snapshot, entry: &Entry) -> Vec<Violation> {
    let never_ran = |claim: Option<&ClaimId>| {
        entry.events.iter().any(|event| match event {
            Event::NeverRan { claim: other } => claim.is_none_or(|claim| claim == other),
            _ => false,
        })
    };
    let mut violations = Vec::new();
    for claim in before
        .claims
        .iter()
        .filter(|claim| !never_ran(Some(&claim.claim)))
        .filter(|claim| !forgotten(entry).any(|forgotten| *forgotten == claim.claim))
    {
        let now = after.claims.iter().find(|now| now.claim == claim.claim);
        let is_less = claim.consumed.iter().any(|(block, consumed)| {
            let now = now.and_then(|now| now.consumed.iter().find(|(name, _)| name == block));
            now.is_none_or(|(_, now)| {
                now.units()
                    .iter()
                    .zip(consumed.units())
                    .any(|(now, was)| now < was)
            })
        });
        if is_less {
            violations.push(Violation::ConsumedReturned(claim.claim.to_string()));
        }
    }
    if !never_ran(None) {
        for (name, block) in &before.blocks {
            let now = after.blocks.iter().find(|(now, _)| now == name);
            if now.is_none_or(|(_, now)| {
                now.consumed
                    .iter()
                    .zip(&block.consumed)
                    .any(|(now, was)| now < was)
            }) {
                violations.push(Violation::ConsumedReturned(name.to_string()));
            }
        }
    }
    violations
}

fn returned_on<'a>(state: &'a ClaimSnapshot, block: &BlockId) -> Option<&'a Budget> {
    state
        .released
        .iter()
        .find(|(name, _)| name == block)
        .map(|(_, budget)| budget)
}
