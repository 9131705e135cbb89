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
    pots: Vec<Pot>,
    /// What each waiting claim has gathered: all coordinates of its first part, then of the second, ...
    claims: BTreeMap<u32, Box<[i64]>>,
}

/// What is divided at a block.
#[derive(Clone, Debug)]
struct Pot {
    /// At each coordinate, what was ever given to a claim and has not returned.
    divided: Box<[i128]>,
    /// At each coordinate, whether it was found empty for good.
    closed: Box<[bool]>,
    /// The waiting claims that lack something here.
    lacking: BTreeSet<u32>,
}

impl Gathering {
    pub(in crate::engine) fn add_block(&mut self, coordinates: usize) {
        self.pots.push(Pot {
            divided: vec![0; coordinates].into(),
            closed: vec![false; coordinates].into(),
            lacking: BTreeSet::new(),
        });
    }

    /// What a waiting claim has gathered; none under other policies.
    pub(in crate::engine) fn of(&self, claim: u32, part: usize, coordinates: usize) -> Option<&[i64]> {
        let all = self.claims.get(&claim)?;
        all.get(part * coordinates..(part + 1) * coordinates)
    }

    /// A claim does not wait any longer.
    pub(in crate::engine) fn forget(&mut self, claim: u32, parts: Parts<'_>) {
        if self.claims.remove(&claim).is_some() {
            for block in parts.blocks() {
                self.pots[block as usize].lacking.remove(&claim);
            }
        }
    }

    /// What was granted returned.
    pub(in crate::engine) fn give_back(&mut self, block: u32, amounts: &[i64]) {
        let pot = &mut self.pots[block as usize];
        for (at, amount) in amounts.iter().enumerate().filter(|(_, amount)| **amount > 0) {
            pot.divided[at] -= i128::from(*amount);
            pot.closed[at] = false;
        }
    }

    /// What was ever given to claims at a coordinate of a block and has not returned.
    pub(in crate::engine) fn divided(&self, block: u32, coordinate: usize) -> i128 {
        self.pots[block as usize].divided[coordinate]
    }

    fn join(&mut self, claim: u32, parts: Parts<'_>) {
        let asked = parts.iter().flat_map(|part| part.asked);
        self.claims.insert(claim, asked.map(|_| 0).collect());
        for block in parts.blocks() {
            self.pots[block as usize].lacking.insert(claim);
        }
    }
}

impl Decide for RoundRobin {
    fn turns_away(&self, engine: &Engine, claim: u32) -> Option<Denial> {
        let by_clock = is_by_clock(engine);
        let closed = engine.parts(claim).iter().find(|part| {
            let mut coordinates = 0..part.asked.len();
            coordinates.any(|at| {
                let closed = engine.gathering.pots[part.block as usize].closed[at];
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
            gathered.extend(divide(engine, *block));
        }
        for claim in gathered {
            let lacking = |block: u32| engine.gathering.pots[block as usize].lacking.contains(&claim);
            if !engine.parts(claim).blocks().any(lacking) {
                if let Some(class) = engine.claims.get(claim).class {
                    engine.leave(claim, class);
                }
                engine.grant(claim, records);
            }
        }
        if by_clock {
            for block in blocks {
                let coordinates = 0..engine.blocks.get(block).accounts.len();
                let empty = coordinates.filter(|at| is_empty(engine, block, *at));
                emptied.extend(empty.map(|at| (block, at)));
            }
        } else {
            for (block, at) in &emptied {
                engine.gathering.pots[*block as usize].closed[*at] = true;
            }
        }
        deny_who_lacks(engine, &emptied, records);
    }

    fn ahead(&self, _engine: &Engine, _claim: u32, _class: u32) -> Option<usize> {
        None
    }

    /// At each tick while somebody lacks something.
    fn next_wake(&self, engine: &mut Engine, block: u32) -> Option<Time> {
        let lacking = &engine.gathering.pots[block as usize].lacking;
        let next = || engine.blocks.get(block).meter.tick_after(engine.now);
        (!lacking.is_empty()).then(next).flatten()
    }
}

fn is_by_clock(engine: &Engine) -> bool {
    matches!(engine.setting.unlocking, Unlocking::Lifetime { .. })
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

/// Divides what is there among those who lack something. Gives those who now have all they asked here.
fn divide(engine: &mut Engine, block: u32) -> Vec<u32> {
    engine.blocks.get_mut(block).settle(engine.now);
    let lacking: Vec<u32> = engine.gathering.pots[block as usize]
        .lacking
        .iter()
        .copied()
        .collect();
    let coordinates = engine.blocks.get(block).accounts.len();
    for at in 0..coordinates {
        let mut rest = pot(engine, block, at);
        // Each one's need, and where its gathered amount is.
        let mut needs: Vec<(i64, u32, usize)> = Vec::new();
        for claim in &lacking {
            if let Some((need, place)) = need(engine, *claim, block, at).filter(|(need, _)| *need > 0) {
                needs.push((need, *claim, place));
            }
        }
        needs.sort_unstable();
        let count = needs.len();
        for (served, (need, claim, place)) in needs.into_iter().enumerate() {
            // The smallest need first, so that what it leaves of its equal part goes to the others.
            let part = rest.max(0) / i128::try_from(count - served).unwrap_or(i128::MAX);
            let given = i64::try_from(part).unwrap_or(i64::MAX).min(need);
            rest -= i128::from(given);
            engine.gathering.pots[block as usize].divided[at] += i128::from(given);
            if let Some(gathered) = engine.gathering.claims.get_mut(&claim) {
                gathered[place] += given;
            }
        }
    }
    let has_all = |claim: &u32| {
        let mut needs = (0..coordinates).filter_map(|at| need(engine, *claim, block, at));
        needs.all(|(need, _)| need == 0)
    };
    let full: Vec<u32> = lacking.into_iter().filter(has_all).collect();
    for claim in &full {
        engine.gathering.pots[block as usize].lacking.remove(claim);
    }
    engine.waiting.touched.push(block);
    full
}

/// What a claim lacks at a coordinate of a block, and where its gathered amount is.
fn need(engine: &Engine, claim: u32, block: u32, coordinate: usize) -> Option<(i64, usize)> {
    let parts = engine.parts(claim);
    let at = parts.at(block)?;
    let asked = parts.get(at).asked;
    let place = at * asked.len() + coordinate;
    let gathered = engine.gathering.claims.get(&claim)?;
    Some((asked[coordinate] - gathered[place], place))
}

/// Denies, by arrival, who lacks something where nothing comes any more.
fn deny_who_lacks(engine: &mut Engine, emptied: &BTreeSet<(u32, usize)>, records: &mut Vec<Record>) {
    let mut denied = BTreeSet::new();
    for (block, at) in emptied {
        let lacking = engine.gathering.pots[*block as usize].lacking.iter();
        let lacks = |claim: &&u32| need(engine, **claim, *block, *at).is_some_and(|(need, _)| need > 0);
        denied.extend(lacking.filter(lacks).copied());
    }
    for claim in denied {
        let lacks = |part: &Part<'_>| {
            let mut coordinates = 0..part.asked.len();
            coordinates.any(|at| {
                let need = || need(engine, claim, part.block, at);
                emptied.contains(&(part.block, at)) && need().is_some_and(|(need, _)| need > 0)
            })
        };
        let Some(part) = engine.parts(claim).iter().find(lacks) else {
            continue;
        };
        let block = engine.blocks.get(part.block).name.clone();
        if let Some(class) = engine.claims.get(claim).class {
            engine.leave(claim, class);
        }
        engine.deny(claim, Denial::DividedUp { block }, records);
    }
}
