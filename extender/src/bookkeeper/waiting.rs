//! Why claims wait: looked at again from time to time, since others come and go before them.

use std::ops::Bound;

use privatekube_policy::{BlockId, ClaimId, Engine, Policy, Unlocking};

use super::{
    Bookkeeper, BookkeeperError,
    explain::{self, Why},
};
use crate::writers::StatusKey;

/// Waiting claims whose reason is looked at each time.
const MOST_EXPLAINED: usize = 200;

impl Bookkeeper {
    /// Looks again why some of the waiting claims wait, and how blocks stand that the clock unlocks.
    pub(super) fn explain_some(&mut self) -> Result<(), BookkeeperError> {
        let after = self.explained.take();
        let Some(engine) = self.engine()? else {
            return Ok(());
        };
        let by_clock = matches!(engine.rules().unlocking, Unlocking::Lifetime { .. });
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let waiting = self.waiting.range((after, Bound::Unbounded));
        let next: Vec<ClaimId> = waiting.take(MOST_EXPLAINED).cloned().collect();
        for id in &next {
            self.explain(engine, id);
        }
        if next.len() == MOST_EXPLAINED {
            self.explained = next.last().cloned();
        }
        if by_clock {
            let names = self.blocks.keys();
            let blocks: Vec<BlockId> = names.map(|name| BlockId::from(name.as_str())).collect();
            for block in blocks {
                self.tell_block(&block)?;
            }
        }
        Ok(())
    }

    /// Tells why a claim waits, if that isn't what was told.
    pub(super) fn explain(&self, engine: &Engine, id: &ClaimId) {
        let Some(mut view) = self.desk.view.claim(id).map(|view| (*view).clone()) else {
            return;
        };
        let Some(why) = self.why_it_waits(engine, id) else {
            return;
        };
        for condition in &mut view.status.conditions {
            why.reason.clone_into(&mut condition.reason);
            condition.message.clone_from(&why.message);
        }
        view.status.reason = Some(why.reason.to_owned());
        view.status.message = Some(why.message);
        if self.desk.view.put_claim(id.clone(), view) {
            self.desk.statuses.write(StatusKey::Claim(id.clone()));
        }
    }

    /// Why a claim waits; none if it doesn't.
    pub(super) fn why_it_waits(&self, engine: &Engine, id: &ClaimId) -> Option<Why> {
        let explanation = engine.explain(id)?;
        if let Some(problem) = self.oversized.get(id) {
            return Some(explain::oversized(problem, &explanation));
        }
        let few = self.waiting.len() <= most_placed(engine.rules().policy);
        let standing = few.then(|| engine.standing(id)).flatten();
        let ahead = standing.and_then(|standing| standing.ahead);
        Some(explain::waits(&explanation, ahead, engine.rules()))
    }
}

/// So many claims may wait for a claim's place in the order to be told: all that wait are looked at for each place, and
/// under DPack at each of their blocks and orders. For 50 claims on 10 blocks each that takes some 20 ms in all.
const fn most_placed(policy: Policy) -> usize {
    match policy {
        Policy::Dpack { .. } => 50,
        Policy::Dpf | Policy::Fcfs { .. } | Policy::RoundRobin | Policy::Blend { .. } => MOST_EXPLAINED,
    }
}
