//! Round robin: each unlocked amount is divided among the claims that wait for the block, by max-min fairness.
//!
//! A claim gathers at each of its blocks until it has all it asks there, and is granted when it has it everywhere. What
//! nobody lacks stays to be divided the next time. What a claim gathered that ends without a grant is wasted: it stays
//! unlocked and is not divided again. Amounts are divided when they are unlocked: by the clock, at its ticks alone; else
//! at each arrival for the block and each return. Who still lacks when nothing is left to divide, and nothing locked, is
//! denied: by the clock, at that tick; else at the next arrival for the block (as in the simulator of the OSDI'21 paper).

use std::collections::{BTreeMap, BTreeSet};

use super::{By, Cause, Decide};
use crate::{
    Denial, Record, Time, Unlocking,
    engine::{
        Engine,
        asks::{Part, Parts},
    },
};

#[derive(Debug)]
pub(super) struct RoundRobin;

/// What is divided, and what is gathered.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Gathering {
    /// Of each block, one for each coordinate.
    pots: Vec<Box<[Pot]>>,
    /// At how many coordinates of all its blocks each waiting claim lacks something.
    claims: BTreeMap<u32, u32>,
}

/// What is divided at a coordinate of a block.
#[derive(Clone, Debug, Default)]
struct Pot {
    /// What was ever given to a claim and has not returned.
    divided: i128,
    /// Whether it was found empty for good.
    closed: bool,
    /// Who lacks something: the least need first, equal ones by arrival, but for those that have come since something
    /// was divided.
    lacking: Vec<Lacking>,
    /// Whether some of them wait no longer.
    is_stale: bool,
}

/// What a claim lacks in a pot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lacking {
    /// Above 0.
    need: i64,
    claim: u32,
}

impl Gathering {
    pub(in crate::engine) fn add_block(&mut self, coordinates: usize) {
        self.pots.push(vec![Pot::default(); coordinates].into());
    }

    /// What a waiting claim has gathered at a part, at each coordinate; none under other policies.
    pub(in crate::engine) fn of(&self, claim: u32, part: Part<'_>) -> Option<Vec<i64>> {
        self.claims.get(&claim)?;
        let pots = part.asked.iter().zip(&self.pots[part.block as usize]);
        Some(pots.map(|(asked, pot)| asked - pot.need(claim)).collect())
    }

    /// A claim does not wait any longer.
    pub(in crate::engine) fn forget(&mut self, claim: u32, parts: Parts<'_>) {
        if self.claims.remove(&claim).is_some() {
            for block in parts.blocks() {
                for pot in &mut self.pots[block as usize] {
                    pot.is_stale = true;
                }
            }
        }
    }

    /// What was granted returned.
    pub(in crate::engine) fn give_back(&mut self, block: u32, amounts: &[i64]) {
        let pots = self.pots[block as usize].iter_mut().zip(amounts);
        for (pot, amount) in pots.filter(|(_, amount)| **amount > 0) {
            pot.divided -= i128::from(*amount);
            pot.closed = false;
        }
    }

    /// What was ever given to claims at a coordinate of a block and has not returned.
    pub(in crate::engine) fn divided(&self, block: u32, coordinate: usize) -> i128 {
        self.pots[block as usize][coordinate].divided
    }

    fn join(&mut self, claim: u32, parts: Parts<'_>) {
        let mut lacks = 0;
        for part in parts.iter() {
            let pots = part.asked.iter().zip(&mut self.pots[part.block as usize]);
            for (need, pot) in pots.filter(|(need, _)| **need > 0) {
                pot.lacking.push(Lacking { need: *need, claim });
                lacks += 1;
            }
        }
        self.claims.insert(claim, lacks);
    }

    /// Those who wait and lack something at a coordinate of a block.
    fn lacking(&mut self, block: u32, coordinate: usize) -> &mut Vec<Lacking> {
        let pot = &mut self.pots[block as usize][coordinate];
        if std::mem::take(&mut pot.is_stale) {
            pot.lacking
                .retain(|lacking| self.claims.contains_key(&lacking.claim));
        }
        &mut pot.lacking
    }

    /// Divides `rest` at a coordinate of a block. Adds to `gathered` who now lacks nothing anywhere.
    fn divide(&mut self, block: u32, coordinate: usize, rest: i128, gathered: &mut BTreeSet<u32>) {
        let (given, served) = divide(self.lacking(block, coordinate), rest);
        self.pots[block as usize][coordinate].divided += given;
        for claim in served {
            if let Some(lacks) = self.claims.get_mut(&claim) {
                *lacks -= 1;
                if *lacks == 0 {
                    gathered.insert(claim);
                }
            }
        }
    }
}

impl Pot {
    fn need(&self, claim: u32) -> i64 {
        let lacking = self.lacking.iter().find(|lacking| lacking.claim == claim);
        lacking.map_or(0, |lacking| lacking.need)
    }
}

