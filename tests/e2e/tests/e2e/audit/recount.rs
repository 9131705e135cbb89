//! [`Recount`]: a second computation of a dataset's state from its ledger. Decisions come from the oracle,
//! budgets from sums over all claims; the engine must have arrived at the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use privatekube_e2e::VerifiedLedger;
use privatekube_ledger::Entry;
use privatekube_policy::{
    Arrival, BlockId, ClaimId, Composition, DatasetRules, Event, Phase, Record, Unlocking,
};

use super::oracle::Oracle;

/// A dataset's claims and blocks, counted again from the events and records of its ledger.
pub(super) struct Recount {
    pub(super) dataset: &'static str,
    rules: DatasetRules,
    pub(super) claims: BTreeMap<ClaimId, Claim>,
    pub(super) blocks: BTreeMap<BlockId, Block>,
    pub(super) events: usize,
    pub(super) entries: usize,
}

/// A claim and its phase, as the ledger's records say.
pub(super) struct Claim {
    pub(super) arrival: Arrival,
    pub(super) phase: Phase,
    /// The sequence of the entry in which it was consumed.
    pub(super) consumed: Option<u64>,
}

/// A block's budget at each coordinate, in that coordinate's unit.
#[derive(Default)]
pub(super) struct Block {
    pub(super) capacity: Vec<i128>,
    pub(super) locked: Vec<i128>,
    pub(super) available: Vec<i128>,
    pub(super) allocated: Vec<i128>,
    pub(super) consumed: Vec<i128>,
    pub(super) arrivals: u64,
}

impl Recount {
    /// Counts what the entries contain, and checks that the oracle derives the same records from their
    /// events.
    pub(super) fn of(dataset: &'static str, entries: &[Entry]) -> Result<Self> {
        let first = entries.first().context("the ledger is empty")?;
        let rules = first.rules.clone().context("the first entry has no rules")?;
        let mut oracle = Oracle::new(rules.clone());
        let mut recount = Self {
            dataset,
            rules,
            claims: BTreeMap::new(),
            blocks: BTreeMap::new(),
            events: 0,
            entries: entries.len(),
        };
        for entry in entries {
            let mut expected = oracle.advance(entry.time);
            expected.extend(entry.events.iter().flat_map(|event| oracle.apply(event)));
            ensure!(
                entry.omitted.is_none(),
                "entry {} is larger than any of these should be",
                entry.sequence
            );
            ensure!(
                entry.records == expected,
                "entry {}: {:#?} is written, the oracle has {expected:#?}",
                entry.sequence,
                entry.records
            );
            for event in &entry.events {
                recount
                    .count_event(event)
                    .with_context(|| format!("entry {}", entry.sequence))?;
            }
            for record in &entry.records {
                recount
                    .count_record(record, entry.sequence)
                    .with_context(|| format!("entry {}", entry.sequence))?;
            }
        }
        for (name, block) in &mut recount.blocks {
            // Arrivals that were denied at once don't count, which the oracle decides.
            block.arrivals = oracle.blocks.get(name).map_or(0, |block| block.arrivals);
        }
        recount.compute_totals()?;
        Ok(recount)
    }

    fn count_event(&mut self, event: &Event) -> Result<()> {
        self.events += 1;
        match event {
            Event::AddBlock { block, capacity } => {
                let capacity = capacity.units().iter().copied().map(i128::from).collect();
                let before = self.blocks.insert(
                    block.clone(),
                    Block {
                        capacity,
                        ..Block::default()
                    },
                );
                ensure!(before.is_none(), "block {block} was added twice");
            }
            Event::Arrive(arrival) => {
                let claim = Claim {
                    arrival: arrival.clone(),
                    phase: Phase::Waiting,
                    consumed: None,
                };
                let before = self.claims.insert(arrival.claim.clone(), claim);
                ensure!(before.is_none(), "claim {} arrived twice", arrival.claim);
            }
            Event::Match { claim, demands } => {
                let claim = self
                    .claims
                    .get_mut(claim)
                    .context("an unknown claim is matched")?;
                claim.arrival.demands.clone_from(demands);
            }
            Event::Consume { .. } => {}
            // These tests delete no pod and no block.
            other => bail!("nothing happened that {other:?} could come from"),
        }
        Ok(())
    }

