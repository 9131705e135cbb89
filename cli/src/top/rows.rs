//! The rows of `top`.

mod tables;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

use privatekube_api::{DatasetKey, Subject, SubjectKind, moment};
use privatekube_policy::{BlockId, ClaimId, Engine, Phase, Policy, Rounding, Span, Time};
use privatekube_view::shown_coordinate;
use serde::Serialize;

use super::{
    Sort, What,
    follow::{DAY, Followed, Past},
};
use crate::{
    amounts::{exact, few},
    state::DatasetState,
};

/// How many waiting claims are listed, unless all are wanted.
const FEW_CLAIMS: usize = 50;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// The time that it is of.
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    datasets: Option<Vec<OfDataset>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<Vec<OfBlock>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<Vec<OfNamespace>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Vec<OfClaim>>,
    notes: Vec<String>,
}

/// Parts of a budget, from 0 to 1, and rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parts {
    consumed: f64,
    allocated: f64,
    available: f64,
    locked: f64,
    /// Consumed within the last 24 hours.
    day: f64,
    /// Consumed on each day of the last seven, or of as many as the ledger has.
    week: f64,
    /// For how many days what is neither consumed nor allocated would do at the rate of the week; none if nothing is consumed.
    lasts_days: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfDataset {
    dataset: String,
    policy: &'static str,
    blocks: usize,
    #[serde(flatten)]
    parts: Parts,
    waiting: usize,
    /// Granted within the last 24 hours.
    granted_today: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfBlock {
    block: String,
    dataset: String,
    is_retired: bool,
    #[serde(flatten)]
    parts: Parts,
    waiting: usize,
    /// What is neither consumed nor allocated, at the coordinate.
    left: Option<String>,
    coordinate: String,
    #[serde(skip)]
    short_left: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfNamespace {
    namespace: String,
    dataset: String,
    claims: usize,
    waiting: usize,
    granted: usize,
    /// The mean, over the dataset's blocks, of the part that the namespace has consumed.
    consumed: f64,
    day: f64,
    week: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfClaim {
    claim: String,
    dataset: String,
    /// Its place in the queue, from 1; none if the policy has no order.
    place: Option<usize>,
    share: Option<f64>,
    arrived: String,
    waits: String,
    why: String,
}

impl Answer {
    pub(super) fn of(what: What, sort: Option<Sort>, followed: &[Followed], notes: Vec<String>) -> Self {
        let pasts: Vec<(String, &Followed, &Engine)> = followed
            .iter()
            .filter_map(|of| Some((of.key.to_string(), of, of.past.engine.as_ref()?)))
            .collect();
        let now = followed.iter().map(|of| of.past.now).max().unwrap_or_default();
        let mut answer = Self {
            at: moment(now),
            datasets: None,
            blocks: None,
            namespaces: None,
            claims: None,
            notes,
        };
        match what {
            What::Datasets => {
                let rows = pasts
                    .iter()
                    .map(|(name, of, engine)| dataset(name, &of.past, engine));
                answer.datasets = Some(sorted(rows.collect(), sort, Sort::Consumed));
            }
            What::Blocks => {
                let rows = pasts
                    .iter()
                    .flat_map(|(name, of, engine)| blocks(name, &of.past, engine));
                answer.blocks = Some(sorted(rows.collect(), sort, Sort::Left));
            }
            What::Namespaces => {
                let rows = pasts
                    .iter()
                    .flat_map(|(name, of, engine)| namespaces(name, &of.past, engine));
                answer.namespaces = Some(sorted(rows.collect(), sort, Sort::Consumed));
            }
            What::Claims => {
                let rows = pasts
                    .iter()
                    .flat_map(|(name, of, engine)| claims(name, &of.key, &of.past, engine));
                answer.claims = Some(rows.collect());
            }
        }
        answer
    }
}

/// What rows are sorted by.
trait Key {
    fn name(&self) -> (&str, &str);
    fn parts(&self) -> Parts;
    fn waiting(&self) -> usize;
}

impl Key for OfDataset {
    fn name(&self) -> (&str, &str) {
        (&self.dataset, "")
    }
    fn parts(&self) -> Parts {
        self.parts.clone()
    }
    fn waiting(&self) -> usize {
        self.waiting
    }
}

impl Key for OfBlock {
    fn name(&self) -> (&str, &str) {
        (&self.dataset, &self.block)
    }
    fn parts(&self) -> Parts {
        self.parts.clone()
    }
    fn waiting(&self) -> usize {
        self.waiting
    }
}

impl Key for OfNamespace {
    fn name(&self) -> (&str, &str) {
        (&self.namespace, &self.dataset)
    }
    fn parts(&self) -> Parts {
        Parts {
            consumed: self.consumed,
            day: self.day,
            week: self.week,
            ..Parts::default()
        }
    }
    fn waiting(&self) -> usize {
        self.waiting
    }
}

fn sorted<T: Key>(mut rows: Vec<T>, sort: Option<Sort>, default: Sort) -> Vec<T> {
    let by = |one: &T, other: &T| -> Ordering {
        let (mine, theirs) = (one.parts(), other.parts());
        match sort.unwrap_or(default) {
            Sort::Name => Ordering::Equal,
            Sort::Consumed => theirs.consumed.total_cmp(&mine.consumed),
            Sort::Left => {
                let left = |parts: &Parts| parts.available + parts.locked;
                left(&mine).total_cmp(&left(&theirs))
            }
            Sort::Day => theirs.day.total_cmp(&mine.day),
            Sort::Week => theirs.week.total_cmp(&mine.week),
            Sort::Waiting => other.waiting().cmp(&one.waiting()),
        }
    };
    rows.sort_by(|one, other| by(one, other).then_with(|| one.name().cmp(&other.name())));
    rows
}

/// A sum. That of no numbers is 0; `Iterator::sum` has -0 for it, which is shown with its sign.
fn sum(parts: impl Iterator<Item = f64>) -> f64 {
    parts.fold(0.0, |sum, part| sum + part)
}

/// What was consumed since `since` ago, of those that are wanted.
fn burnt(past: &Past, since: u64, wanted: impl Fn(&super::follow::Burnt) -> bool) -> f64 {
    let first = Time::from_micros(past.now.micros().saturating_sub(since));
    let burnt = past
        .burnt
        .iter()
        .filter(|burnt| burnt.at >= first && wanted(burnt));
    sum(burnt.map(|burnt| burnt.part))
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn block_parts(past: &Past, engine: &Engine, block: &BlockId) -> Option<Parts> {
    let state = engine.block(block)?;
    let at = shown_coordinate(&state, &engine.rules().composition);
    let capacity = state.capacity.units().get(at).copied().unwrap_or_default().max(1) as f64;
    let share = |units: &[i128]| units.get(at).copied().unwrap_or_default() as f64 / capacity;
    let week = burnt(past, super::follow::WEEK, |burnt| burnt.block == *block) / past.days();
    let mut parts = Parts {
        consumed: share(&state.consumed),
        allocated: share(&state.allocated),
        available: share(&state.available),
        locked: share(&state.locked),
        day: burnt(past, DAY, |burnt| burnt.block == *block),
        week,
        lasts_days: None,
    };
    parts.lasts_days = lasts(&parts);
    Some(parts)
}

fn lasts(parts: &Parts) -> Option<f64> {
    let left = (parts.available + parts.locked).max(0.0);
    (parts.week > 0.0).then(|| left / parts.week)
}

/// How many claims wait for each block.
fn waiting(engine: &Engine) -> BTreeMap<BlockId, usize> {
    let mut count = BTreeMap::new();
    for id in waiting_claims(engine) {
        for block in engine.blocks_of(id) {
            *count.entry(block.clone()).or_default() += 1;
        }
    }
    count
}

fn waiting_claims(engine: &Engine) -> impl Iterator<Item = &ClaimId> {
    engine
        .claims()
        .filter(|id| engine.phase(id) == Some(Phase::Waiting))
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn dataset(name: &str, past: &Past, engine: &Engine) -> OfDataset {
    let live: Vec<Parts> = engine
        .blocks()
        .filter(|block| engine.block(block).is_some_and(|state| !state.retired))
        .filter_map(|block| block_parts(past, engine, block))
        .collect();
    let count = live.len().max(1) as f64;
    let mean = |of: fn(&Parts) -> f64| sum(live.iter().map(of)) / count;
    let mut parts = Parts {
        consumed: mean(|parts| parts.consumed),
        allocated: mean(|parts| parts.allocated),
        available: mean(|parts| parts.available),
        locked: mean(|parts| parts.locked),
        day: mean(|parts| parts.day),
        week: mean(|parts| parts.week),
        lasts_days: None,
    };
    parts.lasts_days = lasts(&parts);
    let yesterday = Time::from_micros(past.now.micros().saturating_sub(DAY));
    OfDataset {
        dataset: name.to_owned(),
        policy: policy(engine.rules().policy),
        blocks: live.len(),
        parts,
        waiting: waiting_claims(engine).count(),
        granted_today: past.granted.iter().filter(|at| **at >= yesterday).count(),
    }
}

pub(crate) const fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Dpf => "DPF",
        Policy::Fcfs { .. } => "FCFS",
        Policy::RoundRobin => "RoundRobin",
        Policy::Dpack { .. } => "DPack",
        Policy::Blend { .. } => "Blend",
    }
}

fn blocks(name: &str, past: &Past, engine: &Engine) -> Vec<OfBlock> {
    let waiting = waiting(engine);
    let composition = &engine.rules().composition;
    let row = |block: &BlockId| {
        let state = engine.block(block)?;
        let at = shown_coordinate(&state, composition);
        let left = state.locked.get(at)? + state.available.get(at)?;
        Some(OfBlock {
            block: block.to_string(),
            dataset: name.to_owned(),
            is_retired: state.retired,
            parts: block_parts(past, engine, block)?,
            waiting: waiting.get(block).copied().unwrap_or_default(),
            left: exact(composition, at, left),
            coordinate: composition.coordinate_name(at),
            short_left: few(composition, at, left, Rounding::Down),
        })
    };
    engine.blocks().filter_map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn namespaces(name: &str, past: &Past, engine: &Engine) -> Vec<OfNamespace> {
    let composition = &engine.rules().composition;
    let shown: BTreeMap<&BlockId, (usize, f64)> = engine
        .blocks()
        .filter_map(|block| {
            let state = engine.block(block)?;
            let at = shown_coordinate(&state, composition);
            Some((
                block,
                (at, state.capacity.units().get(at).copied()?.max(1) as f64),
            ))
        })
        .collect();
    let count = shown.len().max(1) as f64;
    let mut rows: BTreeMap<String, OfNamespace> = BTreeMap::new();
    for id in engine.claims() {
        let (Some(subject), Some(claim)) = (Subject::of(id), engine.claim(id)) else {
            continue;
        };
        let namespace = subject.namespace;
        let row = rows.entry(namespace.clone()).or_insert_with(|| OfNamespace {
            dataset: name.to_owned(),
            claims: 0,
            waiting: 0,
            granted: 0,
            consumed: 0.0,
            day: burnt(past, DAY, |burnt| burnt.namespace == namespace) / count,
            week: burnt(past, super::follow::WEEK, |burnt| burnt.namespace == namespace)
                / past.days()
                / count,
            namespace,
        });
        row.claims += 1;
        match claim.phase {
            Phase::Waiting => row.waiting += 1,
            Phase::Granted | Phase::Consumed | Phase::Released => row.granted += 1,
            _ => {}
        }
        for (block, budget) in &claim.consumed {
            if let Some((at, capacity)) = shown.get(block) {
                let units = budget.units().get(*at).copied().unwrap_or_default();
                row.consumed += units as f64 / capacity / count;
            }
        }
    }
    rows.into_values().collect()
}

fn claims(name: &str, key: &DatasetKey, past: &Past, engine: &Engine) -> Vec<OfClaim> {
    let queue = engine.queue().unwrap_or_default().into_iter().enumerate();
    let queue: HashMap<&ClaimId, usize> = queue.map(|(place, id)| (id, place)).collect();
    let mut ids: Vec<(usize, &ClaimId)> = waiting_claims(engine)
        .map(|id| (queue.get(id).copied().unwrap_or(usize::MAX), id))
        .collect();
    ids.sort_by_key(|(place, _)| *place);
    let state = DatasetState {
        key: key.clone(),
        objects: privatekube_view::DatasetObjects::default(),
        engine: engine.clone(),
        head: past.replay.head(),
        now: past.now,
    };
    let view = state.view();
    let row = |(place, id): (usize, &ClaimId)| {
        let claim = view.claim(id)?;
        let subject = Subject::of(id)?;
        let arrived = claim.arrived()?;
        let kind = match subject.kind {
            SubjectKind::Pod => "pod",
            SubjectKind::Claim => "claim",
        };
        let seconds = past.now.micros().saturating_sub(arrived.micros()) / 1_000_000;
        Some(OfClaim {
            claim: format!("{kind} {}/{}", subject.namespace, subject.name),
            dataset: name.to_owned(),
            place: place.checked_add(1),
            share: claim.dominant_share(),
            arrived: moment(arrived),
            waits: Span::from_secs(seconds).to_string(),
            why: claim.message().to_owned(),
        })
    };
    ids.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use privatekube_policy::{Arrival, Event, Weight};

    use super::*;
    use crate::fixture::{BEGIN, consume, entries, events, key};

    #[tokio::test]
    async fn rates_are_those_of_the_last_day_and_week() {
        let mut lists = events();
        lists.push(vec![consume("small")]);
        let mut past = Past::default();
        for entry in entries(lists).await {
            past.push(&entry).unwrap();
        }
        let at = |days: u64| Time::from_micros((BEGIN + 600) * 1_000_000 + days * DAY);
        past.settle(at(0));
        let row = |past: &Past| dataset("data/taxi", past, past.engine.as_ref().unwrap());
        // 0.25 of 7.697 at order 8, on one of two blocks.
        let expected = 0.250_000_000_001 / 7.697_414_907 / 2.0;
        let now = row(&past);
        for rate in [now.parts.consumed, now.parts.day, now.parts.week] {
            assert!((rate - expected).abs() < 1e-9, "{rate} {expected}");
        }
        assert_eq!((now.waiting, now.granted_today, now.blocks), (1, 1, 2));
        past.settle(at(4));
        let later = row(&past);
        assert!(later.parts.day <= 0.0 && later.granted_today == 0);
        assert!(later.parts.week > 0.0 && later.parts.week < expected / 3.9);
        past.settle(at(8));
        assert!(row(&past).parts.week <= 0.0);
        assert_eq!(row(&past).parts.lasts_days, None);
    }

    #[tokio::test]
    async fn waiting_claims_have_their_places_and_unmatched_ones_have_none() {
        let mut lists = events();
        let unmatched = Event::Arrive(Arrival {
            claim: "claim/data/none/uid".into(),
            demands: Vec::new(),
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        });
        lists.push(vec![unmatched]);
        let mut past = Past::default();
        for entry in entries(lists).await {
            past.push(&entry).unwrap();
        }
        past.settle(Time::from_micros((BEGIN + 600) * 1_000_000));
        let rows = claims("data/taxi", &key(), &past, past.engine.as_ref().unwrap());
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.place, row.claim.as_str(), row.waits.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (Some(1), "claim data/large", "8m"),
                (None, "claim data/none", "7m")
            ]
        );
    }

    #[tokio::test]
    async fn nothing_is_no_negative_amount() {
        let mut past = Past::default();
        for entry in entries(events()).await {
            past.push(&entry).unwrap();
        }
        past.settle(Time::from_micros((BEGIN + 600) * 1_000_000));
        let row = dataset("data/taxi", &past, past.engine.as_ref().unwrap());
        let json = serde_json::to_string(&row).unwrap();
        assert!(!json.contains("-0"), "{json}");
        let empty: [f64; 0] = [];
        assert!(sum(empty.into_iter()).is_sign_positive());
    }

    #[test]
    fn rows_are_sorted_by_a_column_and_then_by_name() {
        let row = |name: &str, consumed: f64, waiting: usize| OfDataset {
            dataset: name.to_owned(),
            policy: "DPF",
            blocks: 1,
            parts: Parts {
                consumed,
                ..Parts::default()
            },
            waiting,
            granted_today: 0,
        };
        let rows = || vec![row("a", 0.1, 3), row("c", 0.5, 1), row("b", 0.5, 2)];
        let names = |sort| -> Vec<String> {
            let rows = sorted(rows(), sort, Sort::Consumed).into_iter();
            rows.map(|row| row.dataset).collect()
        };
        assert_eq!(names(None), ["b", "c", "a"]);
        assert_eq!(names(Some(Sort::Name)), ["a", "b", "c"]);
        assert_eq!(names(Some(Sort::Waiting)), ["a", "b", "c"]);
    }
}
