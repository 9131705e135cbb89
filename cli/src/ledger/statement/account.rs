//! The sums of a statement.

use std::collections::{BTreeMap, HashMap};

use privatekube_api::{DatasetKey, Subject, SubjectKind, counted, moment};
use privatekube_ledger::{Committed, Entry, Head, Replay};
use privatekube_policy::{BlockId, ClaimId, Composition, Engine, Record};
use privatekube_view::{DatasetObjects, shown_coordinate};

use super::{Of, OfBlock, OfLedger, Row, Shown};
use crate::{
    amounts::{amounts, exact},
    ledger::spent_before::SpentBefore,
    spending::{Spending, Spent},
};

/// Adds up what is consumed while a ledger is replayed.
pub(super) struct Account {
    of: Of,
    requests: HashMap<ClaimId, String>,
    spending: Spending,
    /// What was consumed of each block by the account after the last entry.
    accounts: BTreeMap<BlockId, Vec<i128>>,
    rows: Vec<Row>,
    sums: BTreeMap<BlockId, Vec<i128>>,
    /// The entry in which each block came, and its time.
    came: BTreeMap<BlockId, (u64, String)>,
    /// The entry of the checkpoint that it begins with.
    opening: Option<u64>,
}

impl Account {
    pub(super) fn new(of: Of, requests: HashMap<ClaimId, String>) -> Self {
        Self {
            of,
            requests,
            spending: Spending::default(),
            accounts: BTreeMap::new(),
            rows: Vec::new(),
            sums: BTreeMap::new(),
            came: BTreeMap::new(),
            opening: None,
        }
    }

    /// Begins with the opening balance of a checkpoint: what was consumed up to its entry, by claims that the state has, by
    /// claims that were forgotten, and by what was written off.
    pub(super) fn begin(&mut self, replay: &Replay) {
        let Some(engine) = replay.engine() else { return };
        let head = replay.head();
        self.opening = Some(head.sequence);
        let mut known: BTreeMap<BlockId, Vec<i128>> = BTreeMap::new();
        for sum in engine.folded() {
            let Some(block) = sum.block.filter(|block| self.of.has_block(block)) else {
                continue;
            };
            if sum.consumed.iter().all(|units| *units == 0) {
                continue;
            }
            add(&mut known, block, sum.consumed);
            if self.of.has_group(sum.group) {
                let claims = counted(sum.claims, "claim that was", "claims that were");
                let of = sum
                    .group
                    .map_or_else(String::new, |group| format!(" of namespace {group}"));
                let request = format!("{claims} forgotten{of}");
                let units = sum.consumed.to_vec();
                self.opening_row(head, engine, block, None, Some(request), units);
            }
        }
        self.spending = Spending::begin(engine);
        for Spent { claim, block, units } in self.spending.consumed() {
            if !self.of.has_block(&block) {
                continue;
            }
            add(&mut known, &block, &units);
            if self.of.has_claim(&claim) {
                let request = self.requests.get(&claim).cloned();
                self.opening_row(head, engine, &block, Some(&claim), request, units);
            }
        }
        if matches!(self.of, Of::Namespace(_)) {
            return;
        }
        let blocks: Vec<BlockId> = engine
            .blocks()
            .filter(|block| self.of.has_block(block))
            .cloned()
            .collect();
        for block in blocks {
            let Some(state) = engine.block(&block) else {
                continue;
            };
            let known = known
                .remove(&block)
                .unwrap_or_else(|| vec![0; state.consumed.len()]);
            let rest: Vec<i128> = state
                .consumed
                .iter()
                .zip(&known)
                .map(|(all, known)| all - known)
                .collect();
            self.accounts.insert(block.clone(), state.consumed.clone());
            // What a block's account has beyond its claims was written off.
            if state.written_off && rest.iter().any(|units| *units != 0) {
                self.opening_row(head, engine, &block, None, Some("written off".to_owned()), rest);
            }
        }
    }

    fn opening_row(
        &mut self,
        head: Head,
        engine: &Engine,
        block: &BlockId,
        claim: Option<&ClaimId>,
        request: Option<String>,
        units: Vec<i128>,
    ) {
        add(&mut self.sums, block, &units);
        self.rows.push(Row {
            entry: head.sequence,
            time: moment(head.time),
            block: block.to_string(),
            claim: claim.and_then(Subject::of).map(|subject| shown(&subject)),
            id: claim.map(ToString::to_string),
            what: "consumedUntilThen",
            request,
            amounts: amounts(&engine.rules().composition, &units),
            units,
        });
    }

