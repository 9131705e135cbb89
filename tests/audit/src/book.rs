//! [`Book`]: the claims and blocks of one ledger, counted from its records, with their history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    amounts::{add, is_something},
    rules::Rules,
};

/// Where a claim is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Waiting,
    Granted,
    Consumed,
    Released,
    Denied,
    Expired,
    Withdrawn,
}

impl Phase {
    pub(crate) const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Granted,
        Self::Consumed,
        Self::Released,
        Self::Denied,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// The phase as a status has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Granted => "Granted",
            Self::Consumed => "Consumed",
            Self::Released => "Released",
            Self::Denied => "Denied",
            Self::Expired => "Expired",
            Self::Withdrawn => "Withdrawn",
        }
    }
}

/// The amounts of a block, each with one number for each coordinate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) locked: Vec<i128>,
    pub(crate) available: Vec<i128>,
    pub(crate) allocated: Vec<i128>,
    pub(crate) consumed: Vec<i128>,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) capacity: Vec<i128>,
    pub(crate) allocated: Vec<i128>,
    pub(crate) consumed: Vec<i128>,
    /// What was locked and available when it was written off, which counts as consumed.
    pub(crate) written_off: Option<Sums>,
    pub(crate) retired: bool,
    /// When it was added, in microseconds.
    pub(crate) added: u64,
    /// The recorded steps of arrivals.
    pub(crate) arrivals: u64,
    /// Its amounts after each entry that changed them.
    pub(crate) history: Vec<(u64, Sums)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Its blocks in order, each with what it demands there.
    pub(crate) demands: Vec<(String, Vec<i128>)>,
    pub(crate) min_blocks: u64,
    /// When its timeout is over, in microseconds.
    pub(crate) expires: Option<u64>,
    pub(crate) arrived: u64,
    pub(crate) phase: Phase,
    /// What was consumed and released of each of its demands.
    pub(crate) consumed: Vec<Vec<i128>>,
    pub(crate) released: Vec<Vec<i128>>,
    /// Who asked for it, as the entry says in which it arrived.
    pub(crate) requester: Option<Value>,
    /// Its phase after each entry that changed it.
    pub(crate) history: Vec<(u64, Phase)>,
}

/// What one ledger says.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) rules: Rules,
    pub(crate) blocks: BTreeMap<String, Block>,
    pub(crate) claims: BTreeMap<String, Claim>,
    /// The last entry that was followed: its number, its hash and its time.
    pub(crate) head: u64,
    pub(crate) hash: String,
    pub(crate) time: u64,
    pub(crate) writers: BTreeSet<String>,
    pub(crate) events: u64,
    /// How many claims were ever granted, after each entry that granted some.
    pub(crate) granted: Vec<(u64, u64)>,
}

impl Block {
    pub(crate) fn new(capacity: Vec<i128>, added: u64) -> Self {
        let nothing = vec![0; capacity.len()];
        Self {
            allocated: nothing.clone(),
            consumed: nothing,
            capacity,
            written_off: None,
            retired: false,
            added,
            arrivals: 0,
            history: Vec::new(),
        }
    }

    /// Its amounts at the time `now`.
    pub(crate) fn sums(&self, rules: &Rules, now: u64) -> Sums {
        let (done, all) = rules.unlocking.steps(self.added, now, self.arrivals);
        let mut locked: Vec<i128> = self
            .capacity
            .iter()
            .map(|capacity| capacity - capacity * i128::from(done) / i128::from(all))
            .collect();
        let mut consumed = self.consumed.clone();
        if let Some(written_off) = &self.written_off {
            locked.fill(0);
            add(&mut consumed, &written_off.consumed, 1);
        }
        let mut available = self.capacity.clone();
        for part in [&locked, &self.allocated, &consumed] {
            add(&mut available, part, -1);
        }
        Sums {
            locked,
            available,
            allocated: self.allocated.clone(),
            consumed,
        }
    }

    /// Counts what isn't allocated as consumed, from now on.
    pub(crate) fn write_off(&mut self, rules: &Rules, now: u64) {
        let sums = self.sums(rules, now);
        let rest = sums.locked.iter().zip(&sums.available);
        self.written_off = Some(Sums {
            consumed: rest
                .map(|(locked, available)| (locked + available).max(0))
                .collect(),
            ..Sums::default()
        });
        self.retired = true;
    }

    /// Its amounts after an entry.
    pub(crate) fn sums_at(&self, sequence: u64) -> Option<&Sums> {
        let before = self.history.partition_point(|(at, _)| *at <= sequence);
        before.checked_sub(1).map(|at| &self.history[at].1)
    }
}

impl Claim {
    /// What is still allocated of its demand `at`.
    pub(crate) fn allocated(&self, at: usize) -> Vec<i128> {
        let mut left = self.demands[at].1.clone();
        add(&mut left, &self.consumed[at], -1);
        add(&mut left, &self.released[at], -1);
        left
    }

    /// Whether nothing of it is left allocated.
    pub(crate) fn is_settled(&self) -> bool {
        (0..self.demands.len()).all(|at| !is_something(&self.allocated(at)))
    }

    /// Whether anything of it was consumed.
    pub(crate) fn has_consumed(&self) -> bool {
        self.consumed.iter().any(|amounts| is_something(amounts))
    }

    /// Its phase after an entry.
    pub(crate) fn phase_at(&self, sequence: u64) -> Option<Phase> {
        let before = self.history.partition_point(|(at, _)| *at <= sequence);
        before.checked_sub(1).map(|at| self.history[at].1)
    }

    /// Whether it has as many blocks as it needs.
    pub(crate) fn is_matched(&self) -> bool {
        self.demands.len() as u64 >= self.min_blocks
    }
}

impl Book {
    /// Whether a claim that waits would fit on all its blocks now. An unknown or retired block fits nothing.
    pub(crate) fn fits(&self, claim: &Claim) -> bool {
        claim.demands.iter().all(|(name, demand)| {
            let block = self.blocks.get(name).filter(|block| !block.retired);
            block.is_some_and(|block| {
                let mut left = block.sums(&self.rules, self.time).available;
                add(&mut left, demand, -1);
                self.rules.holds(&left, &block.capacity)
            })
        })
    }

    /// How many claims were granted up to an entry.
    pub(crate) fn granted_at(&self, sequence: u64) -> u64 {
        let before = self.granted.partition_point(|(at, _)| *at <= sequence);
        before.checked_sub(1).map_or(0, |at| self.granted[at].1)
    }
}
