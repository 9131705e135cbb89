//! Round robin: each unlocked amount is divided among the claims that wait for the block, by max-min
//! fairness.
//!
//! A claim gathers at each of its blocks until it has all that it demands there, and is granted when it has
//! it everywhere. What no claim lacks is divided the next time, and so is what a claim gathered that ends
//! without a grant. Amounts are divided when they are unlocked: by the clock, at its ticks alone; else at each
//! arrival for the block, each return, and each end of a claim that gathered something. A claim that still
//! lacks something when nothing is left to divide, and nothing locked, is denied: by the clock, at that tick;
//! else at the next arrival for the block, which takes part when what the denied claims gathered is divided.
//! A claim that arrives then, and for which nothing was gathered either, is denied at once.
//!
//! In the first [revision](crate::Revision), as in the simulator of the OSDI'21 paper, what a claim gathered
//! that ends without a grant is lost: it stays available and is not divided again. The arrival that denies
//! others is denied with them, and so are all that follow, until budget returns.
//!
//! A [`Pool`] for each coordinate of each block holds what each claim still lacks there, in a sorted list.
//! Dividing costs a look at every claim that lacks something.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Block, BlockDemand, BlockDemands, By, Cause, Decisions, Kept, NextWake, PolicyContext, PolicyHooks,
    SetAside,
};
use crate::{DatasetRules, Denial, Unlocking};

/// The names of what is kept: of a block what was divided at each coordinate, and whether it is closed (1) or
/// not (0); of a claim what it has gathered at each coordinate of each of its blocks.
const DIVIDED: &str = "divided";
const CLOSED: &str = "closed";
const GATHERED: &str = "gathered";

#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    /// Whether the ticks of the clock unlock.
    by_clock: bool,
    /// Whether what a claim gathered that ends without a grant is lost.
    gathered_is_lost: bool,
    /// Of each block, one for each coordinate.
    pools: Vec<Box<[Pool]>>,
    /// At how many coordinates of all its blocks each waiting claim lacks something.
    claims: BTreeMap<u32, u32>,
    /// The blocks of the claims that have left, whose pools still have to be settled.
    left_blocks: BTreeSet<u32>,
}

/// What is divided at a coordinate of a block.
#[derive(Clone, Debug, Default)]
struct Pool {
    /// What was ever given to a claim and has not returned.
    divided: i128,
    /// Whether it was found empty for good (first revision).
    closed: bool,
    /// Claims that lack something: the least need first, equal ones by arrival, but for those that have
    /// arrived since something was divided.
    lacking: Vec<Lacking>,
    /// Whether some of them wait no longer.
    is_stale: bool,
    /// Claims that have ended without a grant, with what they demanded: what they gathered of it is still
    /// counted as divided.
    left: BTreeMap<u32, i64>,
}

/// What a claim lacks in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lacking {
    /// Above 0.
    need: i64,
    claim: u32,
}

