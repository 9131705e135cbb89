//! DPack: the most efficient claim first (EuroSys'25).
//!
//! A claim's efficiency is its weight over its cost. Its cost is the sum, over its blocks, of its demand over
//! the block's capacity, at the order that is best for that block. The best order is the one at which the
//! largest weight of claims that wait for the block can be packed into what is available. Packing is greedy:
//! the largest weight for its demand first, and a claim that does not fit is skipped (this is exact where
//! weights are equal). Of equally good orders the first is best. Orders at which nothing is available are no
//! candidates, and a block without candidates costs nothing. Under basic composition every coordinate binds,
//! so a block costs the sum over its coordinates. Of equally efficient claims, the first to arrive goes
//! first.
//!
//! All numbers are integers: a demand over a capacity is rounded down to a multiple of 2^-56, and sums and
//! comparisons of those are exact.
//!
//! A pass keeps the candidates in a binary heap. It costs a sort of all classes that wait for the blocks of
//! those that may fit, and a heap operation for each grant.

mod packing;

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashMap},
};

use super::{Block, BlockDemand, Cause, Decisions, PolicyContext, PolicyHooks};
use crate::engine::{blocks::FitRule, order::compare_products, waiting::Class};
use packing::PackingList;

#[derive(Clone, Debug)]
pub(super) struct Dpack {
    pub(super) recompute_after: u32,
}

impl PolicyHooks for Dpack {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause) {
        let classes = decisions.fitting(cause);
        pack(decisions, classes, self.recompute_after);
    }

    fn ahead(&self, context: PolicyContext<'_>, claim: u32, class: u32) -> Option<usize> {
        let best = best_orders(context);
        let standing = |class: &Class| (Reverse(class.priority()), efficiency(context, class, &best));
        let mine = standing(context.class(class)?);
        Some(context.count_ahead(claim, |other| standing(other).cmp(&mine)))
    }

    fn queue(&self, context: PolicyContext<'_>) -> Option<Vec<u32>> {
        let best = best_orders(context);
        Some(context.in_order(|class| (Reverse(class.priority()), efficiency(context, class, &best))))
    }
}

/// The best order of each block that a claim waits for.
fn best_orders(context: PolicyContext<'_>) -> HashMap<u32, Option<usize>> {
    let numbers: Vec<u32> = context.classes().map(|(number, _)| number).collect();
    let lists = PackingList::of(context, &numbers).into_iter();
    let best = lists.map(|(block, list)| (block, list.best_order(context, block)));
    best.collect()
}

/// A claim's cost, and the weight that divides it. The least goes first.
#[derive(Clone, Copy, Debug)]
struct Efficiency {
    cost: u128,
    weight: u32,
}

/// The efficiencies of the classes that may still be granted, and the queue that they make.
struct Pass {
    lists: HashMap<u32, PackingList>,
    /// Each block's best order.
    best: HashMap<u32, Option<usize>>,
    /// Of each class that may still fit, as last computed.
    efficiencies: HashMap<u32, Efficiency>,
    /// The most efficient first. A class whose efficiency has changed is there again, and its old entry does
    /// not count.
    queue: BinaryHeap<Candidate>,
    /// The blocks of the grants since efficiencies were computed.
    touched: BTreeSet<u32>,
}

/// A class, ordered by the claim of it that goes first.
type Candidate = Reverse<(Reverse<i32>, Efficiency, u32, u32)>;

/// Grants the claims of `classes` that fit, the most efficient first. Efficiencies are computed again after
/// `recompute_after` grants.
pub(super) fn pack(decisions: &mut Decisions<'_>, mut classes: Vec<u32>, recompute_after: u32) {
    let context = decisions.context();
    classes.retain(|class| context.class(*class).is_some() && context.fits(*class));
    if classes.is_empty() {
        return;
    }
    let mut pass = Pass::new(context, &classes);
    let mut granted = 0;
    while let Some((claim, class)) = pass.next(decisions.context()) {
        // Within a pass budgets only fall: a class that does not fit now will not.
        if !decisions.context().fits(class) {
            pass.efficiencies.remove(&class);
            continue;
        }
        pass.touched.extend(decisions.context().demands(claim).blocks());
        if decisions.grant(claim) {
            pass.push(decisions.context(), class);
        } else {
            pass.efficiencies.remove(&class);
        }
        granted += 1;
        if granted == recompute_after {
            granted = 0;
            pass.recompute(decisions.context());
        }
    }
}

