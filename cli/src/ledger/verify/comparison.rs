//! Compares what statuses say with what a ledger says.

use std::collections::{BTreeMap, HashMap, HashSet};

use privatekube_api::{Amounts, ClaimPhase, DatasetKey, PrivateDataBlockStatus, Subject, moment};
use privatekube_backup::Reading;
use privatekube_ledger::{Committed, Entry, Hash, Replay};
use privatekube_policy::{BlockId, BlockState, ClaimId, Composition, DatasetRules, Engine, Unlocking};

use super::{Statuses, Verified};
use crate::{
    amounts::exact,
    ledger::{checkpoints::Checkpoints, claim_of_record, witness::Witness},
    statuses::units,
};

/// Compares statuses with a ledger while it is replayed.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) verified: Verified,
    statuses: Statuses,
    pub(super) checkpoints: Checkpoints,
    /// The blocks whose statuses are of each entry, by their places in `statuses`.
    due: BTreeMap<u64, Vec<usize>>,
    /// The phases that claims with objects had.
    phases: HashMap<ClaimId, HashSet<ClaimPhase>>,
    /// Entries that the ledger had, and that were not compared yet.
    pub(super) witnesses: Vec<Witness>,
}

impl Comparison {
    pub(super) fn new(dataset: &DatasetKey, mut statuses: Statuses) -> Self {
        let mut due: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, block) in statuses.blocks.iter().enumerate() {
            let status = block.status.as_ref();
            if let Some(sequence) = status.and_then(|status| status.ledger_sequence) {
                due.entry(sequence).or_default().push(at);
            }
        }
        let ids = statuses.claims.iter().filter_map(Subject::of_object);
        Self {
            verified: Verified {
                dataset: dataset.to_string(),
                notes: std::mem::take(&mut statuses.notes),
                ..Verified::default()
            },
            checkpoints: Checkpoints::default(),
            due,
            phases: ids.map(|subject| (subject.id(), HashSet::new())).collect(),
            statuses,
            witnesses: Vec::new(),
        }
    }

    /// Compares an entry with what was kept of it elsewhere.
    fn witness(&mut self, sequence: u64, found: Hash) {
        let problems = &mut self.verified.problems;
        self.witnesses.retain(|witness| {
            if witness.sequence != sequence {
                return true;
            }
            if witness.hash != found {
                problems.push(format!(
                    "entry {sequence} has the hash {found}, and its witness says {}: entries were lost, and others written",
                    witness.hash
                ));
            }
            false
        });
    }

    /// Compares what was kept elsewhere with a ledger that ends at the entry `last`.
    fn end_witnesses(&mut self, last: u64) {
        for witness in std::mem::take(&mut self.witnesses) {
            let sequence = witness.sequence;
            if sequence > last {
                self.verified.problems.push(format!(
                    "its witness has entry {sequence}, and the ledger ends with entry {last}: entries were lost"
                ));
            } else {
                self.verified.notes.push(format!(
                    "entry {sequence} of its witness was removed, and was not compared"
                ));
            }
        }
    }

    pub(super) fn read(&mut self, reading: &Reading<'_>) {
        match reading {
            // An entry whose hash can't be computed is told of by whoever reads it.
            Reading::Earlier(entry) => entry.hash().map_or((), |hash| self.witness(entry.sequence, hash)),
            Reading::Entry(_, _, replay) => self.witness(replay.head().sequence, replay.head().hash),
            _ => {}
        }
        match reading {
            Reading::Base(replay) => {
                // What claims were decided before is gone: each has at least the phase that the checkpoint says.
                if let Some(engine) = replay.engine() {
                    for (id, phases) in &mut self.phases {
                        phases.extend(engine.phase(id).map(ClaimPhase::from));
                    }
                }
                let at = replay.head().sequence;
                let due = self.due.split_off(&(at + 1));
                let early: usize = std::mem::replace(&mut self.due, due).values().map(Vec::len).sum();
                if early > 0 {
                    self.verified.notes.push(format!(
                        "{} of entries before the checkpoint were not compared",
                        privatekube_api::counted(early as u64, "status of a block", "statuses of blocks")
                    ));
                }
            }
            Reading::Entry(entry, committed, replay) => {
                let problems = self.checkpoints.entry(replay);
                self.verified.problems.extend(problems);
                self.entry(entry, committed, replay);
            }
            Reading::Damaged(checkpoint, error) => self.verified.problems.push(format!(
                "the checkpoint at entry {} can't be used: {error}; all entries are there, and the extender publishes another one",
                checkpoint.head.sequence
            )),
            _ => {}
        }
        self.checkpoints.read(reading);
    }

    /// Compares what is of this entry.
    pub(super) fn entry(&mut self, entry: &Entry, committed: &Committed, replay: &Replay) {
        let Some(engine) = replay.engine() else { return };
        self.verified.entries = entry.sequence;
        self.verified.hash = replay.head().hash.to_string();
        self.verified.last = Some(moment(entry.time));
        self.verified.decisions += committed.records().len();
        for record in committed.records() {
            if let Some(id) = claim_of_record(record)
                && let Some(phases) = self.phases.get_mut(id)
            {
                phases.extend(phase_of(record, engine, id));
            }
        }
        for at in self.due.remove(&entry.sequence).unwrap_or_default() {
            let block = &self.statuses.blocks[at];
            let name = block.metadata.name.clone().unwrap_or_default();
            let Some(status) = &block.status else { continue };
            self.verified.statuses += 1;
            let Some(state) = engine.block(&BlockId::from(name.as_str())) else {
                // A block that never came to the ledger, as one that was deleted first, has a status without a budget.
                if !has_budget(status) {
                    continue;
                }
                self.verified.problems.push(format!(
                    "block {name}: its status has a budget at entry {}, and the ledger has no such block there",
                    entry.sequence
                ));
                continue;
            };
            for fault in compare(status, &state, engine.rules()) {
                self.verified.problems.push(format!(
                    "block {name}, status of entry {}: {fault}",
                    entry.sequence
                ));
            }
        }
    }

    /// Compares what is left after the last entry.
    pub(super) fn end(mut self, replay: &Replay) -> Verified {
        let last = replay.head().sequence;
        self.end_witnesses(last);
        if self.verified.hash.is_empty() && last > 0 {
            self.verified.entries = last;
            self.verified.hash = replay.head().hash.to_string();
            self.verified.last = Some(moment(replay.head().time));
        }
        self.verified.checkpoints = self.checkpoints.says();
        let mut ahead = |what: String, sequence: u64| {
            self.verified.problems.push(format!(
                "{what}: its status is of entry {sequence}, and the ledger ends with entry {last}: entries were lost, or the \
                 status was changed"
            ));
        };
        for (sequence, places) in &self.due {
            for at in places {
                let name = self.statuses.blocks[*at].metadata.name.clone();
                ahead(format!("block {}", name.unwrap_or_default()), *sequence);
            }
        }
        let dataset = self.statuses.dataset.as_ref();
        let status = dataset.and_then(|dataset| dataset.status.as_ref());
        if let Some(sequence) = status.and_then(|status| status.ledger_sequence) {
            self.verified.statuses += 1;
            if sequence > last {
                ahead("the dataset".to_owned(), sequence);
            }
        }
        let Some(engine) = replay.engine() else {
            return self.verified;
        };
        self.verified.blocks = engine.blocks().count();
        self.verified.claims = engine.claims().len();
        for claim in &self.statuses.claims {
            let (Some(subject), Some(status)) = (Subject::of_object(claim), &claim.status) else {
                continue;
            };
            let Some(said) = status.phase else { continue };
            self.verified.statuses += 1;
            let what = format!("claim {}/{}", subject.namespace, subject.claim_name());
            if let Some(sequence) = status.sequence.filter(|sequence| *sequence > last) {
                self.verified.problems.push(format!(
                    "{what}: its status is of entry {sequence}, and the ledger ends with entry {last}: entries were lost, or the \
                     status was changed"
                ));
                continue;
            }
            let had = self.phases.get(&subject.id());
            let is_known = had.is_some_and(|had| !had.is_empty());
            let now = engine.phase(&subject.id()).map(ClaimPhase::from);
            if !is_known {
                // Outside of the ledger a claim can wait or be denied, and nothing else.
                if !matches!(said, ClaimPhase::Waiting | ClaimPhase::Denied) {
                    self.verified.problems.push(format!(
                        "{what}: its status says {said}, and the ledger doesn't have the claim",
                        said = said.as_str()
                    ));
                }
                continue;
            }
            if now == Some(said) {
                continue;
            }
            if had.is_some_and(|had| had.contains(&said)) {
                if now.is_some() {
                    self.verified.behind.push(what);
                }
                continue;
            }
            let is = now.map_or("not there any more", ClaimPhase::as_str);
            self.verified.problems.push(format!(
                "{what}: its status says {}, which the ledger never decided: it is {is}",
                said.as_str()
            ));
        }
        self.verified
    }
}

