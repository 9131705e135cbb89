//! At each block, the classes for which enough of it is not consumed yet, so that a consumption finds those
//! that can never be granted.
//!
//! At each of its blocks a class has one entry: for all coordinates (basic composition), or for one order at
//! which enough is left for it (Renyi). What is left falls with each consumption. A class for which too
//! little is left gets an entry for another order, or is infeasible. The entries at a block are a [`MinTree`]
//! of negated amounts, in which those above what is left are found in logarithmic time each.
//!
//! Usually much more is left than any class demands. So a class is first put on a short unsorted list, of
//! which only the largest amounts are known. Those classes go into the tree when that may be more than what
//! is left, or when the list is full.

use std::cmp::Ordering;

use super::{
    Waiting,
    class::Classes,
    min_tree::{EntryOrder, MinTree},
};
use crate::engine::{
    blocks::{Account, Block, FitRule},
    demands::{BlockDemand, DemandStore},
};

/// The classes that demand a block.
#[derive(Clone, Debug)]
pub(super) struct FeasibleClasses {
    ordered: MinTree<FeasibleEntry>,
    /// Those added last, which are not in the tree yet.
    recent: Vec<u32>,
    /// At each coordinate, the largest amount of the recent ones, or more.
    most: Box<[i64]>,
}

/// The most recent classes at a block. Few in tests, so that they often go into the tree.
const MAX_RECENT: usize = if cfg!(test) { 2 } else { 128 };

/// A class in the tree of a block.
#[derive(Clone, Copy, Debug)]
struct FeasibleEntry {
    class: u32,
    /// The part of the class's demands that is of the block, times the number of coordinates, plus the order
    /// (Renyi).
    cell: u32,
}

/// Sorts entries by class. Amounts are negated, so that the least is of the largest demand.
struct FeasibleOrder<'a> {
    classes: Classes<'a>,
    fit_rule: FitRule,
    coordinates: usize,
}

impl FeasibleOrder<'_> {
    /// An entry's demand, and the only coordinate at which it counts (Renyi).
    fn demand(&self, entry: FeasibleEntry) -> (BlockDemand<'_>, usize) {
        let cell = entry.cell as usize;
        let (part, order) = (cell / self.coordinates, cell % self.coordinates);
        (self.classes.demands(entry.class).get(part), order)
    }

    /// An order at which enough of the block is left. None under basic composition, where no order is chosen.
    fn order_at(&self, demand: BlockDemand<'_>, block: &Block) -> Option<usize> {
        if self.fit_rule == FitRule::EveryCoordinate {
            return None;
        }
        let mut pairs = demand.amounts.iter().zip(&block.accounts);
        pairs.position(|(demanded, account)| account.capacity > 0 && i128::from(*demanded) <= account.left())
    }
}

impl EntryOrder<FeasibleEntry> for FeasibleOrder<'_> {
    fn compare(&self, one: &FeasibleEntry, other: &FeasibleEntry) -> Ordering {
        one.class.cmp(&other.class)
    }

    fn lower(&self, entry: &FeasibleEntry, least: &mut [i64]) {
        let (demand, order) = self.demand(*entry);
        for (at, (least, demanded)) in least.iter_mut().zip(demand.amounts).enumerate() {
            if self.fit_rule == FitRule::EveryCoordinate || at == order {
                *least = (*least).min(-demanded);
            }
        }
    }
}

impl FeasibleClasses {
    pub(super) fn new(coordinates: usize) -> Self {
        Self {
            ordered: MinTree::new(coordinates),
            recent: Vec::new(),
            most: vec![0; coordinates].into(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let ordered = self.ordered.iter().map(|entry| entry.class);
        ordered.chain(self.recent.iter().copied())
    }

    fn insert(&mut self, class: u32, demand: BlockDemand<'_>) {
        for (most, demanded) in self.most.iter_mut().zip(demand.amounts) {
            *most = (*most).max(*demanded);
        }
        self.recent.push(class);
    }

    /// Puts the recent classes into the tree.
    fn insert_recent(&mut self, block: &Block, by_class: &FeasibleOrder<'_>) {
        self.most.fill(0);
        self.recent.sort_unstable();
        for class in self.recent.drain(..) {
            let demands = by_class.classes.demands(class);
            let Some(part) = demands.at(block.number) else {
                continue;
            };
            let order = by_class.order_at(demands.get(part), block);
            // An infeasible class lacks at every order at which the block has any capacity.
            let order = order.or_else(|| block.accounts.iter().position(|account| account.capacity > 0));
            // No order counts under basic composition, or at a block without capacity.
            let order = order.unwrap_or(0);
            self.ordered
                .insert(entry_of(class, part, order, by_class.coordinates), by_class);
        }
    }

    fn remove(&mut self, class: u32, by_class: &FeasibleOrder<'_>) {
        // A class that leaves soon is near the end.
        if let Some(at) = self.recent.iter().rposition(|other| *other == class) {
            self.recent.swap_remove(at);
        } else {
            self.ordered.remove(entry_of(class, 0, 0, 1), by_class);
        }
    }

    /// Whether too little may be left for a recent class.
    fn may_be_infeasible(&self, block: &Block, fit_rule: FitRule) -> bool {
        let mut pairs = self.most.iter().zip(&block.accounts);
        let enough = |(most, account): (&i64, &Account)| i128::from(*most) <= account.left();
        match fit_rule {
            FitRule::EveryCoordinate => !pairs.all(enough),
            FitRule::SomeOrder => !pairs.any(|pair| pair.1.capacity > 0 && enough(pair)),
        }
    }
}

impl Waiting {
    /// Adds a class at each of its blocks, if it is not there yet.
    pub(in crate::engine) fn add_feasible(
        &mut self,
        number: u32,
        blocks: &[Block],
        demand_store: &DemandStore,
    ) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.is_listed, true) {
            return;
        }
        for demand in demand_store.get(class.demands_id).iter() {
            let (feasible, by_class) = self.feasible(demand.block, demand_store);
            if feasible.recent.len() == MAX_RECENT {
                feasible.insert_recent(&blocks[demand.block as usize], &by_class);
            }
            feasible.insert(number, demand);
        }
    }

