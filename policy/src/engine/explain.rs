//! Why a claim waits, and what would change it. Changes nothing. An explanation costs a look at the claim's
//! blocks, a standing also one at every waiting class.

use std::cmp::Ordering;

use super::{
    Engine, Explanation, Lack, Standing, Unlocks,
    blocks::{Block, FitRule},
    decisions::{PolicyContext, SetAside},
    demands::BlockDemand,
    order::dominant_share,
    state::State,
    waiting::Class,
};

impl Engine {
    /// Why a waiting claim waits.
    pub(super) fn explanation(&self, number: u32) -> Explanation {
        let claim = self.state.claims.get(number);
        let demands = self.state.demands(number);
        let unmatched = (!claim.matched).then(|| {
            let matched = self.state.demand_store.get(claim.demands_id).count();
            (matched, self.state.claims.terms(claim).min_blocks)
        });
        let lacks = demands.iter().flat_map(|demand| {
            let Some(set_aside) = self.set_aside(number, demand) else {
                return self.state.lacks(demand);
            };
            let lacks = self.state.needs_beside(demand, &set_aside).into_iter();
            lacks.filter(|lack| lack.missing > 0).collect()
        });
        Explanation {
            unmatched,
            lacks: lacks.collect(),
            dominant_share: dominant_share(demands, self.state.blocks.list(), self.state.rules.share_rule())
                .map(|share| (share.amount, share.of)),
            expires: self.state.claims.expires(claim),
        }
    }

    /// What each block has for a waiting claim, and the claim's place in the order.
    pub(super) fn standing_of(&self, number: u32) -> Standing {
        let needs = self.state.demands(number).iter().flat_map(|demand| {
            let set_aside = self.set_aside(number, demand);
            set_aside.map_or_else(
                || self.state.needs(demand),
                |set_aside| self.state.needs_beside(demand, &set_aside),
            )
        });
        let needs = needs.collect();
        let class = self.state.claims.get(number).class;
        let context = PolicyContext::new(&self.state);
        let ahead = class.and_then(|class| self.policy.ahead(context, number, class));
        Standing { needs, ahead }
    }

    fn set_aside(&self, claim: u32, demand: BlockDemand<'_>) -> Option<Vec<SetAside>> {
        self.policy
            .set_aside(PolicyContext::new(&self.state), claim, demand)
    }
}

impl State {
    /// How many waiting claims go before one: those of classes that go before its own, and those of classes
    /// that are equal in the order and that arrived before it.
    pub(super) fn count_ahead(&self, claim: u32, compare: impl Fn(&Class) -> Ordering) -> usize {
        let counts = self.waiting.classes().map(|(_, class)| match compare(class) {
            Ordering::Less => class.size(),
            Ordering::Equal => class.before(claim),
            Ordering::Greater => 0,
        });
        counts.sum()
    }

    /// What a block has for a claim at each coordinate that counts, whether it lacks anything there or not.
    fn needs(&self, demand: BlockDemand<'_>) -> Vec<Lack> {
        let mut block = self.blocks.get(demand.block).clone();
        block.settle(self.now);
        let amounts = demand.amounts.iter().zip(&block.accounts).enumerate();
        let counted = amounts
            .filter(|(_, (_, account))| self.fit_rule == FitRule::EveryCoordinate || account.capacity > 0);
        let needs = counted.map(|(coordinate, (demanded, account))| Lack {
            block: block.name.clone(),
            coordinate,
            asked: *demanded,
            available: account.available,
            missing: i128::from(*demanded) - account.available,
            locked: account.locked,
            unlocks: unlocks(&block, block.step_for(coordinate, *demanded, self.fit_rule)),
        });
        needs.collect()
    }

    /// [`needs`](Self::needs), where the amount that the policy has set aside for the claim counts as
    /// available.
    fn needs_beside(&self, demand: BlockDemand<'_>, set_aside: &[SetAside]) -> Vec<Lack> {
        let mut block = self.blocks.get(demand.block).clone();
        block.settle(self.now);
        let mut needs = self.needs(demand);
        for need in &mut needs {
            let set_aside = set_aside[need.coordinate];
            need.available = i128::from(set_aside.amount);
            need.missing = i128::from(need.asked) - need.available;
            if need.missing > 0 {
                need.unlocks = unlocks(&block, set_aside.complete_after);
            }
        }
        needs
    }

    /// What a block lacks for a claim: at each coordinate that lacks (basic composition), or at the order
    /// that lacks least of those at which enough is not consumed (Renyi).
    fn lacks(&self, demand: BlockDemand<'_>) -> Vec<Lack> {
        let mut block = self.blocks.get(demand.block).clone();
        block.settle(self.now);
        if block.lacking(demand.amounts, self.fit_rule).is_none() {
            return Vec::new();
        }
        let lacks = demand.amounts.iter().zip(&block.accounts).enumerate();
        let lacks = lacks.map(|(coordinate, (demanded, account))| Lack {
            block: block.name.clone(),
            coordinate,
            asked: *demanded,
            available: account.available,
            missing: i128::from(*demanded) - account.available,
            locked: account.locked,
            unlocks: Unlocks::OnlyReturned,
        });
        match self.fit_rule {
            FitRule::EveryCoordinate => lacks
                .filter(|lack| lack.missing > 0)
                .map(|lack| Lack {
                    unlocks: unlocks(&block, block.step_for(lack.coordinate, lack.asked, self.fit_rule)),
                    ..lack
                })
                .collect(),
            FitRule::SomeOrder => {
                let demanded = demand.amounts.iter().enumerate();
                let step = demanded
                    .filter_map(|(at, demanded)| block.step_for(at, *demanded, self.fit_rule))
                    .min();
                let possible = lacks.filter(|lack| {
                    let account = &block.accounts[lack.coordinate];
                    account.capacity > 0 && i128::from(lack.asked) <= account.left()
                });
                let least = possible.min_by_key(|lack| lack.missing);
                least
                    .map(|lack| Lack {
                        unlocks: unlocks(&block, step),
                        ..lack
                    })
                    .into_iter()
                    .collect()
            }
        }
    }
}

/// What would make enough available, if `step` does.
fn unlocks(block: &Block, step: Option<u64>) -> Unlocks {
    let Some(step) = step else {
        return Unlocks::OnlyReturned;
    };
    // A step that was taken needs no arrival.
    let arrivals = Unlocks::Arrivals(step.saturating_sub(block.schedule.done()));
    block.schedule.time_of(step).map_or(arrivals, Unlocks::At)
}