/// The phase that a claim has after a record.
fn phase_of(
    record: &privatekube_policy::Record,
    engine: &Engine,
    id: &ClaimId,
) -> impl Iterator<Item = ClaimPhase> {
    use privatekube_policy::Record;
    let by_record = match record {
        Record::Waits { .. } => Some(ClaimPhase::Waiting),
        Record::Granted { .. } => Some(ClaimPhase::Granted),
        Record::Denied { .. } => Some(ClaimPhase::Denied),
        Record::Expired { .. } => Some(ClaimPhase::Expired),
        Record::Withdrawn { .. } => Some(ClaimPhase::Withdrawn),
        _ => None,
    };
    // Of what is consumed and released, the claim's phase after the whole entry says whether it was all.
    by_record
        .into_iter()
        .chain(engine.phase(id).map(ClaimPhase::from))
}

/// Whether a block's status says any amount of budget.
const fn has_budget(status: &PrivateDataBlockStatus) -> bool {
    status.total.is_some()
        || status.locked.is_some()
        || status.available.is_some()
        || status.allocated.is_some()
        || status.consumed.is_some()
}

/// What a block's status says that isn't so.
fn compare(status: &PrivateDataBlockStatus, state: &BlockState, rules: &DatasetRules) -> Vec<String> {
    let composition = &rules.composition;
    let capacity: Vec<i128> = state
        .capacity
        .units()
        .iter()
        .map(|units| (*units).into())
        .collect();
    // The clock unlocks between entries.
    let by_clock = matches!(rules.unlocking, Unlocking::Lifetime { .. });
    let mut faults = Vec::new();
    let mut check = |what: &str, said: &Option<Amounts>, is: &[i128]| {
        let Some(said) = said else {
            faults.push(format!("it has no {what}"));
            return;
        };
        for (at, is) in is.iter().enumerate() {
            if let Some(said) = units(said, composition, at)
                && said != *is
            {
                faults.push(fault(what, composition, at, said, *is));
            }
        }
        // What tables and lists show is said twice.
        let shown = shown_at(status, composition);
        let is = shown.and_then(|at| Some((at, *is.get(at)?)));
        if let Some((at, is)) = is
            && exact(composition, at, is).is_some_and(|is| is != said.epsilon)
        {
            faults.push(format!(
                "{what} is shown as {}, and the ledger says {}",
                said.epsilon,
                composition.display_units(at, is)
            ));
        }
    };
    check("total", &status.total, &capacity);
    check("allocated", &status.allocated, &state.allocated);
    check("consumed", &status.consumed, &state.consumed);
    if !by_clock {
        check("locked", &status.locked, &state.locked);
        check("available", &status.available, &state.available);
        return faults;
    }
    if let (Some(locked), Some(available)) = (&status.locked, &status.available) {
        for at in 0..composition.coordinates() {
            let of = |amounts| units(amounts, composition, at);
            let is = state.locked.get(at).zip(state.available.get(at));
            if let (Some(locked), Some(available), Some((is_locked, is_available))) =
                (of(locked), of(available), is)
                && locked + available != is_locked + is_available
            {
                let (said, is) = (locked + available, is_locked + is_available);
                faults.push(fault("locked and available together", composition, at, said, is));
            }
        }
    }
    faults
}

/// The coordinate of every epsilon outside of curves.
fn shown_at(status: &PrivateDataBlockStatus, composition: &Composition) -> Option<usize> {
    match composition {
        Composition::Basic => Some(0),
        Composition::Renyi(orders) => {
            let order = status.order.as_ref()?;
            orders.iter().position(|other| other.to_string() == *order)
        }
    }
}

fn fault(what: &str, composition: &Composition, at: usize, said: i128, is: i128) -> String {
    format!(
        "{what} is {} of {}, and the ledger says {}",
        composition.display_units(at, said),
        composition.coordinate_name(at),
        composition.display_units(at, is)
    )
}