    pub(super) fn remove_feasible(&mut self, number: u32, demand_store: &DemandStore) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.is_listed, false) {
            for block in demand_store.get(class.demands_id).blocks() {
                let (feasible, by_class) = self.feasible(block, demand_store);
                feasible.remove(number, &by_class);
            }
        }
    }

    /// The classes that can never fit this block again, now that less of it is left.
    pub(in crate::engine) fn infeasible(&mut self, block: &Block, demand_store: &DemandStore) -> Vec<u32> {
        let (feasible, by_class) = self.feasible(block.number, demand_store);
        if feasible.may_be_infeasible(block, by_class.fit_rule) {
            feasible.insert_recent(block, &by_class);
        }
        let infeasible = |row: &[i64]| {
            let mut pairs = row.iter().zip(&block.accounts);
            pairs.any(|(amount, account)| *amount <= 0 && -i128::from(*amount) > account.left())
        };
        let mut infeasible = feasible.ordered.all(infeasible, &by_class);
        if by_class.fit_rule == FitRule::SomeOrder {
            infeasible.retain(|infeasible| {
                let next = by_class.order_at(by_class.demand(*infeasible).0, block);
                if let Some(order) = next {
                    let part = infeasible.cell as usize / by_class.coordinates;
                    feasible.ordered.remove(*infeasible, &by_class);
                    let entry = entry_of(infeasible.class, part, order, by_class.coordinates);
                    feasible.ordered.insert(entry, &by_class);
                }
                next.is_none()
            });
        }
        infeasible.into_iter().map(|entry| entry.class).collect()
    }

    /// Every class that demands this block, but for one that has not been added yet.
    pub(in crate::engine) fn at_block(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.at_blocks[number as usize].feasible.iter()
    }

    fn feasible<'a>(
        &'a mut self,
        block: u32,
        demand_store: &'a DemandStore,
    ) -> (&'a mut FeasibleClasses, FeasibleOrder<'a>) {
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        let by_class = FeasibleOrder {
            classes,
            fit_rule: self.fit_rule,
            coordinates: self.coordinates,
        };
        (&mut self.at_blocks[block as usize].feasible, by_class)
    }

    /// Every class at a block, with each coordinate at which it counts and its amount there.
    #[cfg(test)]
    pub(super) fn all_feasible(&self, block: &Block, demand_store: &DemandStore) -> Vec<(u32, usize, i64)> {
        let mut copy = self.clone();
        let (feasible, by_class) = copy.feasible(block.number, demand_store);
        for class in &feasible.recent {
            let demands = by_class.classes.demands(*class);
            let demand = demands.get(demands.at(block.number).unwrap());
            assert!(
                feasible
                    .most
                    .iter()
                    .zip(demand.amounts)
                    .all(|(most, demanded)| most >= demanded)
            );
        }
        feasible.insert_recent(block, &by_class);
        let mut all = Vec::new();
        for entry in feasible.ordered.iter() {
            let (demand, order) = by_class.demand(entry);
            assert_eq!(demand.block, block.number);
            let demanded = demand.amounts.iter().enumerate();
            let counted =
                demanded.filter(|(at, _)| by_class.fit_rule == FitRule::EveryCoordinate || *at == order);
            all.extend(counted.map(|(at, demanded)| (entry.class, at, *demanded)));
        }
        all
    }
}

fn entry_of(class: u32, part: usize, order: usize, coordinates: usize) -> FeasibleEntry {
    FeasibleEntry {
        class,
        // The store numbers each coordinate of each block of a claim with 32 bits.
        cell: u32::try_from(part * coordinates + order).unwrap_or(u32::MAX),
    }
}
