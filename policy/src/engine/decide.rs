//! Who is granted, denied or expires, and when.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use super::{
    Engine, Phase,
    books::Move,
    claims::Claim,
    order::Rank,
    policies::{By, Cause},
    waiting::Class,
};
use crate::{Denial, Record, Time, Unlocking};

/// A class in a walk's queue, ordered by the claim of it that goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Arc<Rank>,
    claim: u32,
    class: u32,
}

impl Engine {
    /// Lets the policy grant what can be granted now.
    pub(super) fn pass(&mut self, cause: &Cause, records: &mut Vec<Record>) {
        let policy = Arc::clone(&self.policy);
        policy.decide(self, cause, records);
    }

    /// Grants what fits after `cause`, in the order of ranks.
    ///
    /// Before, no waiting claim fitted; a claim that now does watches a block that was raised, or has come. Within a walk
    /// budgets only fall: what has been skipped can't fit later, and what a block keeps waiting again needs no look. So
    /// the outcome is that of a walk over all waiting claims, of which this one sees only the first of each block.
    pub(super) fn walk_awakened(&mut self, cause: &Cause, records: &mut Vec<Record>) {
        let mut queue = BinaryHeap::new();
        queue.extend(
            cause
                .new
                .and_then(|class| self.candidate(class))
                .map(|new| (new, None)),
        );
        for block in &cause.raised {
            self.waiting.touched.push(*block);
            queue.extend(self.first_awakened(*block));
        }
        while let Some((Reverse(candidate), block)) = queue.pop() {
            let (claim, class) = (candidate.claim, candidate.class);
            // Another block's candidate may have taken what this one was awakened by.
            if let Some(block) = block {
                let first = self.first_awakened(block);
                if !matches!(&first, Some((Reverse(first), _)) if first.claim == claim) {
                    queue.extend(first);
                    continue;
                }
            }
            if self.fits_or_watches(class) {
                self.grant(claim, records);
                self.waiting.leave(claim, class);
            }
            queue.extend(block.and_then(|block| self.first_awakened(block)));
        }
    }

    fn first_awakened(&mut self, block: u32) -> Option<(Reverse<Candidate>, Option<u32>)> {
        let class = self.waiting.first_awakened(block, self.blocks.get(block))?;
        Some((self.candidate(class)?, Some(block)))
    }

