//! The narrow interface between the engine and its policy: what a policy may read ([`PolicyContext`]), what
//! it may do ([`Decisions`]), why it is called ([`Cause`]), and what it returns ([`SetAside`], [`NextWake`]).
//! A policy never gets the [`State`] of the engine itself.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    blocks::{Block, FitRule},
    demands::BlockDemands,
    state::State,
    waiting::Class,
};
use crate::{Denial, Record, Time};

/// What has changed since nothing more could be granted.
#[derive(Debug)]
pub(super) struct Cause {
    /// The blocks that have got more available budget.
    pub(super) raised: Vec<u32>,
    /// The class of the claim that has just arrived, if it may fit.
    pub(super) new: Option<u32>,
    pub(super) by: By,
}

/// What kind of event has changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This claim arrived or was matched, and was denied or joined the queue.
    Arrival(u32),
    /// The clock unlocked budget.
    Clock,
    /// Allocated or consumed budget of a claim returned, or what was held back for a claim that ended.
    Return,
}

/// What a policy holds back for one waiting claim at one coordinate of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetAside {
    pub(super) amount: i64,
    /// The unlocking step after which the amount is all that the claim demands there, if no other claim
    /// arrives; none if no step suffices.
    pub(super) complete_after: Option<u64>,
}

/// When the clock next matters to a policy at a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextWake {
    /// When it unlocks enough for a claim that watches the block.
    FirstFit,
    /// At the next tick.
    NextTick,
    Never,
}

/// What a policy may read of the engine. Blocks and classes go by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyContext<'a> {
    state: &'a State,
}

/// What a policy may do while it decides. Each decision takes effect, and is recorded, at once.
#[derive(Debug)]
pub(super) struct Decisions<'a> {
    state: &'a mut State,
    records: &'a mut Vec<Record>,
}

impl<'a> PolicyContext<'a> {
    pub(super) const fn new(state: &'a State) -> Self {
        Self { state }
    }

    pub(super) const fn fit_rule(self) -> FitRule {
        self.state.fit_rule
    }

    pub(super) const fn now(self) -> Time {
        self.state.now
    }

    /// A block as of the last time that it was settled: steps of the clock since then are not in it.
    pub(super) fn block(self, number: u32) -> &'a Block {
        self.state.blocks.get(number)
    }

    /// Whether an arrival that is denied at once unlocks budget all the same.
    pub(super) fn denied_arrivals_unlock(self) -> bool {
        self.state.rules.revision.denied_arrivals_unlock()
    }

    /// A copy of a block as of now, with the step that an arrival for it would unlock.
    pub(super) fn block_after_arrival(self, number: u32) -> Block {
        let mut block = self.settled_block(number);
        block.arrive();
        block
    }

    /// A copy of a block as of now.
    pub(super) fn settled_block(self, number: u32) -> Block {
        let mut block = self.block(number).clone();
        block.settle(self.state.now);
        block
    }

    /// A class of equal waiting claims; none once its last claim has left.
    pub(super) fn class(self, number: u32) -> Option<&'a Class> {
        self.state.waiting.class(number)
    }

    /// Every class.
    pub(super) fn classes(self) -> impl Iterator<Item = (u32, &'a Class)> {
        self.state.waiting.classes()
    }

    /// Every class that demands a block, but for one that has just arrived.
    pub(super) fn classes_at(self, block: u32) -> impl Iterator<Item = u32> + 'a {
        self.state.waiting.at_block(block)
    }

    /// What each claim of a class demands of each of its blocks.
    pub(super) fn demands_of(self, class: &Class) -> BlockDemands<'a> {
        self.state.demands_of(class)
    }

    /// What a claim demands of each of its blocks. Empty while it matches too few.
    pub(super) fn demands(self, claim: u32) -> BlockDemands<'a> {
        self.state.demands(claim)
    }

    /// Whether a class fits all its blocks.
    pub(super) fn fits(self, class: u32) -> bool {
        self.state.fits(class)
    }

    /// Whether a class fits all its blocks and leaves these `reserves` there: amounts at each coordinate, by
    /// block.
    pub(super) fn fits_beside(self, class: u32, reserves: &HashMap<u32, Vec<i128>>) -> bool {
        self.state.fits_beside(class, reserves)
    }

    /// How many waiting claims go before one, where `compare` tells how another class stands to the claim's
    /// own. Looks at every class.
    pub(super) fn count_ahead(self, claim: u32, compare: impl Fn(&Class) -> Ordering) -> usize {
        self.state.count_ahead(claim, compare)
    }

    /// Every waiting claim that has its blocks, sorted by `key` of its class, then by arrival.
    pub(super) fn in_order<K: Ord>(self, key: impl Fn(&'a Class) -> K) -> Vec<u32> {
        let mut classes: Vec<(K, &Class)> = self.classes().map(|(_, class)| (key(class), class)).collect();
        classes.sort_by(|one, other| one.0.cmp(&other.0));
        let mut claims = Vec::new();
        for equal in classes.chunk_by(|one, other| one.0 == other.0) {
            let mut group: Vec<u32> = equal.iter().flat_map(|(_, class)| class.claims()).collect();
            group.sort_unstable();
            claims.append(&mut group);
        }
        claims
    }
}

impl<'a> Decisions<'a> {
    pub(super) const fn new(state: &'a mut State, records: &'a mut Vec<Record>) -> Self {
        Self { state, records }
    }

    pub(super) const fn context(&self) -> PolicyContext<'_> {
        PolicyContext::new(self.state)
    }

    /// Brings a block's unlocked budget up to the present.
    pub(super) fn settle(&mut self, block: u32) {
        self.state.blocks.get_mut(block).settle(self.state.now);
    }

    /// Grants whatever fits after `cause`, in the order of [`shares`](super::policies::PolicyHooks::shares).
    /// Costs what is granted, however many wait.
    pub(super) fn grant_in_order(&mut self, cause: &Cause) {
        self.state.grant_in_order(cause, self.records);
    }

    /// Every class that fits after `cause`, each once, by number.
    pub(super) fn fitting(&mut self, cause: &Cause) -> Vec<u32> {
        self.state.all_fitting(cause)
    }

    /// Grants the claims of `classes` that `admits` lets in, in the order of
    /// [`shares`](super::policies::PolicyHooks::shares).
    pub(super) fn walk(&mut self, classes: Vec<u32>, admits: impl Fn(PolicyContext<'_>, u32) -> bool) {
        let admits = |state: &State, class: u32| admits(PolicyContext::new(state), class);
        self.state.walk(classes, admits, self.records);
    }

    /// Grants a waiting claim, for which there must be enough on all its blocks. Returns whether others of
    /// its class still wait.
    pub(super) fn grant(&mut self, claim: u32) -> bool {
        self.state.grant(claim, self.records)
    }

    /// Denies a waiting claim.
    pub(super) fn deny(&mut self, claim: u32, reason: Denial) {
        self.state.deny(claim, reason, self.records);
    }

    /// Asks the policy again, after this event, when the clock next matters at a block.
    pub(super) fn plan_wake(&mut self, block: u32) {
        self.state.waiting.changed.push(block);
    }
}