/// Divides `rest` among those who lack something: each gets an equal part of what is left, or its need, the least need
/// first, so that what it leaves of its part goes to the others. How much was given, and who lacks nothing now.
fn divide(lacking: &mut Vec<Lacking>, rest: i128) -> (i128, Vec<u32>) {
    if rest <= 0 || lacking.is_empty() {
        return (0, Vec::new());
    }
    // They are in order but for a few, for which a stable sort is made.
    lacking.sort();
    let (mut left, mut served) = (rest, 0);
    let count = |served: usize| i128::try_from(lacking.len() - served).unwrap_or(i128::MAX);
    while let Some(next) = lacking.get(served)
        && i128::from(next.need) * count(served) <= left
    {
        left -= i128::from(next.need);
        served += 1;
    }
    let others = count(served);
    let mut full: Vec<u32> = lacking.drain(..served).map(|served| served.claim).collect();
    if others == 0 {
        return (rest - left, full);
    }
    // Equal parts are whole units; those that remain go to the first ones. Each of these needs more than its part, or as
    // much.
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

impl Decide for RoundRobin {
    fn turns_away(&self, engine: &Engine, claim: u32) -> Option<Denial> {
        let by_clock = is_by_clock(engine);
        let closed = engine.parts(claim).iter().find(|part| {
            let mut coordinates = 0..part.asked.len();
            coordinates.any(|at| {
                let closed = engine.gathering.pots[part.block as usize][at].closed;
                part.asked[at] > 0 && (closed || by_clock && is_empty(engine, part.block, at))
            })
        });
        closed.map(|part| Denial::DividedUp {
            block: engine.blocks.get(part.block).name.clone(),
        })
    }

    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>) {
        let by_clock = is_by_clock(engine);
        let mut blocks = cause.raised.clone();
        let mut emptied = BTreeSet::new();
        if let By::Arrival(number) = cause.by {
            let claim = engine.claims.get(number);
            let parts = claim.parts(&engine.asks);
            if claim.class.is_some() {
                engine.gathering.join(number, parts);
                engine.waiting.touched.extend(parts.blocks());
            }
            blocks = parts.blocks().collect();
            if !by_clock {
                for part in parts.iter().filter(|part| !cause.raised.contains(&part.block)) {
                    for (at, asked) in part.asked.iter().enumerate() {
                        if *asked > 0 && is_empty(engine, part.block, at) {
                            emptied.insert((part.block, at));
                        }
                    }
                }
            }
        }
        if by_clock != (cause.by == By::Clock) {
            return;
        }
        let mut gathered = BTreeSet::new();
        for block in &blocks {
            engine.blocks.get_mut(*block).settle(engine.now);
            for at in 0..engine.blocks.get(*block).accounts.len() {
                let rest = pot(engine, *block, at);
                engine.gathering.divide(*block, at, rest, &mut gathered);
            }
            engine.waiting.touched.push(*block);
        }
        for claim in gathered {
            if let Some(class) = engine.claims.get(claim).class {
                engine.leave(claim, class);
            }
            engine.grant(claim, records);
        }
        if by_clock {
            for block in blocks {
                let coordinates = 0..engine.blocks.get(block).accounts.len();
                let empty = coordinates.filter(|at| is_empty(engine, block, *at));
                emptied.extend(empty.map(|at| (block, at)));
            }
        } else {
            for (block, at) in &emptied {
                engine.gathering.pots[*block as usize][*at].closed = true;
            }
        }
        deny_who_lacks(engine, &emptied, records);
    }

    fn ahead(&self, _engine: &Engine, _claim: u32, _class: u32) -> Option<usize> {
        None
    }

    /// At each tick while somebody lacks something.
    fn next_wake(&self, engine: &mut Engine, block: u32) -> Option<Time> {
        let mut coordinates = 0..engine.blocks.get(block).accounts.len();
        let somebody_lacks = coordinates.any(|at| !engine.gathering.lacking(block, at).is_empty());
        let next = || engine.blocks.get(block).meter.tick_after(engine.now);
        somebody_lacks.then(next).flatten()
    }
}

fn is_by_clock(engine: &Engine) -> bool {
    matches!(engine.rules.unlocking, Unlocking::Lifetime { .. })
}

/// What is there to be divided at a coordinate.
fn pot(engine: &Engine, block: u32, coordinate: usize) -> i128 {
    let account = &engine.blocks.get(block).accounts[coordinate];
    i128::from(account.capacity) - account.locked - engine.gathering.divided(block, coordinate)
}

/// Whether there is nothing to divide, and nothing locked.
fn is_empty(engine: &Engine, block: u32, coordinate: usize) -> bool {
    let mut settled = engine.blocks.get(block).meter.clone();
    settled.settle(engine.now);
    let capacity = i128::from(engine.blocks.get(block).accounts[coordinate].capacity);
    settled.is_complete() && capacity <= engine.gathering.divided(block, coordinate)
}

/// Denies, by arrival, who lacks something where nothing comes any more.
fn deny_who_lacks(engine: &mut Engine, emptied: &BTreeSet<(u32, usize)>, records: &mut Vec<Record>) {
    let mut lacking: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (block, at) in emptied {
        for Lacking { claim, .. } in engine.gathering.lacking(*block, *at) {
            lacking.entry(*claim).or_default().insert(*block);
        }
    }
    for (claim, blocks) in lacking {
        let Some(block) = engine.parts(claim).blocks().find(|block| blocks.contains(block)) else {
            continue;
        };
        let block = engine.blocks.get(block).name.clone();
        if let Some(class) = engine.claims.get(claim).class {
            engine.leave(claim, class);
        }
        engine.deny(claim, Denial::DividedUp { block }, records);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// By its definition: one after the other, the least need first, gets an equal part of what is left.
        #[test]
        fn what_is_divided_is_what_equal_parts_of_the_rest_are(
            needs in prop::collection::vec(1..40_i64, 0..12),
            rest in 0..300_i128,
        ) {
            let numbered = (0..).zip(&needs).map(|(claim, need)| Lacking { need: *need, claim });
            let mut lacking: Vec<Lacking> = numbered.collect();
            let mut expected = lacking.clone();
            expected.sort();
            let mut left = rest;
            let count = u32::try_from(expected.len()).unwrap();
            for (served, lacking) in (0..).zip(&mut expected) {
                // Rounded up: units that don't divide go to the first.
                let others = i128::from(count - served);
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
