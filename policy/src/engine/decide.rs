//! The end of a claim's wait: it is granted, denied or withdrawn, or expires. And the clock: when it next may
//! change anything, which is kept in a sorted set of times.

use super::{
    Engine, Phase,
    blocks::Move,
    claims::Claim,
    decisions::{By, Cause, Decisions, NextWake, PolicyContext},
    state::State,
};
use crate::{Denial, Record, Time, Unlocking};

impl State {
    /// Grants a waiting claim, which must fit all its blocks. Returns whether others of its class still wait.
    pub(super) fn grant(&mut self, number: u32, records: &mut Vec<Record>) -> bool {
        let at = self.now;
        let demands = self.claims.get(number).demands(&self.demand_store);
        for demand in demands.iter() {
            self.blocks
                .get_mut(demand.block)
                .shift(demand.amounts, Move::Grant);
        }
        self.waiting.changed.extend(demands.blocks());
        let others_wait = self.leave(number);
        let claim = self.decided(number, Phase::Granted).name.clone();
        records.push(Record::Granted { claim, at });
        others_wait
    }

    /// Denies a waiting claim.
    pub(super) fn deny(&mut self, number: u32, reason: Denial, records: &mut Vec<Record>) {
        let at = self.now;
        self.leave(number);
        let claim = self.decided(number, Phase::Denied);
        claim.deny(reason.clone());
        let claim = claim.name.clone();
        records.push(Record::Denied { claim, reason, at });
    }

    /// Takes all claims out of a class. Returns them by arrival.
    pub(super) fn remove_class(&mut self, class: u32) -> Vec<u32> {
        let claims = self.waiting.remove_class(class, &self.demand_store);
        for claim in &claims {
            self.claims.get_mut(*claim).class = None;
        }
        claims
    }

    /// Takes a claim out of its class, if it is in one. Returns whether others are left there.
    pub(super) fn leave(&mut self, number: u32) -> bool {
        let class = self.claims.get(number).class;
        class.is_some_and(|class| self.waiting.leave(number, class, &self.demand_store))
    }

    /// Moves a claim, which has left its class, from waiting to `phase`.
    pub(super) fn decided(&mut self, number: u32, phase: Phase) -> &mut Claim {
        if let Some(expires) = self.claims.expires(self.claims.get(number)) {
            self.timeouts.remove(&(expires, number));
        }
        let claim = self.claims.get_mut(number);
        claim.decide(phase, self.now);
        claim
    }

    /// Why a claim can never be granted; none if it still can.
    pub(super) fn too_large(&self, number: u32) -> Option<Denial> {
        self.demands(number).iter().find_map(|demand| {
            let block = self.blocks.get(demand.block);
            let lack = block.never(demand.amounts, self.fit_rule)?;
            Some(Denial::TooLarge {
                block: block.name.clone(),
                coordinate: lack.coordinate,
                asked: lack.amount,
                left: lack.account.reported_left(),
            })
        })
    }

    /// When the clock unlocks enough of a block for a class that watches it.
    pub(super) fn next_fit(&mut self, number: u32) -> Option<Time> {
        let block = self.blocks.get(number);
        if block.schedule.is_complete() {
            return None;
        }
        let least = self.waiting.least_watched(number, &self.demand_store);
        let steps =
            least.filter_map(|(coordinate, demanded)| block.step_for(coordinate, demanded, self.fit_rule));
        steps.min().and_then(|step| block.schedule.time_of(step))
    }
}

impl Engine {
    /// Lets the policy grant what can be granted now.
    pub(super) fn let_policy_decide(&mut self, cause: &Cause, records: &mut Vec<Record>) {
        self.state.waiting.changed.extend(&cause.raised);
        self.policy
            .decide(&mut Decisions::new(&mut self.state, records), cause);
        self.state.watch_again();
    }

    /// Denies a waiting claim.
    pub(super) fn deny(&mut self, number: u32, reason: Denial, records: &mut Vec<Record>) {
        self.policy.claim_left(number, self.state.demands(number));
        self.state.deny(number, reason, records);
    }

    /// Ends the wait of a claim that is neither granted nor denied.
    pub(super) fn end(&mut self, number: u32, phase: Phase) -> &Claim {
        self.policy.claim_left(number, self.state.demands(number));
        self.state.leave(number);
        self.state.decided(number, phase)
    }

    /// Denies the waiting claims that can never fit these blocks again, by arrival.
    pub(super) fn deny_infeasible(&mut self, blocks: &[u32], records: &mut Vec<Record>) {
        let mut claims = Vec::new();
        for number in blocks {
            let block = self.state.blocks.get(*number);
            for class in self.state.waiting.infeasible(block, &self.state.demand_store) {
                claims.extend(self.state.remove_class(class));
            }
        }
        claims.sort_unstable();
        for number in claims {
            if let Some(reason) = self.state.too_large(number) {
                self.deny(number, reason, records);
            }
        }
        self.divide_again(records);
    }

    /// Lets the policy decide about what it held back for claims that have ended without a grant.
    pub(super) fn divide_again(&mut self, records: &mut Vec<Record>) {
        let raised = self.policy.take_freed();
        if !raised.is_empty() {
            let cause = Cause {
                raised,
                new: None,
                by: By::Return,
            };
            self.let_policy_decide(&cause, records);
        }
    }

    /// Takes the steps of the clock up to `at` that may let a claim fit.
    pub(super) fn wake(&mut self, at: Time, records: &mut Vec<Record>) {
        let mut raised = Vec::new();
        while let Some((time, number)) = self.state.wakes.first().copied()
            && time <= at
        {
            self.state.wakes.pop_first();
            self.state.wake_of[number as usize] = None;
            self.state.blocks.get_mut(number).settle(at);
            raised.push(number);
        }
        if !raised.is_empty() {
            let cause = Cause {
                raised,
                new: None,
                by: By::Clock,
            };
            self.let_policy_decide(&cause, records);
            self.plan_wakes();
        }
    }

    /// Ends the wait of the claims whose timeout is over at `at`, by time, then by arrival.
    pub(super) fn expire(&mut self, at: Time, records: &mut Vec<Record>) {
        while let Some((time, number)) = self.state.timeouts.first().copied()
            && time <= at
        {
            let claim = self.end(number, Phase::Expired).name.clone();
            records.push(Record::Expired { claim, at: time });
        }
        self.divide_again(records);
        self.plan_wakes();
    }

    /// Computes when the clock next matters at the blocks that have changed.
    pub(super) fn plan_wakes(&mut self) {
        let mut changed = std::mem::take(&mut self.state.waiting.changed);
        if !matches!(self.state.rules.unlocking, Unlocking::Lifetime { .. }) {
            changed.clear();
        }
        changed.sort_unstable();
        changed.dedup();
        for number in changed.drain(..) {
            let next = match self.policy.next_wake(PolicyContext::new(&self.state), number) {
                NextWake::FirstFit => self.state.next_fit(number),
                NextWake::NextTick => self.state.blocks.get(number).schedule.tick_after(self.state.now),
                NextWake::Never => None,
            };
            let before = std::mem::replace(&mut self.state.wake_of[number as usize], next);
            if before != next {
                if let Some(before) = before {
                    self.state.wakes.remove(&(before, number));
                }
                if let Some(next) = next {
                    self.state.wakes.insert((next, number));
                }
            }
        }
        // Keeps the memory of the vector.
        self.state.waiting.changed = changed;
    }
}
