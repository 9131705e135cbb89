//! Round robin: each unlocked amount is divided among the claims that wait for the block, by max-min
//! fairness.
//!
//! A claim gathers at each of its blocks until it has all that it demands there, and is granted when it has
//! it everywhere. What no claim lacks is divided the next time. What a claim gathered that ends without a
//! grant is wasted: it stays available and is not divided again. Amounts are divided when they are unlocked:
//! by the clock, at its ticks alone; else at each arrival for the block and each return. A claim that still
//! lacks something when nothing is left to divide, and nothing locked, is denied: by the clock, at that tick;
//! else at the next arrival for the block (as in the simulator of the OSDI'21 paper).
//!
//! A [`Pool`] for each coordinate of each block holds what each claim still lacks there, in a sorted list.
//! Dividing costs a look at every claim that lacks something.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Block, BlockDemand, BlockDemands, By, Cause, Decisions, NextWake, PolicyContext, PolicyHooks, SetAside,
};
use crate::{Denial, Unlocking};

#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    /// Whether the ticks of the clock unlock.
    by_clock: bool,
    /// Of each block, one for each coordinate.
    pools: Vec<Box<[Pool]>>,
    /// At how many coordinates of all its blocks each waiting claim lacks something.
    claims: BTreeMap<u32, u32>,
}

/// What is divided at a coordinate of a block.
#[derive(Clone, Debug, Default)]
struct Pool {
    /// What was ever given to a claim and has not returned.
    divided: i128,
    /// Whether it was found empty for good.
    closed: bool,
    /// Claims that lack something: the least need first, equal ones by arrival, but for those that have
    /// arrived since something was divided.
    lacking: Vec<Lacking>,
    /// Whether some of them wait no longer.
    is_stale: bool,
}

/// What a claim lacks in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lacking {
    /// Above 0.
    need: i64,
    claim: u32,
}

