//! Lets a ledger's events happen again under other rules.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, anyhow};
use privatekube_api::Subject;
use privatekube_ledger::{Committed, Entry};
use privatekube_policy::{Amount, ClaimId, DatasetRules, Engine, Event, Phase, Record, Span, Time};
use privatekube_view::shown_coordinate;
use serde::Serialize;

/// What happened in a ledger.
#[derive(Debug, Default)]
pub(super) struct Past {
    events: Vec<(Time, Vec<Event>)>,
    /// The claims that were granted.
    granted: HashSet<ClaimId>,
}

impl Past {
    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &Entry, committed: &Committed) {
        self.events.push((entry.time, entry.events.clone()));
        let granted = committed.records().iter().filter_map(|record| match record {
            Record::Granted { claim, .. } => Some(claim.clone()),
            _ => None,
        });
        self.granted.extend(granted);
    }

    pub(super) fn entries(&self) -> u64 {
        self.events.len() as u64
    }
}

/// The state after the last event, under these rules.
pub(super) fn run(past: &Past, rules: &DatasetRules) -> Result<Engine> {
    let mut run = Run {
        engine: Engine::new(rules.clone())?,
        granted: &past.granted,
        uses: HashMap::new(),
    };
    for (time, events) in &past.events {
        run.advance(*time);
        for event in events {
            run.apply(event)?;
        }
    }
    Ok(run.engine)
}

struct Run<'a> {
    engine: Engine,
    /// The claims that were granted in the past.
    granted: &'a HashSet<ClaimId>,
    /// What claims did after their grants in the past, and are not granted yet.
    uses: HashMap<ClaimId, Vec<Event>>,
}

impl Run<'_> {
    /// Lets time pass. Budget granted by one step is used before the next.
    fn advance(&mut self, until: Time) {
        while let Some(step) = self.engine.next_step().filter(|step| *step < until) {
            let records = self.engine.advance(step);
            self.use_granted(records);
        }
        let records = self.engine.advance(until);
        self.use_granted(records);
    }

    fn apply(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::AddBlock { .. }
            | Event::RetireBlock { .. }
            | Event::WriteOff { .. }
            | Event::Arrive(_) => {
                let records = self.engine.apply(event);
                let records =
                    records.map_err(|refusal| anyhow!("an event of the ledger can't happen: {refusal}"))?;
                self.use_granted(records);
            }
            // Under these rules a claim may go on that had ended, and every claim is compared in the end.
            Event::Forget { .. } => {}
            // A claim that these rules denied is not matched any more.
            Event::Match { .. } => self.try_apply(event),
            Event::Consume { claim, .. }
            | Event::Release { claim, .. }
            | Event::NeverRan { claim }
            | Event::Withdraw { claim } => {
                let waits = self.engine.phase(claim) == Some(Phase::Waiting);
                if waits && self.granted.contains(claim) {
                    // It ran, and was deleted, after a grant that it doesn't have yet.
                    self.uses.entry(claim.clone()).or_default().push(event.clone());
                } else {
                    self.try_apply(event);
                }
            }
        }
        Ok(())
    }

    /// Applies an event that may not go with what these rules decided: it changes nothing then.
    fn try_apply(&mut self, event: &Event) {
        if let Ok(records) = self.engine.apply(event) {
            self.use_granted(records);
        }
    }

    /// Lets claims that are granted do what they did, or consume all if they never were.
    fn use_granted(&mut self, records: Vec<Record>) {
        let mut records = records;
        while let Some(record) = records.pop() {
            let Record::Granted { claim, .. } = record else {
                continue;
            };
            let uses = if self.granted.contains(&claim) {
                self.uses.remove(&claim).unwrap_or_default()
            } else {
                let amount = Amount::All;
                vec![Event::Consume { claim, amount }]
            };
            for event in uses {
                records.extend(self.engine.apply(&event).unwrap_or_default());
            }
        }
    }
}

/// What rules granted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// `dpack, arrivals=100`.
    pub(super) rules: String,
    pub(super) granted: usize,
    pub(super) denied: usize,
    pub(super) expired: usize,
    pub(super) withdrawn: usize,
    pub(super) waiting: usize,
    /// How long granted claims waited, half of them no longer than this.
    pub(super) median_wait: String,
    pub(super) mean_wait: String,
    /// The mean part of the blocks that is consumed, at the coordinate that is shown of each.
    pub(super) consumed: f64,
    /// How many claims were granted that weren't in the past; none of the past.
    pub(super) gained: Option<usize>,
    /// How many claims were granted in the past alone.
    pub(super) lost: Option<usize>,
    pub(super) granted_by_namespace: BTreeMap<String, usize>,
}

impl Outcome {
    /// The outcome of rules, compared with that of the past.
    pub(super) fn of(rules: &str, engine: &Engine, past: Option<&Engine>) -> Self {
        let mut outcome = Self {
            rules: rules.to_owned(),
            granted: 0,
            denied: 0,
            expired: 0,
            withdrawn: 0,
            waiting: 0,
            median_wait: "-".to_owned(),
            mean_wait: "-".to_owned(),
            consumed: consumed(engine),
            gained: past.map(|_| 0),
            lost: past.map(|_| 0),
            granted_by_namespace: BTreeMap::new(),
        };
        let mut waits: Vec<u64> = Vec::new();
        let is_granted = |phase| matches!(phase, Some(Phase::Granted | Phase::Consumed | Phase::Released));
        for id in engine.claims() {
            let Some(claim) = engine.claim(id) else { continue };
            match claim.phase {
                Phase::Granted | Phase::Consumed | Phase::Released => {
                    outcome.granted += 1;
                    let decided = claim.decided.unwrap_or(claim.arrived);
                    waits.push(decided.micros().saturating_sub(claim.arrived.micros()));
                    if let Some(subject) = Subject::of(id) {
                        *outcome.granted_by_namespace.entry(subject.namespace).or_default() += 1;
                    }
                }
                Phase::Denied => outcome.denied += 1,
                Phase::Expired => outcome.expired += 1,
                Phase::Withdrawn => outcome.withdrawn += 1,
                Phase::Waiting => outcome.waiting += 1,
            }
            let Some(past) = past else { continue };
            match (is_granted(Some(claim.phase)), is_granted(past.phase(id))) {
                (true, false) => outcome.gained = outcome.gained.map(|count| count + 1),
                (false, true) => outcome.lost = outcome.lost.map(|count| count + 1),
                _ => {}
            }
        }
        waits.sort_unstable();
        if let Some(median) = waits.get(waits.len() / 2) {
            let sum: u128 = waits.iter().map(|wait| u128::from(*wait)).sum();
            let mean = u64::try_from(sum / waits.len().max(1) as u128).unwrap_or(u64::MAX);
            outcome.median_wait = shown(*median);
            outcome.mean_wait = shown(mean);
        }
        outcome
    }
}

/// A wait, to the second or, if it is shorter, to the millisecond.
fn shown(micros: u64) -> String {
    let unit = if micros >= 1_000_000 { 1_000_000 } else { 1000 };
    Span::from_micros(micros / unit * unit).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn consumed(engine: &Engine) -> f64 {
    let parts: Vec<f64> = engine
        .blocks()
        .filter_map(|block| {
            let state = engine.block(block)?;
            let at = shown_coordinate(&state, &engine.rules().composition);
            let capacity = state
                .capacity
                .units()
                .get(at)
                .copied()
                .filter(|units| *units > 0)?;
            Some(state.consumed.get(at).copied()? as f64 / capacity as f64)
        })
        .collect();
    parts.iter().fold(0.0, |sum, part| sum + part) / parts.len().max(1) as f64
}
