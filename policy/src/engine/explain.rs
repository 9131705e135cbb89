//! Why a claim waits, and what would change it.

use std::cmp::Ordering;

use super::{
    Engine, Explanation, Lack, Standing, Unlocks,
    asks::Part,
    books::{Block, Rule},
    order::dominant_share,
    waiting::Class,
};

impl Engine {
    pub(super) fn why(&self, number: u32) -> Explanation {
        let claim = self.claims.get(number);
        let parts = self.parts(number);
        let unmatched = (!claim.matched).then(|| {
            let matched = u32::try_from(self.asks.get(claim.ask).len()).unwrap_or(u32::MAX);
            (matched, self.claims.terms(claim).min_blocks)
        });
        Explanation {
            unmatched,
            lacks: parts
                .iter()
                .flat_map(|part| {
                    let gathered = self.gathering.of(number, part);
                    gathered.map_or_else(|| self.lacks(part), |gathered| self.to_gather(part, &gathered))
                })
                .collect(),
            dominant_share: dominant_share(parts, self.blocks.list()).map(|share| (share.asked, share.of)),
            expires: self.claims.expires(claim),
        }
    }

    pub(super) fn stands(&self, number: u32) -> Standing {
        let claim = self.claims.get(number);
        let needs = self.parts(number).iter().flat_map(|part| {
            let mut block = self.blocks.get(part.block).clone();
            block.settle(self.now);
            let gathered = self.gathering.of(number, part);
            let gathering = gathered.map(|gathered| self.to_gather(part, &gathered));
            let amounts = part.asked.iter().zip(&block.accounts).enumerate();
            let counted = amounts.filter(|(_, (_, account))| self.rule == Rule::All || account.capacity > 0);
            let needs = counted.map(|(coordinate, (asked, account))| {
                let to_gather = gathering
                    .iter()
                    .flatten()
                    .find(|lack| lack.coordinate == coordinate);
                to_gather.cloned().unwrap_or_else(|| {
                    // Under round robin, what does not lack has been gathered.
                    let unlocked = gathering
                        .as_ref()
                        .map_or(account.available, |_| i128::from(*asked));
                    Lack {
                        block: block.name.clone(),
                        coordinate,
                        asked: *asked,
                        available: unlocked,
                        missing: i128::from(*asked) - unlocked,
                        locked: account.locked,
                        unlocks: unlocks(&block, block.step_for(coordinate, *asked, self.rule)),
                    }
                })
            });
            needs.collect::<Vec<_>>()
        });
        Standing {
            needs: needs.collect(),
            ahead: claim
                .class
                .and_then(|class| self.policy.ahead(self, number, class)),
        }
    }

    /// How many waiting claims go before one: those of classes that go before its class, and those of equal ones that
    /// came before it.
    pub(super) fn count_ahead(&self, claim: u32, compare: impl Fn(&Class) -> Ordering) -> usize {
        let counts = self.waiting.classes().map(|(_, class)| match compare(class) {
            Ordering::Less => class.size(),
            Ordering::Equal => class.before(claim),
            Ordering::Greater => 0,
        });
        counts.sum()
    }

    /// What a claim has still to gather at a block, under round robin.
    fn to_gather(&self, part: Part<'_>, gathered: &[i64]) -> Vec<Lack> {
        let mut block = self.blocks.get(part.block).clone();
        block.settle(self.now);
        let amounts = part.asked.iter().zip(gathered).enumerate();
        let lacking = amounts.filter(|(_, (asked, gathered))| asked > gathered);
        lacking
            .map(|(coordinate, (asked, gathered))| {
                let account = &block.accounts[coordinate];
                let missing = i128::from(*asked) - i128::from(*gathered);
                let total = self.gathering.divided(part.block, coordinate) + missing;
                let step = block.meter.step_for(account.capacity, total);
                // What is unlocked is divided at the next step.
                let step = step.map(|step| step.max(block.meter.done() + 1));
                Lack {
                    block: block.name.clone(),
                    coordinate,
                    asked: *asked,
                    available: i128::from(*gathered),
                    missing,
                    locked: account.locked,
                    unlocks: unlocks(&block, step),
                }
            })
            .collect()
    }

    /// What a block lacks: at each coordinate that lacks (basic), or at the order that lacks least of those at which
    /// the block can still ever have enough (Renyi).
    fn lacks(&self, part: Part<'_>) -> Vec<Lack> {
        let mut block = self.blocks.get(part.block).clone();
        block.settle(self.now);
        if block.lacking(part.asked, self.rule).is_none() {
            return Vec::new();
        }
        let lacks = part.asked.iter().zip(&block.accounts).enumerate();
        let lacks = lacks.map(|(coordinate, (asked, account))| Lack {
            block: block.name.clone(),
            coordinate,
            asked: *asked,
            available: account.available,
            missing: i128::from(*asked) - account.available,
            locked: account.locked,
            unlocks: Unlocks::OnlyReturned,
        });
        match self.rule {
            Rule::All => lacks
                .filter(|lack| lack.missing > 0)
                .map(|lack| Lack {
                    unlocks: unlocks(&block, block.step_for(lack.coordinate, lack.asked, self.rule)),
                    ..lack
                })
                .collect(),
            Rule::Any => {
                let asked = part.asked.iter().enumerate();
                let step = asked
                    .filter_map(|(at, asked)| block.step_for(at, *asked, self.rule))
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

fn unlocks(block: &Block, step: Option<u64>) -> Unlocks {
    let Some(step) = step else {
        return Unlocks::OnlyReturned;
    };
    let arrivals = Unlocks::Arrivals(step.saturating_sub(block.meter.done()));
    block.meter.time_of(step).map_or(arrivals, Unlocks::At)
}