impl RoundRobin {
    pub(super) const fn new(unlocking: Unlocking) -> Self {
        Self {
            by_clock: matches!(unlocking, Unlocking::Lifetime { .. }),
            pools: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    fn pool(&self, block: u32, coordinate: usize) -> &Pool {
        &self.pools[block as usize][coordinate]
    }

    /// The claims that wait and lack something at a coordinate of a block.
    fn lacking(&mut self, block: u32, coordinate: usize) -> &mut Vec<Lacking> {
        let pool = &mut self.pools[block as usize][coordinate];
        if std::mem::take(&mut pool.is_stale) {
            let waits = |lacking: &Lacking| self.claims.contains_key(&lacking.claim);
            pool.lacking.retain(waits);
        }
        &mut pool.lacking
    }

    /// Divides what can be divided at a coordinate of a block. Adds the claims that now lack nothing anywhere
    /// to `complete`.
    fn divide(&mut self, block: &Block, coordinate: usize, complete: &mut BTreeSet<u32>) {
        let account = &block.accounts[coordinate];
        let rest =
            i128::from(account.capacity) - account.locked - self.pool(block.number, coordinate).divided;
        let (given, full) = divide(self.lacking(block.number, coordinate), rest);
        self.pools[block.number as usize][coordinate].divided += given;
        for claim in full {
            if let Some(lacks) = self.claims.get_mut(&claim) {
                *lacks -= 1;
                if *lacks == 0 {
                    complete.insert(claim);
                }
            }
        }
    }

    /// Whether nothing is left to divide at a coordinate, and nothing locked.
    fn is_empty(&self, context: PolicyContext<'_>, block: u32, coordinate: usize) -> bool {
        let divided = self.pool(block, coordinate).divided;
        let block = context.block(block);
        let mut schedule = block.schedule.clone();
        schedule.settle(context.now());
        schedule.is_complete() && i128::from(block.accounts[coordinate].capacity) <= divided
    }

    /// Denies, by arrival, the claims that lack something at a coordinate where nothing more will be divided.
    fn deny_lacking(&mut self, decisions: &mut Decisions<'_>, emptied: &BTreeSet<(u32, usize)>) {
        let mut lacking: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (block, at) in emptied {
            for Lacking { claim, .. } in self.lacking(*block, *at) {
                lacking.entry(*claim).or_default().insert(*block);
            }
        }
        for (claim, blocks) in lacking {
            let demands = decisions.context().demands(claim);
            let Some(block) = demands.blocks().find(|block| blocks.contains(block)) else {
                continue;
            };
            let block = decisions.context().block(block).name.clone();
            self.claim_left(claim, demands);
            decisions.deny(claim, Denial::DividedUp { block });
        }
    }
}

impl Pool {
    fn need(&self, claim: u32) -> i64 {
        let lacking = self.lacking.iter().find(|lacking| lacking.claim == claim);
        lacking.map_or(0, |lacking| lacking.need)
    }
}

impl PolicyHooks for RoundRobin {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn block_added(&mut self, block: &Block) {
        let pools = vec![Pool::default(); block.accounts.len()];
        self.pools.push(pools.into());
    }

    fn denies_arrival(&self, context: PolicyContext<'_>, claim: u32) -> Option<Denial> {
        let closed = context.demands(claim).iter().find(|demand| {
            let mut coordinates = (0..demand.amounts.len()).filter(|at| demand.amounts[*at] > 0);
            coordinates.any(|at| {
                self.pool(demand.block, at).closed
                    || self.by_clock && self.is_empty(context, demand.block, at)
            })
        });
        closed.map(|demand| Denial::DividedUp {
            block: context.block(demand.block).name.clone(),
        })
    }

    fn claim_joined(&mut self, claim: u32, demands: BlockDemands<'_>) {
        let mut lacks = 0;
        for demand in demands.iter() {
            let pools = demand.amounts.iter().zip(&mut self.pools[demand.block as usize]);
            for (need, pool) in pools.filter(|(need, _)| **need > 0) {
                pool.lacking.push(Lacking { need: *need, claim });
                lacks += 1;
            }
        }
        self.claims.insert(claim, lacks);
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause) {
        let mut blocks = cause.raised.clone();
        let mut emptied = BTreeSet::new();
        if let By::Arrival(claim) = cause.by {
            let context = decisions.context();
            let demands = context.demands(claim);
            blocks = demands.blocks().collect();
            if !self.by_clock {
                for demand in demands
                    .iter()
                    .filter(|demand| !cause.raised.contains(&demand.block))
                {
                    for (at, demanded) in demand.amounts.iter().enumerate() {
                        if *demanded > 0 && self.is_empty(context, demand.block, at) {
                            emptied.insert((demand.block, at));
                        }
                    }
                }
            }
        }
        for block in &blocks {
            decisions.plan_wake(*block);
        }
        if self.by_clock != (cause.by == By::Clock) {
            return;
        }
        let mut complete = BTreeSet::new();
        for number in &blocks {
            decisions.settle(*number);
            let block = decisions.context().block(*number);
            for at in 0..block.accounts.len() {
                self.divide(block, at, &mut complete);
            }
        }
        for claim in complete {
            self.claim_left(claim, decisions.context().demands(claim));
            decisions.grant(claim);
        }
        if self.by_clock {
            for number in blocks {
                let context = decisions.context();
                let coordinates = 0..context.block(number).accounts.len();
                let empty = coordinates.filter(|at| self.is_empty(context, number, *at));
                emptied.extend(empty.map(|at| (number, at)));
            }
        } else {
            for (block, at) in &emptied {
                self.pools[*block as usize][*at].closed = true;
            }
        }
        self.deny_lacking(decisions, &emptied);
    }

    fn claim_left(&mut self, claim: u32, demands: BlockDemands<'_>) {
        if self.claims.remove(&claim).is_some() {
            for block in demands.blocks() {
                for pool in &mut self.pools[block as usize] {
                    pool.is_stale = true;
                }
            }
        }
    }

    fn budget_returned(&mut self, block: u32, amounts: &[i64]) {
        let pools = self.pools[block as usize].iter_mut().zip(amounts);
        for (pool, amount) in pools.filter(|(_, amount)| **amount > 0) {
            pool.divided -= i128::from(*amount);
            pool.closed = false;
        }
    }

    /// What the claim has gathered.
    fn set_aside(
        &self,
        context: PolicyContext<'_>,
        claim: u32,
        demand: BlockDemand<'_>,
    ) -> Option<Vec<SetAside>> {
        self.claims.get(&claim)?;
        let block = context.settled_block(demand.block);
        let pools = self.pools[demand.block as usize].iter().zip(&block.accounts);
        let gathered = pools.zip(demand.amounts).map(|((pool, account), demanded)| {
            let missing = pool.need(claim);
            let step = block
                .schedule
                .step_for(account.capacity, pool.divided + i128::from(missing));
            SetAside {
                amount: demanded - missing,
                // What is unlocked already is divided at the next step.
                complete_after: step.map(|step| step.max(block.schedule.done() + 1)),
            }
        });
        Some(gathered.collect())
    }

    fn ahead(&self, _context: PolicyContext<'_>, _claim: u32, _class: u32) -> Option<usize> {
        None
    }

    /// At each tick while a claim lacks something.
    fn next_wake(&mut self, _context: PolicyContext<'_>, block: u32) -> NextWake {
        let mut coordinates = 0..self.pools[block as usize].len();
        if coordinates.any(|at| !self.lacking(block, at).is_empty()) {
            NextWake::NextTick
        } else {
            NextWake::Never
        }
    }
}

/// Divides `rest` among the claims that lack something, the least need first: each gets an equal part of what
/// is left, or its need if that is less, so that what it leaves of its part goes to the others. Returns how
/// much was given, and the claims that lack nothing now.
fn divide(lacking: &mut Vec<Lacking>, rest: i128) -> (i128, Vec<u32>) {
    if rest <= 0 || lacking.is_empty() {
        return (0, Vec::new());
    }
    // All but a few are sorted already, which a stable sort makes use of.
    lacking.sort();
    let (mut left, mut satisfied) = (rest, 0);
    // A usize has at most 64 bits.
    let count = |satisfied: usize| i128::try_from(lacking.len() - satisfied).unwrap_or(i128::MAX);
    while let Some(next) = lacking.get(satisfied)
        && i128::from(next.need) * count(satisfied) <= left
    {
        left -= i128::from(next.need);
        satisfied += 1;
    }
    let others = count(satisfied);
    let mut full: Vec<u32> = lacking
        .drain(..satisfied)
        .map(|satisfied| satisfied.claim)
        .collect();
    if others == 0 {
        return (rest - left, full);
    }
    // Equal parts are whole units, and the units that remain go to the first ones. Each claim that is left
    // needs at least its part, so a part fits in 64 bits; the rest of the division is less than a number of
    // claims.
    let part = i64::try_from(left / others).unwrap_or(i64::MAX);
    let with_more = usize::try_from(left % others).unwrap_or(0);
    for (at, lacking) in lacking.iter_mut().enumerate() {
        lacking.need -= part + i64::from(at < with_more);
    }
    let is_full = |lacking: &Lacking| lacking.need == 0;
    if lacking.iter().any(is_full) {
        full.extend(
            lacking
                .iter()
                .filter(|lacking| is_full(lacking))
                .map(|full| full.claim),
        );
        lacking.retain(|lacking| !is_full(lacking));
    }
    (rest, full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model is the definition: one claim after the other, the least need first, gets an equal part
        /// of what is left.
        #[test]
        fn dividing_gives_each_claim_an_equal_part_of_the_rest(
            needs in prop::collection::vec(1..40_i64, 0..12),
            rest in 0..300_i128,
        ) {
            let numbered = (0..).zip(&needs).map(|(claim, need)| Lacking { need: *need, claim });
            let mut lacking: Vec<Lacking> = numbered.collect();
            let mut expected = lacking.clone();
            expected.sort();
            let mut left = rest;
            let count = u32::try_from(expected.len()).unwrap();
            for (satisfied, lacking) in (0..).zip(&mut expected) {
                // Rounded up: the units that remain go to the first claims.
                let others = i128::from(count - satisfied);
                let part = (left + others - 1) / others;
                let given = i64::try_from(part).unwrap().min(lacking.need);
                lacking.need -= given;
                left -= i128::from(given);
            }
            let (given, mut full) = divide(&mut lacking, rest);
            prop_assert_eq!(given, rest - left);
            full.sort_unstable();
            let mut expected_full: Vec<u32> =
                expected.iter().filter(|lacking| lacking.need == 0).map(|lacking| lacking.claim).collect();
            expected_full.sort_unstable();
            prop_assert_eq!(full, expected_full);
            expected.retain(|lacking| lacking.need > 0);
            expected.sort();
            lacking.sort();
            prop_assert_eq!(lacking, expected);
        }
    }
}
