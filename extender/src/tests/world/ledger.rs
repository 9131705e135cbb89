//! A ledger as its entries say, added up without an engine.

use std::collections::{BTreeMap, BTreeSet};

use privatekube_ledger::{Entry, Hash};
use privatekube_policy::{Demand, Event, Record, Time};
use serde_json::Value;

use super::truth::{number, text};

/// A claim, from what entries say of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    demands: Vec<Demand>,
    pub(super) phase: &'static str,
    /// Whether it has its demands.
    pub(super) holds: bool,
    pub(super) consumed: bool,
    pub(super) granted: bool,
}

/// What is true after an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) sequence: u64,
    time: u64,
    capacity: BTreeMap<String, Vec<i64>>,
    pub(super) claims: BTreeMap<String, Claim>,
}

/// A ledger, from its entries.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The hash of the entry that was committed last.
    last: String,
    /// What is true after each entry, by its hash: of all that were ever committed, since a writer that knows an entry may go on
    /// from it after somebody has deleted it.
    after: BTreeMap<String, State>,
    /// What the published checkpoint stands at.
    pub(super) floor: u64,
    /// Whether somebody has deleted or edited entries: what was acknowledged may be lost.
    pub(super) tampered: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        let origin = Hash::ORIGIN.to_string();
        Self {
            last: origin.clone(),
            after: BTreeMap::from([(origin, State::default())]),
            floor: 0,
            tampered: false,
        }
    }
}

impl Ledger {
    /// What is true now.
    pub(super) fn now(&self) -> &State {
        &self.after[&self.last]
    }

    /// Adds the next entry. An error says what is wrong with it. The claims in `ran` are those of pods that were put on a node.
    pub(super) fn add(&mut self, object: &Value, ran: &BTreeSet<String>) -> Result<(), String> {
        let spec = &object["spec"];
        let sequence = number(&spec["sequence"]);
        let last = self.now().sequence;
        if sequence != last + 1 && !self.tampered {
            return Err(format!("it follows entry {last}"));
        }
        let previous = text(&spec["previous"]);
        let before = self.after.get(previous);
        let Some(before) = before.filter(|_| previous == self.last || self.tampered) else {
            return Err(format!(
                "it names another entry before it: {previous} and not {}",
                self.last
            ));
        };
        if before.sequence + 1 != sequence {
            return Err(format!("it names entry {} as the one before it", before.sequence));
        }
        let entry = read(spec)?;
        let mut state = before.clone();
        let micros = entry.time.micros();
        if micros < state.time {
            return Err("its time goes back".to_owned());
        }
        let hash = entry.hash().map_err(|error| error.to_string())?.to_string();
        if text(&spec["hash"]) != hash {
            return Err("its hash is wrong".to_owned());
        }
        (state.sequence, state.time) = (sequence, micros);
        let applied = state.apply(&entry, ran);
        self.after.insert(hash.clone(), state);
        self.last = hash;
        applied
    }
}

impl State {
    fn apply(&mut self, entry: &Entry, ran: &BTreeSet<String>) -> Result<(), String> {
        for event in &entry.events {
            match event {
                Event::AddBlock { block, capacity } => {
                    self.capacity
                        .entry(block.to_string())
                        .or_insert_with(|| capacity.units().to_vec());
                }
                Event::Arrive(arrival) => self.demand(arrival.claim.to_string(), &arrival.demands),
                Event::Match { claim, demands } => self.demand(claim.to_string(), demands),
                _ => {}
            }
        }
        for record in &entry.records {
            self.record(record, ran)?;
        }
        for (block, capacity) in &self.capacity {
            let held = self.held(block, |_| true);
            if held.iter().zip(capacity).any(|(held, capacity)| held > capacity) {
                return Err(format!("block {block} is over budget: {held:?} of {capacity:?}"));
            }
        }
        Ok(())
    }

    fn demand(&mut self, claim: String, demands: &[Demand]) {
        let claim = self.claims.entry(claim).or_default();
        if !claim.holds {
            claim.demands = demands.to_vec();
        }
    }

    fn record(&mut self, record: &Record, ran: &BTreeSet<String>) -> Result<(), String> {
        let (id, phase) = match record {
            Record::Waits { claim } => (claim, "Waiting"),
            Record::Granted { claim, .. } => (claim, "Granted"),
            Record::Denied { claim, .. } => (claim, "Denied"),
            Record::Expired { claim, .. } => (claim, "Expired"),
            Record::Withdrawn { claim } => (claim, "Withdrawn"),
            Record::Consumed { claim, .. } => (claim, "Consumed"),
            Record::Released { claim, .. } => (claim, "Released"),
            _ => return Ok(()),
        };
        let claim = self.claims.entry(id.to_string()).or_default();
        claim.phase = phase;
        match phase {
            "Granted" => {
                if std::mem::replace(&mut claim.granted, true) {
                    return Err(format!("{id} is granted twice"));
                }
                claim.holds = true;
            }
            "Consumed" => claim.consumed = true,
            "Released" => {
                if ran.contains(&id.to_string()) {
                    return Err(format!(
                        "the budget of {id} returns, and its pod was put on a node"
                    ));
                }
                (claim.holds, claim.consumed) = (false, false);
            }
            _ => {}
        }
        Ok(())
    }

    /// What claims hold of a block, at each coordinate.
    pub(super) fn held(&self, block: &str, of: impl Fn(&Claim) -> bool) -> Vec<i64> {
        let mut sum = Vec::new();
        for claim in self.claims.values().filter(|claim| claim.holds && of(claim)) {
            for demand in &claim.demands {
                if demand.blocks.iter().any(|name| name.to_string() == block) {
                    sum.resize(demand.budget.units().len(), 0);
                    for (sum, units) in sum.iter_mut().zip(demand.budget.units()) {
                        *sum += units;
                    }
                }
            }
        }
        sum
    }

    /// Whether the ledger knows a block.
    pub(super) fn knows(&self, block: &str) -> bool {
        self.capacity.contains_key(block)
    }
}

/// An entry as its object says.
fn read(spec: &Value) -> Result<Entry, String> {
    fn part<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }
    Ok(Entry {
        version: 1,
        sequence: number(&spec["sequence"]),
        previous: text(&spec["previous"])
            .parse()
            .map_err(|_| "no hash".to_owned())?,
        writer: text(&spec["writer"]).to_owned(),
        time: Time::from_micros(number(&spec["timeMicros"])),
        rules: part(&spec["setting"])?,
        events: part(&spec["events"])?,
        records: part(&spec["records"])?,
        omitted: part(&spec["omitted"])?,
        checkpoint: part(&spec["checkpoint"])?,
        program: part(&spec["program"])?,
        requesters: part::<Option<_>>(&spec["requesters"])?.unwrap_or_default(),
    })
}
