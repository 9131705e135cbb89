//! DPack: the most efficient first (EuroSys'25).
//!
//! A claim's efficiency is its weight over its cost, and its cost the sum, over its blocks, of what it asks there over
//! the block's capacity, at the order that is best for that block. The best order is the one at which the largest weight
//! of claims that wait for the block could be packed into what is unlocked: greedily, the largest weight for what is asked
//! first, what does not fit skipped (exact where weights are equal); of equal ones the first. Orders at which nothing is
//! unlocked are no candidates, and a block without any costs nothing. Under basic composition every coordinate binds, so a
//! block costs the sum over its coordinates. Of equal efficiency, the first to arrive goes first.
//!
//! All numbers are integers: an ask over a capacity is rounded down to a multiple of 2^-56, and sums and comparisons of
//! those are exact.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use super::{Cause, Decide};
use crate::{
    Record,
    engine::{
        Engine,
        books::{Block, Part, Rule},
        order::compare_products,
        waiting::Class,
    },
};

#[derive(Debug)]
pub(super) struct Dpack {
    pub(super) recompute_after: u32,
}

impl Decide for Dpack {
    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>) {
        let classes = engine.stirred(cause);
        pack(engine, classes, self.recompute_after, records);
    }

    fn ahead(&self, engine: &Engine, claim: u32, class: u32) -> Option<usize> {
        let numbers: Vec<u32> = engine.waiting.numbers().collect();
        let shelves = shelve(engine, &numbers);
        let best = shelves.iter();
        let best = best.map(|(block, shelf)| (*block, best_order(engine, *block, shelf)));
        let best = best.collect();
        let standing = |class: &Class| (Reverse(class.priority()), price(engine, class, &best));
        let mine = standing(engine.waiting.class(class)?);
        Some(engine.count_ahead(claim, |other| standing(other).cmp(&mine)))
    }
}

/// What a grant costs, and what it is worth. The least goes first.
#[derive(Clone, Copy, Debug)]
struct Price {
    cost: u128,
    weight: u32,
}

/// All that wait for a block, at each coordinate in the order in which they are packed.
type Shelves = HashMap<u32, Vec<Vec<(i64, u32, u32)>>>;

/// A class that fits, ordered by the claim of it that goes first.
type Candidate = Reverse<(Reverse<i32>, Price, u32, u32)>;

/// Grants those of `classes` that fit, the most efficient first; costs are worked out anew after so many grants.
pub(super) fn pack(
    engine: &mut Engine,
    mut classes: Vec<u32>,
    recompute_after: u32,
    records: &mut Vec<Record>,
) {
    let mut shelves = Shelves::new();
    let mut best: HashMap<u32, Option<usize>> = HashMap::new();
    loop {
        classes.retain(|class| engine.waiting.class(*class).is_some() && engine.fits_or_watches(*class));
        if classes.is_empty() {
            return;
        }
        if shelves.is_empty() {
            shelves = shelve(engine, &classes);
        }
        for (block, shelf) in &shelves {
            let at = || best_order(engine, *block, shelf);
            best.entry(*block).or_insert_with(at);
        }
        let candidates = classes
            .iter()
            .filter_map(|class| candidate(engine, *class, &best));
        let mut queue: BinaryHeap<Candidate> = candidates.collect();
        let mut granted = 0;
        while granted < recompute_after
            && let Some(Reverse((priority, price, claim, class))) = queue.pop()
        {
            if !engine.fits_or_watches(class) {
                continue;
            }
            granted += 1;
            for part in engine.claims.get(claim).parts.iter() {
                best.remove(&part.block);
            }
            engine.grant(claim, records);
            if engine.waiting.leave(claim, class)
                && let Some(head) = engine.waiting.class(class).and_then(Class::head)
            {
                queue.push(Reverse((priority, price, head, class)));
            }
        }
    }
}