    /// The classes that may fit after `cause`, each once, in no order.
    pub(super) fn stirred(&mut self, cause: &Cause) -> Vec<u32> {
        let mut classes: Vec<u32> = cause.new.into_iter().collect();
        for number in &cause.raised {
            self.waiting.touched.push(*number);
            classes.extend(self.waiting.awakened(*number, self.blocks.get(*number)));
        }
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Grants what `admits` lets in, in the order of ranks.
    ///
    /// If `admits` is a matter of what is unlocked, the outcome is that of a walk over all waiting claims: within it
    /// budgets only fall, so what has been skipped can't fit later.
    pub(super) fn walk(
        &mut self,
        classes: Vec<u32>,
        mut admits: impl FnMut(&mut Self, u32) -> bool,
        records: &mut Vec<Record>,
    ) {
        let candidates = classes.into_iter().filter_map(|class| self.candidate(class));
        let mut queue: BinaryHeap<_> = candidates.collect();
        while let Some(Reverse(Candidate { claim, class, .. })) = queue.pop() {
            if admits(self, class) {
                self.grant(claim, records);
                if self.waiting.leave(claim, class) {
                    queue.extend(self.candidate(class));
                }
            }
        }
    }

    fn candidate(&self, number: u32) -> Option<Reverse<Candidate>> {
        let class = self.waiting.class(number)?;
        Some(Reverse(Candidate {
            rank: Arc::clone(&class.rank),
            claim: class.head()?,
            class: number,
        }))
    }

    /// Whether a class fits all its blocks; if not, it watches one that it doesn't fit.
    pub(super) fn fits_or_watches(&mut self, class: u32) -> bool {
        let blocking = self.blocking(class);
        if let Some((part, coordinate)) = blocking {
            self.waiting.watch(class, part, coordinate, self.blocks.list());
        }
        blocking.is_none()
    }

    /// Whether a class fits all its blocks and leaves these `reserves` there.
    pub(super) fn fits_beside(&self, class: u32, reserves: &HashMap<u32, Vec<i128>>) -> bool {
        let parts = self.waiting.class(class).map(Class::parts);
        parts.is_some_and(|parts| {
            parts.iter().all(|part| {
                let reserve = reserves.get(&part.block);
                reserve.is_some_and(|reserve| {
                    self.blocks
                        .get(part.block)
                        .fits_beside(&part.budget, self.rule, reserve)
                })
            })
        })
    }

    /// The part and coordinate that keep a class waiting; none if it fits all its blocks. The block that it watches
    /// already is preferred.
    fn blocking(&mut self, class: u32) -> Option<(usize, usize)> {
        let class = self.waiting.class(class)?;
        let parts = class.parts();
        for part in parts.iter() {
            self.blocks.get_mut(part.block).settle(self.now);
        }
        let first = class.watched_part().into_iter();
        first.chain(0..parts.len()).find_map(|at| {
            let block = self.blocks.get(parts[at].block);
            let lacking = block.lacking(&parts[at].budget, self.rule);
            lacking.map(|coordinate| (at, coordinate))
        })
    }

    /// Grants a claim, which must have all it asks; its class is not left by that.
    pub(super) fn grant(&mut self, number: u32, records: &mut Vec<Record>) {
        let at = self.now;
        let claim = self.claims.get_mut(number);
        claim.decide(Phase::Granted, at);
        self.gathering.forget(number, &claim.parts);
        for part in claim.parts.iter() {
            self.blocks
                .get_mut(part.block)
                .shift(part.budget.units(), Move::Grant);
            self.waiting.touched.push(part.block);
        }
        if let Some(expires) = claim.expires() {
            self.timeouts.remove(&(expires, number));
        }
        records.push(Record::Granted {
            claim: claim.arrival.claim.clone(),
            at,
        });
    }

    /// Ends the wait of a claim that isn't granted; its class must have been left already.
    pub(super) fn end(&mut self, number: u32, phase: Phase) -> &mut Claim {
        let claim = self.claims.get_mut(number);
        claim.decide(phase, self.now);
        self.waiting
            .touched
            .extend(claim.parts.iter().map(|part| part.block));
        self.gathering.forget(number, &claim.parts);
        if let Some(expires) = claim.expires() {
            self.timeouts.remove(&(expires, number));
        }
        claim
    }

    pub(super) fn deny(&mut self, number: u32, reason: Denial, records: &mut Vec<Record>) {
        let at = self.now;
        let claim = self.end(number, Phase::Denied);
        claim.denial = Some(reason.clone());
        records.push(Record::Denied {
            claim: claim.arrival.claim.clone(),
            reason,
            at,
        });
    }

    /// Why a claim can never be granted; none if it still can.
    pub(super) fn too_large(&self, claim: &Claim) -> Option<Denial> {
        claim.parts.iter().find_map(|part| {
            let block = self.blocks.get(part.block);
            let coordinate = block.never(&part.budget, self.rule)?;
            // An amount beyond 64 bits can only be overdrawn that far.
            let left = block
                .accounts
                .get(coordinate)
                .map_or(0, super::books::Account::left);
            Some(Denial::TooLarge {
                block: block.name.clone(),
                coordinate: u32::try_from(coordinate).unwrap_or(u32::MAX),
                asked: part.budget.units().get(coordinate).copied().unwrap_or(0),
                left: i64::try_from(left).unwrap_or(i64::MIN),
            })
        })
    }

    /// Denies the waiting claims that the budget left of these blocks can never satisfy.
    pub(super) fn deny_hopeless(&mut self, blocks: &[u32], records: &mut Vec<Record>) {
        let mut claims = Vec::new();
        for number in blocks {
            for class in self.waiting.hopeless(*number, self.blocks.get(*number)) {
                claims.extend(self.waiting.dissolve(class));
            }
        }
        claims.sort_unstable();
        for number in claims {
            if let Some(reason) = self.too_large(self.claims.get(number)) {
                self.deny(number, reason, records);
            }
        }
    }

    /// Takes the steps of the clock at `at` that may let a claim fit.
    pub(super) fn wake(&mut self, at: Time, records: &mut Vec<Record>) {
        let mut raised = Vec::new();
        while let Some((time, number)) = self.wakes.first().copied()
            && time <= at
        {
            self.wakes.pop_first();
            self.wake_of[number as usize] = None;
            self.blocks.get_mut(number).settle(at);
            raised.push(number);
        }
        if !raised.is_empty() {
            let cause = Cause {
                raised,
                new: None,
                by: By::Clock,
            };
            self.pass(&cause, records);
            self.plan_wakes();
        }
    }

    /// Ends the wait of claims whose timeout is over, by arrival.
    pub(super) fn expire(&mut self, at: Time, records: &mut Vec<Record>) {
        while let Some((time, number)) = self.timeouts.first().copied()
            && time <= at
        {
            if let Some(class) = self.claims.get(number).class {
                self.waiting.leave(number, class);
            }
            let claim = self.end(number, Phase::Expired);
            records.push(Record::Expired {
                claim: claim.arrival.claim.clone(),
                at: time,
            });
        }
        self.plan_wakes();
    }

    /// Works out anew when the clock next matters at the blocks where something has changed.
    pub(super) fn plan_wakes(&mut self) {
        let mut touched = std::mem::take(&mut self.waiting.touched);
        if !matches!(self.setting.unlocking, Unlocking::Lifetime { .. }) {
            touched.clear();
        }
        touched.sort_unstable();
        touched.dedup();
        let policy = Arc::clone(&self.policy);
        for number in touched.drain(..) {
            let next = policy.next_wake(self, number);
            let before = std::mem::replace(&mut self.wake_of[number as usize], next);
            if before != next {
                if let Some(before) = before {
                    self.wakes.remove(&(before, number));
                }
                if let Some(next) = next {
                    self.wakes.insert((next, number));
                }
            }
        }
        // Keeps what was reserved.
        self.waiting.touched = touched;
    }

    /// When the clock unlocks so much of a block that a class that watches it may fit.
    pub(super) fn next_fit(&mut self, number: u32) -> Option<Time> {
        let block = self.blocks.get(number);
        if block.meter.is_complete() {
            return None;
        }
        let least = self.waiting.least_watched(number);
        let steps = least.filter_map(|(coordinate, asked)| block.step_for(coordinate, asked, self.rule));
        steps.min().and_then(|step| block.meter.time_of(step))
    }
}