impl RoundRobin {
    pub(super) fn new(rules: &DatasetRules) -> Self {
        Self {
            by_clock: matches!(rules.unlocking, Unlocking::Lifetime { .. }),
            gathered_is_lost: rules.revision.gathered_is_lost(),
            pools: Vec::new(),
            claims: BTreeMap::new(),
            left_blocks: BTreeSet::new(),
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

    /// Whether a claim that waits and lacks something at a coordinate of a block has gathered a part there.
    fn is_gathered_in_part(&self, context: PolicyContext<'_>, block: u32, coordinate: usize) -> bool {
        let mut lacking = self.pool(block, coordinate).lacking.iter();
        lacking.any(|Lacking { need, claim }| {
            let demands = context.demands(*claim);
            let part = demands.at(block).filter(|_| self.claims.contains_key(claim));
            part.is_some_and(|part| demands.get(part).amounts[coordinate] > *need)
        })
    }

    /// The coordinates of a claim's blocks, other than `raised`, of which it demands something and nothing is
    /// left to divide, and nothing locked.
    fn emptied(&self, context: PolicyContext<'_>, claim: u32, raised: &[u32]) -> BTreeSet<(u32, usize)> {
        let demands = context.demands(claim);
        let others = demands.iter().filter(|demand| !raised.contains(&demand.block));
        let coordinates = others.flat_map(|demand| {
            let demanded = demand.amounts.iter().enumerate();
            demanded.filter_map(move |(at, demanded)| (*demanded > 0).then_some((demand.block, at)))
        });
        coordinates
            .filter(|(block, at)| self.is_empty(context, *block, *at))
            .collect()
    }

    /// Denies, by arrival, the claims other than `spared` that lack something at a coordinate where nothing
    /// more will be divided.
    fn deny_lacking(
        &mut self,
        decisions: &mut Decisions<'_>,
        emptied: &BTreeSet<(u32, usize)>,
        spared: Option<u32>,
    ) {
        let mut lacking: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (block, at) in emptied {
            for Lacking { claim, .. } in self.lacking(*block, *at) {
                if Some(*claim) != spared {
                    lacking.entry(*claim).or_default().insert(*block);
                }
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

    /// Forgets a claim that waits no longer. Returns whether it was known.
    fn forget(&mut self, claim: u32, demands: BlockDemands<'_>) -> bool {
        let known = self.claims.remove(&claim).is_some();
        if known {
            for block in demands.blocks() {
                for pool in &mut self.pools[block as usize] {
                    pool.is_stale = true;
                }
            }
        }
        known
    }
}

impl Pool {
    /// Counts what the claims that have left had gathered as not divided. Returns whether they had gathered
    /// anything.
    fn settle_left(&mut self) -> bool {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return false;
        }
        let demanded: i128 = left.values().copied().map(i128::from).sum();
        let mut lacked = 0;
        self.lacking.retain(|lacking| {
            let has_left = left.contains_key(&lacking.claim);
            if has_left {
                lacked += i128::from(lacking.need);
            }
            !has_left
        });
        self.divided -= demanded - lacked;
        demanded > lacked
    }

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
        let nothing_comes = |block, at| {
            if self.gathered_is_lost {
                self.pool(block, at).closed || self.by_clock && self.is_empty(context, block, at)
            } else {
                self.is_empty(context, block, at)
                    && (self.by_clock || !self.is_gathered_in_part(context, block, at))
            }
        };
        let closed = context.demands(claim).iter().find(|demand| {
            let mut coordinates = (0..demand.amounts.len()).filter(|at| demand.amounts[*at] > 0);
            coordinates.any(|at| nothing_comes(demand.block, at))
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
            blocks = context.demands(claim).blocks().collect();
            if !self.by_clock {
                emptied = self.emptied(context, claim, &cause.raised);
                if !self.gathered_is_lost {
                    self.deny_lacking(decisions, &std::mem::take(&mut emptied), Some(claim));
                    blocks.extend(self.take_freed());
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
            self.forget(claim, decisions.context().demands(claim));
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
        self.deny_lacking(decisions, &emptied, None);
        // Divided at the next tick, at which every block is visited of which a claim lacks something.
        self.take_freed();
    }

    fn claim_left(&mut self, claim: u32, demands: BlockDemands<'_>) {
        if self.forget(claim, demands) && !self.gathered_is_lost {
            for demand in demands.iter() {
                let pools = self.pools[demand.block as usize].iter_mut();
                for (pool, demanded) in pools.zip(demand.amounts).filter(|(_, demanded)| **demanded > 0) {
                    pool.left.insert(claim, *demanded);
                }
                self.left_blocks.insert(demand.block);
            }
        }
    }

    fn take_freed(&mut self) -> Vec<u32> {
        let mut freed: Vec<u32> = std::mem::take(&mut self.left_blocks).into_iter().collect();
        freed.retain(|block| {
            let pools = self.pools[*block as usize].iter_mut();
            // Each of them, so no short circuit.
            pools.map(Pool::settle_left).fold(false, |any, freed| any | freed)
        });
        freed
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

    fn queue(&self, _context: PolicyContext<'_>) -> Option<Vec<u32>> {
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

    /// A claim that fits waits until it has gathered what it demands.
    fn grants_what_fits(&self) -> bool {
        false
    }

    fn kept_of_block(&self, block: u32) -> Kept {
        let pools = &self.pools[block as usize];
        let mut kept = Kept::default();
        kept.add(DIVIDED, pools.iter().map(|pool| pool.divided));
        kept.add(CLOSED, pools.iter().map(|pool| i128::from(pool.closed)));
        kept
    }

    fn kept_of_claims(&self, context: PolicyContext<'_>) -> BTreeMap<u32, Kept> {
        let demanded = |claim: &u32| {
            let demands = context.demands(*claim).iter();
            let amounts = demands.flat_map(|demand| demand.amounts).copied();
            (*claim, amounts.map(i128::from).collect())
        };
        let mut gathered: BTreeMap<u32, Vec<i128>> = self.claims.keys().map(demanded).collect();
        for (block, pools) in (0..).zip(&self.pools) {
            for (at, pool) in pools.iter().enumerate() {
                for Lacking { need, claim } in &pool.lacking {
                    // One that waits no longer may still be in the list.
                    let part = context.demands(*claim).at(block);
                    if let Some((gathered, part)) = gathered.get_mut(claim).zip(part) {
                        gathered[part * pools.len() + at] -= i128::from(*need);
                    }
                }
            }
        }
        let kept = |(claim, gathered)| {
            let mut kept = Kept::default();
            kept.add(GATHERED, gathered);
            (claim, kept)
        };
        gathered.into_iter().map(kept).collect()
    }

    fn restore_block(&mut self, block: &Block, mut kept: Kept) -> Result<(), String> {
        let pools = &mut self.pools[block.number as usize];
        let divided = kept.take(DIVIDED, pools.len())?;
        let closed = kept.take(CLOSED, pools.len())?;
        for (pool, (divided, closed)) in pools.iter_mut().zip(divided.into_iter().zip(closed)) {
            if !(0..=i128::from(self.gathered_is_lost)).contains(&closed) {
                return Err(format!(
                    "policy.{CLOSED} has {closed}: it must be 0, or 1 in the first revision"
                ));
            }
            pool.divided = divided;
            pool.closed = closed == 1;
        }
        kept.end()
    }

    fn restore_claim(&mut self, claim: u32, demands: BlockDemands<'_>, mut kept: Kept) -> Result<(), String> {
        let gathered = kept.take(GATHERED, demands.len() * demands.coordinates())?;
        let mut gathered = gathered.into_iter();
        let mut lacks = 0;
        for demand in demands.iter() {
            for (demanded, pool) in demand.amounts.iter().zip(&mut self.pools[demand.block as usize]) {
                let gathered = i64::try_from(gathered.next().unwrap_or_default());
                let gathered = gathered
                    .ok()
                    .filter(|gathered| (0..=*demanded).contains(gathered));
                let Some(need) = gathered.map(|gathered| demanded - gathered) else {
                    return Err(format!(
                        "policy.{GATHERED} has an amount that is not from 0 to {demanded}, what is demanded"
                    ));
                };
                if need > 0 {
                    pool.lacking.push(Lacking { need, claim });
                    lacks += 1;
                }
            }
        }
        if lacks == 0 {
            return Err("it waits, but it has gathered all that it demands".to_owned());
        }
        self.claims.insert(claim, lacks);
        kept.end()
    }

    /// What is divided is what was unlocked, and what claims hold was divided: else a claim that has gathered
    /// all that it demands could be granted more than there is.
    fn check_restored(&self, context: PolicyContext<'_>) -> Result<(), (u32, String)> {
        let mut gathered: Vec<Vec<i128>> = self.pools.iter().map(|pools| vec![0; pools.len()]).collect();
        for demand in self
            .claims
            .keys()
            .flat_map(|claim| context.demands(*claim).iter())
        {
            for (sum, demanded) in gathered[demand.block as usize].iter_mut().zip(demand.amounts) {
                *sum += i128::from(*demanded);
            }
        }
        for (number, (pools, gathered)) in (0..).zip(self.pools.iter().zip(gathered)) {
            let block = context.block(number);
            // Nothing of a block that was written off is divided any more.
            let accounts = block.accounts.iter().filter(|_| !block.written_off);
            for ((pool, account), demanded) in pools.iter().zip(accounts).zip(gathered) {
                let lacking: i128 = pool.lacking.iter().map(|lacking| i128::from(lacking.need)).sum();
                let held = demanded - lacking + account.allocated + account.consumed;
                let unlocked = i128::from(account.capacity) - account.locked;
                let is_lost = self.gathered_is_lost && pool.divided > held;
                if pool.divided > unlocked || pool.divided != held && !is_lost {
                    let divided = pool.divided;
                    return Err((
                        number,
                        format!(
                            "policy.{DIVIDED} is {divided}: {held} is gathered and held, {unlocked} unlocked"
                        ),
                    ));
                }
            }
        }
        Ok(())
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