    fn count_record(&mut self, record: &Record, sequence: u64) -> Result<()> {
        let (claim, from, to) = match record {
            Record::Granted { claim, .. } => (claim, Phase::Waiting, Phase::Granted),
            Record::Denied { claim, .. } => (claim, Phase::Waiting, Phase::Denied),
            Record::Consumed {
                claim,
                entirely: true,
            } => (claim, Phase::Granted, Phase::Consumed),
            Record::BlockAdded { .. } | Record::Unlocked { .. } | Record::Waits { .. } => return Ok(()),
            other => bail!("{other:?} follows from nothing that these tests do"),
        };
        let known = self
            .claims
            .get_mut(claim)
            .context("an unknown claim is decided")?;
        ensure!(
            known.phase == from,
            "claim {claim} went from {:?} to {to:?}",
            known.phase
        );
        known.phase = to;
        if to == Phase::Consumed {
            known.consumed = Some(sequence);
        }
        Ok(())
    }

    /// Computes the blocks' locked, available, allocated and consumed budget from their claims.
    fn compute_totals(&mut self) -> Result<()> {
        let Unlocking::Arrivals(steps) = self.rules.unlocking else {
            bail!("{:?}", self.rules.unlocking)
        };
        for block in self.blocks.values_mut() {
            let nothing = vec![0; block.capacity.len()];
            (block.allocated, block.consumed) = (nothing.clone(), nothing);
        }
        for claim in self.claims.values() {
            let arrived = claim
                .arrival
                .demands
                .iter()
                .map(|demand| demand.blocks.len())
                .sum::<usize>();
            if arrived < claim.arrival.min_blocks as usize {
                ensure!(
                    claim.phase == Phase::Waiting,
                    "{} has too few blocks",
                    claim.arrival.claim
                );
                continue;
            }
            for (name, units) in claim.demands() {
                let block = self
                    .blocks
                    .get_mut(name)
                    .with_context(|| format!("unknown block {name}"))?;
                let part = match claim.phase {
                    Phase::Granted => &mut block.allocated,
                    Phase::Consumed => &mut block.consumed,
                    _ => continue,
                };
                for (total, units) in part.iter_mut().zip(units) {
                    *total += i128::from(*units);
                }
            }
        }
        for block in self.blocks.values_mut() {
            let done = i128::from(block.arrivals.min(u64::from(steps)));
            for (at, capacity) in block.capacity.iter().enumerate() {
                let ever = capacity * done / i128::from(steps);
                block.locked.push(capacity - ever);
                block
                    .available
                    .push(ever - block.allocated[at] - block.consumed[at]);
            }
        }
        Ok(())
    }

    /// Checks that no block is over its budget, and that the engine's state has the same budgets and phases.
    pub(super) fn check(&self, ledger: &VerifiedLedger) -> Result<()> {
        for (name, block) in &self.blocks {
            let taken = |at: usize| block.allocated[at] + block.consumed[at];
            let within = |at: usize| block.capacity[at] > 0 && taken(at) <= block.capacity[at];
            let mut coordinates = 0..block.capacity.len();
            let sound = match self.rules.composition {
                Composition::Basic => coordinates.all(within),
                Composition::Renyi(_) => coordinates.any(within),
            };
            ensure!(
                sound,
                "block {name} is over its budget: {:?} {:?}",
                block.allocated,
                block.consumed
            );
            let kept = ledger
                .block(name.as_str())
                .with_context(|| format!("the engine has no block {name}"))?;
            ensure!(
                (
                    &kept.locked,
                    &kept.available,
                    &kept.allocated,
                    &kept.consumed,
                    kept.arrivals
                ) == (
                    &block.locked,
                    &block.available,
                    &block.allocated,
                    &block.consumed,
                    block.arrivals
                ),
                "the engine has {kept:?} for block {name}, which differs from the sums over its claims"
            );
        }
        let phases: BTreeMap<ClaimId, Phase> = ledger.phases().into_iter().collect();
        ensure!(phases.len() == self.claims.len());
        ensure!(
            self.claims
                .iter()
                .all(|(id, claim)| phases.get(id) == Some(&claim.phase)),
            "{phases:?}"
        );
        Ok(())
    }

    /// The composition of the dataset's budgets.
    pub(super) fn composition(&self) -> &Composition {
        &self.rules.composition
    }
}

impl Claim {
    /// The blocks on which the claim has a demand, with its budget in units.
    pub(super) fn demands(&self) -> impl Iterator<Item = (&BlockId, &[i64])> {
        let demands = self.arrival.demands.iter();
        demands.flat_map(|demand| demand.blocks.iter().map(|block| (block, demand.budget.units())))
    }
}
