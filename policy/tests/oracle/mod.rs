//! The oracle: a second, slow and simple implementation of the policies, with which the engine is compared.
//! It looks at every waiting claim after every event, in the order of exact shares, and takes each step of
//! the clock. The engine's records, which come from an index, must be the same.
//!
//! This file holds the state, time and events; the other files hold what follows from each of them.
//!
//! It depends on the public vocabulary alone, so that the tests of other crates can include it, too.
#![allow(dead_code, reason = "each test that includes it uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod arrivals;
mod blocks;
mod consumption;
mod denials;
mod forgetting;
mod grants;
mod order;
mod packing;
mod round_robin;

use std::collections::{BTreeMap, BTreeSet};

use privatekube_policy::{Arrival, BlockId, ClaimId, DatasetRules, Event, Phase, Policy, Record, Time};

#[derive(Clone)]
pub(crate) struct Oracle {
    rules: DatasetRules,
    now: u64,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// Their names, in the order in which they were added.
    added: Vec<BlockId>,
    /// Blocks that can't be added any more.
    lost: BTreeSet<BlockId>,
    /// In the order of arrival.
    pub(crate) claims: Vec<Claim>,
    /// How many claims were forgotten and what they consumed: of all, or of a block; of a group; by phase.
    pub(crate) folded: BTreeMap<Summed, (u64, Vec<i128>)>,
}

#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) capacity: Vec<i128>,
    pub(crate) unlocked_in_all: Vec<i128>,
    pub(crate) allocated: Vec<i128>,
    pub(crate) consumed: Vec<i128>,
    pub(crate) arrivals: u64,
    pub(crate) retired: bool,
    pub(crate) written_off: bool,
    /// The times at which the clock unlocks a step.
    steps: Vec<u64>,
    /// Under round robin: what was given to claims, and the coordinates that were found empty.
    divided: Vec<i128>,
    closed: Vec<bool>,
    all_steps_taken: bool,
}

#[derive(Clone)]
pub(crate) struct Claim {
    arrival: Arrival,
    arrived: u64,
    pub(crate) phase: Phase,
    matched: bool,
    /// One for each block, in the order of the demands.
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    block: BlockId,
    asked: Vec<i128>,
    consumed: Vec<i128>,
    released: Vec<i128>,
    /// Round robin.
    gathered: Vec<i128>,
}

/// A block, or all of the claims; their group; and how they ended.
pub(crate) type Summed = (Option<BlockId>, Option<String>, Phase);

impl Oracle {
    pub(crate) fn new(rules: DatasetRules) -> Self {
        Self {
            rules,
            now: 0,
            blocks: BTreeMap::new(),
            added: Vec::new(),
            lost: BTreeSet::new(),
            claims: Vec::new(),
            folded: BTreeMap::new(),
        }
    }

    pub(crate) fn advance(&mut self, now: Time) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let steps = self.blocks.values().flat_map(|block| &block.steps);
            let steps = steps.copied().filter(|step| *step > self.now);
            let timeouts = self.claims.iter().filter(|claim| claim.phase == Phase::Waiting);
            let timeouts = timeouts.filter_map(expires);
            let ticks = self.next_division();
            let Some(at) = steps
                .chain(timeouts)
                .chain(ticks)
                .filter(|at| *at <= now.micros())
                .min()
            else {
                break;
            };
            // A timeout of zero length is over after the tick at its time.
            let later = at > self.now;
            self.now = self.now.max(at);
            for block in self.blocks.values_mut() {
                block.take_clock_steps(self.now);
            }
            if self.rules.policy == Policy::RoundRobin {
                if later {
                    self.divide_at_a_tick(at, &mut records);
                }
            } else {
                self.grant_what_fits(&mut records);
            }
            for number in 0..self.claims.len() {
                let claim = &self.claims[number];
                if claim.phase == Phase::Waiting && expires(claim) == Some(at) {
                    records.push(Record::Expired {
                        claim: claim.arrival.claim.clone(),
                        at: Time::from_micros(at),
                    });
                    self.end_without_a_grant(number, Phase::Expired);
                }
            }
            self.divide_again(&mut records);
        }
        self.now = self.now.max(now.micros());
        records
    }

    /// Applies an event. A refused event changes nothing.
    pub(crate) fn apply(&mut self, event: &Event) -> Vec<Record> {
        self.try_apply(event).unwrap_or_default()
    }

    /// The records of an event; none if it is refused.
    pub(crate) fn try_apply(&mut self, event: &Event) -> Option<Vec<Record>> {
        match event {
            Event::AddBlock { block, capacity } => {
                self.coordinates_are_right(capacity.units())?;
                self.add_block(block, widen(capacity.units()))
            }
            Event::RetireBlock { block } => self.retire_block(block),
            Event::WriteOff { unknown_blocks, .. } => Some(self.write_off(unknown_blocks)),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Match { claim, demands } => self.match_blocks(claim, demands),
            Event::Consume { claim, amount } => self.consume(claim, amount),
            Event::Release { claim, amount } => self.release(claim, amount),
            Event::Withdraw { claim } => self.withdraw(claim),
            Event::NeverRan { claim } => self.never_ran(claim),
            Event::Forget { claims, of } => self.forget(claims, of.as_deref()),
        }
    }

    fn coordinates_are_right(&self, units: &[i64]) -> Option<()> {
        (units.len() == self.rules.composition.coordinates()).then_some(())
    }

    fn find(&self, name: &ClaimId) -> Option<usize> {
        self.claims.iter().position(|claim| claim.arrival.claim == *name)
    }
}

fn waits(claim: &Claim) -> bool {
    claim.phase == Phase::Waiting && claim.matched
}

fn expires(claim: &Claim) -> Option<u64> {
    claim
        .arrival
        .timeout
        .map(|timeout| claim.arrived + timeout.micros())
}

fn widen(units: &[i64]) -> Vec<i128> {
    units.iter().copied().map(i128::from).collect()
}