/// All that waits for the blocks that `classes` ask for.
fn shelve(engine: &Engine, classes: &[u32]) -> Shelves {
    let mut at_block: HashMap<u32, BTreeSet<u32>> = HashMap::new();
    for number in classes {
        let parts = engine
            .waiting
            .class(*number)
            .map(|class| Arc::clone(class.parts()));
        for part in parts.iter().flat_map(|parts| parts.iter()) {
            // Those that have just come are not in the index yet.
            let waiting = || engine.waiting.at_block(part.block);
            at_block.entry(part.block).or_insert_with(waiting).insert(*number);
        }
    }
    if engine.rule == Rule::All {
        return at_block.into_keys().map(|block| (block, Vec::new())).collect();
    }
    let shelf = |(block, waiting): (u32, BTreeSet<u32>)| {
        let coordinates = 0..engine.blocks.get(block).accounts.len();
        let sorted = coordinates.map(|at| {
            let asked = waiting.iter().filter_map(|number| {
                let class = engine.waiting.class(*number)?;
                let part = class.parts().iter().find(|part| part.block == block)?;
                Some((part.budget.units()[at], class.weight(), *number))
            });
            let mut asked: Vec<(i64, u32, u32)> = asked.collect();
            asked.sort_unstable_by(|one, other| {
                let density = i128::from(one.0) * i128::from(other.1);
                let densities = density.cmp(&(i128::from(other.0) * i128::from(one.1)));
                densities.then_with(|| one.cmp(other))
            });
            asked
        });
        (block, sorted.collect())
    };
    at_block.into_iter().map(shelf).collect()
}

fn best_order(engine: &Engine, block: u32, shelf: &[Vec<(i64, u32, u32)>]) -> Option<usize> {
    let mut block = engine.blocks.get(block).clone();
    block.settle(engine.now);
    let accounts = block.accounts.iter();
    let mut best: Option<(usize, u128)> = None;
    for (at, (account, asked)) in accounts.zip(shelf).enumerate() {
        if account.capacity == 0 || account.unlocked <= 0 {
            continue;
        }
        let mut rest = account.unlocked;
        let mut packed: u128 = 0;
        for (asked, weight, class) in asked {
            let members = engine.waiting.class(*class).map_or(0, Class::size);
            let members = i128::try_from(members).unwrap_or(i128::MAX);
            let fit = if *asked == 0 {
                members
            } else {
                members.min(rest / i128::from(*asked))
            };
            rest -= fit * i128::from(*asked);
            packed += u128::from(*weight) * fit.unsigned_abs();
        }
        if best.is_none_or(|(_, most)| packed > most) {
            best = Some((at, packed));
        }
    }
    best.map(|(at, _)| at)
}

fn candidate(engine: &Engine, number: u32, best: &HashMap<u32, Option<usize>>) -> Option<Candidate> {
    let class = engine.waiting.class(number)?;
    let price = price(engine, class, best);
    Some(Reverse((Reverse(class.priority()), price, class.head()?, number)))
}

fn price(engine: &Engine, class: &Class, best: &HashMap<u32, Option<usize>>) -> Price {
    let cost = class.parts().iter().map(|part| {
        let block = engine.blocks.get(part.block);
        match engine.rule {
            Rule::All => (0..block.accounts.len()).map(|at| share(part, block, at)).sum(),
            Rule::Any => {
                let at = best.get(&part.block).copied().flatten();
                at.map_or(0, |at| share(part, block, at))
            }
        }
    });
    Price {
        cost: cost.fold(0, u128::saturating_add),
        weight: class.weight(),
    }
}

/// What is asked over the capacity, in multiples of 2^-56.
fn share(part: &Part, block: &Block, coordinate: usize) -> u128 {
    let asked = u128::from(part.budget.units()[coordinate].unsigned_abs());
    let capacity = u128::from(block.accounts[coordinate].capacity.unsigned_abs());
    // 63 bits and 56 more.
    (asked << 56).checked_div(capacity).unwrap_or(0)
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_products((self.cost, other.weight), (other.cost, self.weight))
    }
}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Price {}
