//! A dataset that is followed: its ledger is read once, and then only what is new.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use kube::Client;
use privatekube_api::{DatasetKey, Subject};
use privatekube_backup::{Reading, read_verified};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Committed, Entry, Replay, Store};
use privatekube_policy::{BlockId, Engine, Record, Time};
use privatekube_view::shown_coordinate;

use crate::{
    cluster::Cluster,
    spending::{Spending, Spent},
};

pub(super) const DAY: u64 = 86_400_000_000;
pub(super) const WEEK: u64 = 7 * DAY;

/// A dataset.
pub(super) struct Followed {
    pub(super) key: DatasetKey,
    client: Client,
    store: KubernetesStore,
    pub(super) past: Past,
}

/// What a ledger says, and what was consumed within the last week.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) replay: Replay,
    /// The state at the time `now`; none while there is no ledger.
    pub(super) engine: Option<Engine>,
    pub(super) now: Time,
    /// When the ledger began, or what could be read of it: the time of the checkpoint before which entries were removed.
    pub(super) began: Option<Time>,
    spending: Spending,
    /// What was consumed, in the order of the ledger; older than a week is forgotten.
    pub(super) burnt: VecDeque<Burnt>,
    /// When claims were granted, within a week.
    pub(super) granted: VecDeque<Time>,
}

/// A consumption.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Burnt {
    pub(super) at: Time,
    pub(super) block: BlockId,
    /// The namespace of the claim.
    pub(super) namespace: String,
    /// The part of the block's budget, at the coordinate that is shown.
    pub(super) part: f64,
}

impl Followed {
    pub(super) fn new(cluster: &Cluster, key: DatasetKey) -> Self {
        Self {
            client: cluster.client.clone(),
            store: KubernetesStore::new(cluster.client.clone(), key.clone()),
            key,
            past: Past::default(),
        }
    }

    /// Reads what is new, and lets time pass until `now`.
    pub(super) async fn catch_up(&mut self, now: Time) -> Result<()> {
        if self.past.replay.head().sequence == 0 {
            let past = &mut self.past;
            past.replay = read_verified(&self.client, &self.key, |reading| {
                match reading {
                    Reading::Base(replay) => past.begin(replay),
                    Reading::Entry(entry, committed, replay) => past.add(entry, committed, replay.engine()),
                    _ => {}
                }
                Ok(())
            })
            .await?;
        }
        loop {
            let entries = self.store.read_after(self.past.replay.head().sequence).await;
            let entries = entries.with_context(|| format!("the ledger of {}", self.key))?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let pushed = self.past.push(&entry);
                pushed.with_context(|| format!("the ledger of {}", self.key))?;
            }
        }
        self.past.settle(now);
        Ok(())
    }
}

impl Past {
    /// Verifies and applies an entry.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<()> {
        let mut replay = std::mem::take(&mut self.replay);
        let pushed = replay.push(entry);
        if let Ok(committed) = &pushed {
            self.add(entry, committed, replay.engine());
        }
        self.replay = replay;
        pushed?;
        Ok(())
    }

    /// Begins with the state of a checkpoint.
    fn begin(&mut self, replay: &Replay) {
        self.began = Some(replay.head().time);
        self.spending = replay.engine().map(Spending::begin).unwrap_or_default();
    }

    /// Adds what an entry says. `engine` is the state after it.
    fn add(&mut self, entry: &Entry, committed: &Committed, engine: Option<&Engine>) {
        self.began.get_or_insert(entry.time);
        let Some(engine) = engine else {
            return;
        };
        for record in committed.records() {
            if let Record::Granted { at, .. } = record {
                self.granted.push_back(*at);
            }
        }
        for Spent { claim, block, units } in self.spending.entry(committed, engine) {
            self.burnt.push_back(Burnt {
                at: entry.time,
                part: part(engine, &block, &units),
                block,
                namespace: Subject::of(&claim).map_or_else(String::new, |subject| subject.namespace),
            });
        }
    }

    /// Lets time pass until `now`.
    pub(super) fn settle(&mut self, now: Time) {
        self.now = now.max(self.replay.head().time);
        let first = Time::from_micros(self.now.micros().saturating_sub(WEEK));
        while self.burnt.front().is_some_and(|burnt| burnt.at < first) {
            self.burnt.pop_front();
        }
        while self.granted.front().is_some_and(|granted| *granted < first) {
            self.granted.pop_front();
        }
        self.engine = self.replay.engine().cloned().map(|mut engine| {
            engine.advance(self.now);
            engine
        });
    }

    /// Over how many days the rate of a week is: those that the ledger has, 1 to 7.
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    pub(super) fn days(&self) -> f64 {
        let age = self
            .began
            .map_or(0, |began| self.now.micros().saturating_sub(began.micros()));
        age.clamp(DAY, WEEK) as f64 / DAY as f64
    }
}

/// The part of a block's budget that units are, at the coordinate that is shown.
#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn part(engine: &Engine, block: &BlockId, units: &[i128]) -> f64 {
    let Some(state) = engine.block(block) else {
        return 0.0;
    };
    let at = shown_coordinate(&state, &engine.rules().composition);
    let capacity = state.capacity.units().get(at).copied().unwrap_or_default();
    let units = units.get(at).copied().unwrap_or_default();
    if capacity > 0 {
        units as f64 / capacity as f64
    } else {
        0.0
    }
}
