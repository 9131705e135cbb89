//! Who is granted, denied or expires, and when.

use std::sync::Arc;

use super::{
    Engine, Phase,
    books::Move,
    claims::Claim,
    policies::{By, Cause},
};
use crate::{Denial, Record, Time, Unlocking};

impl Engine {
    /// Grants a claim, which must have all it asks; its class is not left by that.
    pub(super) fn grant(&mut self, number: u32, records: &mut Vec<Record>) {
        let at = self.now;
        let claim = self.claims.get_mut(number);
        claim.decide(Phase::Granted, at);
        let claim = claim.name.clone();
        let parts = self.claims.get(number).parts(&self.asks);
        for part in parts.iter() {
            self.blocks.get_mut(part.block).shift(part.asked, Move::Grant);
        }
        self.waiting.touched.extend(parts.blocks());
        self.wait_no_longer(number);
        records.push(Record::Granted { claim, at });
    }

    /// Ends the wait of a claim that isn't granted; its class must have been left already.
    pub(super) fn end(&mut self, number: u32, phase: Phase) -> &mut Claim {
        self.claims.get_mut(number).decide(phase, self.now);
        self.wait_no_longer(number);
        self.claims.get_mut(number)
    }

    fn wait_no_longer(&mut self, number: u32) {
        let claim = self.claims.get(number);
        self.gathering.forget(number, claim.parts(&self.asks));
        if let Some(expires) = self.claims.expires(claim) {
            self.timeouts.remove(&(expires, number));
        }
    }

    pub(super) fn deny(&mut self, number: u32, reason: Denial, records: &mut Vec<Record>) {
        let at = self.now;
        let claim = self.end(number, Phase::Denied);
        claim.deny(reason.clone());
        let claim = claim.name.clone();
        records.push(Record::Denied { claim, reason, at });
    }

    /// Why a claim can never be granted; none if it still can.
    pub(super) fn too_large(&self, number: u32) -> Option<Denial> {
        self.parts(number).iter().find_map(|part| {
            let block = self.blocks.get(part.block);
            let coordinate = block.never(part.asked, self.rule)?;
            // An amount beyond 64 bits can only be overdrawn that far.
            let left = block
                .accounts
                .get(coordinate)
                .map_or(0, super::books::Account::left);
            Some(Denial::TooLarge {
                block: block.name.clone(),
                coordinate: u32::try_from(coordinate).unwrap_or(u32::MAX),
                asked: part.asked.get(coordinate).copied().unwrap_or(0),
                left: i64::try_from(left).unwrap_or(i64::MIN),
            })
        })
    }

    /// Denies the waiting claims that the budget left of these blocks can never satisfy.
    pub(super) fn deny_hopeless(&mut self, blocks: &[u32], records: &mut Vec<Record>) {
        let mut claims = Vec::new();
        for number in blocks {
            let block = self.blocks.get(*number);
            for class in self.waiting.hopeless(block, &self.asks) {
                claims.extend(self.waiting.dissolve(class, &self.asks));
            }
        }
        claims.sort_unstable();
        for number in claims {
            if let Some(reason) = self.too_large(number) {
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
                self.leave(number, class);
            }
            let claim = self.end(number, Phase::Expired);
            let claim = claim.name.clone();
            records.push(Record::Expired { claim, at: time });
        }
        self.plan_wakes();
    }

    /// Works out anew when the clock next matters at the blocks where something has changed.
    pub(super) fn plan_wakes(&mut self) {
        let mut touched = std::mem::take(&mut self.waiting.touched);
        if !matches!(self.rules.unlocking, Unlocking::Lifetime { .. }) {
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
        let least = self.waiting.least_watched(number, &self.asks);
        let steps = least.filter_map(|(coordinate, asked)| block.step_for(coordinate, asked, self.rule));
        steps.min().and_then(|step| block.meter.time_of(step))
    }
}