    pub(super) fn entry(&mut self, entry: &Entry, committed: &Committed, replay: &Replay) {
        let Some(engine) = replay.engine() else { return };
        for record in committed.records() {
            if let Record::BlockAdded { block } = record
                && self.of.has_block(block)
            {
                let came = || (entry.sequence, moment(entry.time));
                self.came.entry(block.clone()).or_insert_with(came);
            }
        }
        let mut moved: BTreeMap<BlockId, Vec<i128>> = BTreeMap::new();
        for Spent { claim, block, units } in self.spending.entry(committed, engine) {
            if !self.of.has_block(&block) {
                continue;
            }
            add(&mut moved, &block, &units);
            if self.of.has_claim(&claim) {
                let what = if units.iter().any(|units| *units < 0) {
                    "returned"
                } else {
                    "consumed"
                };
                self.row(entry, engine, &block, Some(&claim), what, units);
            }
        }
        // What a block's account has beyond its claims was written off.
        let is_of_block = matches!(self.of, Of::Block(_));
        let written_off = committed
            .records()
            .iter()
            .any(|record| matches!(record, Record::WrittenOff { .. }));
        let looked: Vec<BlockId> = if is_of_block && (written_off || !committed.records().is_empty()) {
            let blocks = engine.blocks().filter(|block| self.of.has_block(block));
            blocks.cloned().collect()
        } else {
            Vec::new()
        };
        for block in looked {
            let Some(state) = engine.block(&block) else {
                continue;
            };
            let before = self.accounts.insert(block.clone(), state.consumed.clone());
            let before = before.unwrap_or_else(|| vec![0; state.consumed.len()]);
            let claims = moved.remove(&block).unwrap_or_else(|| vec![0; before.len()]);
            let rest = state.consumed.iter().zip(&before).zip(&claims);
            let rest: Vec<i128> = rest
                .map(|((now, before), claims)| now - before - claims)
                .collect();
            if state.written_off && rest.iter().any(|units| *units != 0) {
                self.row(entry, engine, &block, None, "writtenOff", rest);
            }
        }
    }

    fn row(
        &mut self,
        entry: &Entry,
        engine: &Engine,
        block: &BlockId,
        claim: Option<&ClaimId>,
        what: &'static str,
        units: Vec<i128>,
    ) {
        add(&mut self.sums, block, &units);
        self.rows.push(Row {
            entry: entry.sequence,
            time: moment(entry.time),
            block: block.to_string(),
            claim: claim.and_then(Subject::of).map(|subject| shown(&subject)),
            id: claim.map(ToString::to_string),
            what,
            request: claim.and_then(|id| self.requests.get(id).cloned()),
            amounts: amounts(&engine.rules().composition, &units),
            units,
        });
    }

    /// The row of what was spent of a block before the entry in which it came.
    fn row_before(&self, block: &BlockId, before: &SpentBefore) -> Row {
        let (entry, time) = self.came.get(block).cloned().unwrap_or_default();
        Row {
            entry,
            time,
            block: block.to_string(),
            claim: None,
            id: None,
            what: "spentBefore",
            request: Some(before.reason.clone()),
            amounts: before.amounts.clone(),
            units: before.units.clone(),
        }
    }

    /// What the ledger says; `None` if it has nothing of what is asked.
    pub(super) fn end(
        mut self,
        dataset: &DatasetKey,
        replay: &Replay,
        objects: &DatasetObjects,
    ) -> Option<OfLedger> {
        let engine = replay.engine()?;
        let composition = &engine.rules().composition;
        let mut blocks = Vec::new();
        for block in engine.blocks().filter(|block| self.of.has_block(block)) {
            let state = engine.block(block)?;
            let zero = || vec![0; state.consumed.len()];
            let sum = match (&self.of, self.sums.get(block)) {
                (_, Some(sum)) => sum.clone(),
                (Of::Block(_), None) => zero(),
                (Of::Namespace(_), None) => continue,
            };
            let total: Vec<i128> = state
                .capacity
                .units()
                .iter()
                .map(|units| (*units).into())
                .collect();
            let at = shown_coordinate(&state, composition);
            let digits = |units: &[i128]| digits(composition, at, units);
            let before = match &self.of {
                Of::Block(name) => SpentBefore::of(objects, name, composition, &total),
                Of::Namespace(_) => None,
            };
            if let Some(before) = &before {
                self.rows.insert(0, self.row_before(block, before));
            }
            let digits_before = |units: fn(&SpentBefore) -> &[i128]| {
                before
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |before| digits(units(before)))
            };
            blocks.push(OfBlock {
                block: block.to_string(),
                is_equal: matches!(self.of, Of::Block(_)).then(|| sum == state.consumed),
                shown: Shown {
                    at,
                    coordinate: composition.coordinate_name(at),
                    sum: digits(&sum),
                    consumed: digits(&state.consumed),
                    total: digits(&total),
                    spent_before: digits_before(|before| &before.units),
                    guaranteed: digits_before(|before| &before.guaranteed_units),
                },
                spent_before: before,
                sum: amounts(composition, &sum),
                consumed: amounts(composition, &state.consumed),
                total: amounts(composition, &total),
            });
        }
        if blocks.is_empty() {
            return None;
        }
        let head = replay.head();
        Some(OfLedger {
            dataset: dataset.to_string(),
            opening: self.opening,
            entries: head.sequence,
            hash: head.hash.to_string(),
            as_of: moment(head.time),
            rows: self.rows,
            blocks,
        })
    }
}

fn add(sums: &mut BTreeMap<BlockId, Vec<i128>>, block: &BlockId, units: &[i128]) {
    let sum = sums.entry(block.clone()).or_insert_with(|| vec![0; units.len()]);
    for (sum, units) in sum.iter_mut().zip(units) {
        *sum = sum.saturating_add(*units);
    }
}

/// An amount with all digits, for people.
fn digits(composition: &Composition, at: usize, units: &[i128]) -> String {
    let units = units.get(at).copied().unwrap_or_default();
    exact(composition, at, units).unwrap_or_else(crate::budget::beyond)
}

fn shown(subject: &Subject) -> String {
    let kind = match subject.kind {
        SubjectKind::Pod => "pod",
        SubjectKind::Claim => "claim",
    };
    format!("{kind} {}/{}", subject.namespace, subject.name)
}