impl Pass {
    fn new(context: PolicyContext<'_>, classes: &[u32]) -> Self {
        let lists = match classes {
            // With one class there is nothing to choose.
            [_] => HashMap::new(),
            _ => PackingList::of(context, classes),
        };
        let best = lists
            .iter()
            .map(|(block, list)| (*block, list.best_order(context, *block)));
        let mut pass = Self {
            best: best.collect(),
            lists,
            efficiencies: HashMap::new(),
            queue: BinaryHeap::new(),
            touched: BTreeSet::new(),
        };
        for number in classes {
            if let Some(class) = context.class(*number) {
                pass.efficiencies
                    .insert(*number, efficiency(context, class, &pass.best));
                pass.push(context, *number);
            }
        }
        pass
    }

    fn push(&mut self, context: PolicyContext<'_>, number: u32) {
        let class = context.class(number);
        if let (Some(class), Some(efficiency)) = (class, self.efficiencies.get(&number))
            && let Some(head) = class.head()
        {
            self.queue
                .push(Reverse((Reverse(class.priority()), *efficiency, head, number)));
        }
    }

    /// Takes the claim that goes first from the queue. Returns it and its class.
    fn next(&mut self, context: PolicyContext<'_>) -> Option<(u32, u32)> {
        while let Some(Reverse((_, efficiency, claim, number))) = self.queue.pop() {
            let head = context.class(number).and_then(Class::head);
            if head == Some(claim) && self.efficiencies.get(&number) == Some(&efficiency) {
                return Some((claim, number));
            }
        }
        None
    }

    /// Computes efficiencies again. They change where the best order of a block changes, which only a grant
    /// does.
    fn recompute(&mut self, context: PolicyContext<'_>) {
        let mut changed = BTreeSet::new();
        for block in std::mem::take(&mut self.touched) {
            let Some(waiting) = self.lists.get(&block) else {
                continue;
            };
            let best = waiting.best_order(context, block);
            if self.best.insert(block, best) != Some(best) {
                changed.extend(waiting.classes());
            }
        }
        for number in changed {
            if self.efficiencies.contains_key(&number)
                && let Some(class) = context.class(number)
            {
                let efficiency = efficiency(context, class, &self.best);
                if self.efficiencies.insert(number, efficiency) != Some(efficiency) {
                    self.push(context, number);
                }
            }
        }
    }
}

fn efficiency(context: PolicyContext<'_>, class: &Class, best: &HashMap<u32, Option<usize>>) -> Efficiency {
    let cost = context.demands_of(class).iter().map(|demand| {
        let block = context.block(demand.block);
        match context.fit_rule() {
            FitRule::EveryCoordinate => (0..block.accounts.len()).map(|at| share(demand, block, at)).sum(),
            FitRule::SomeOrder => {
                let at = best.get(&demand.block).copied().flatten();
                at.map_or(0, |at| share(demand, block, at))
            }
        }
    });
    Efficiency {
        // A share has 119 bits, so the sum saturates only beyond 512 times the largest; such claims are equal
        // and last.
        cost: cost.fold(0, u128::saturating_add),
        weight: class.weight(),
    }
}

/// A demand over the capacity, in multiples of 2^-56, rounded down. A coordinate without capacity costs
/// nothing.
fn share(demand: BlockDemand<'_>, block: &Block, coordinate: usize) -> u128 {
    let amount = u128::from(demand.amounts[coordinate].unsigned_abs());
    let capacity = u128::from(block.accounts[coordinate].capacity.unsigned_abs());
    // 63 bits and 56 more fit in 128.
    (amount << 56).checked_div(capacity).unwrap_or(0)
}

impl Ord for Efficiency {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_products((self.cost, other.weight), (other.cost, self.weight))
    }
}

impl PartialOrd for Efficiency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Efficiency {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Efficiency {}
