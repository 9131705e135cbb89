//! The index of waiting claims, so that an event costs what it changes and not what waits.
//!
//! Claims that ask the same of the same blocks with the same priority and weight form a class: they fit or don't fit together,
//! and the one that arrived first goes first. Classes that ask for the same blocks form a family, in which they are kept in
//! the order in which they go ([`MinTree`]). At blocks are kept
//!
//! - *watching*: each family, at one block that keeps all its classes waiting, as a clause watches a literal. While that
//!   block's unlocked budget doesn't reach the least that they ask there, none of their claims can be granted, whatever
//!   other blocks do. Those that watch a block are kept in the order of their first classes, so that the best of those that
//!   it no longer keeps waiting is found without the others (`watching`).
//! - *feasible*: each class, at each of its blocks, where it can still ever fit. What a consumption leaves too little for is
//!   found there (`feasible`).
//!
//! A family that watches nothing is in hand: while a policy decides, or when it is new. Who has it in hand lets it watch
//! again.

mod class;
mod family;
mod feasible;
mod min_tree;
mod slab;
mod watching;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::{
    blocks::FitRule,
    demands::{BlockDemands, DemandStore},
    order::{Rank, Shares},
};
use crate::Weight;
pub(super) use class::Class;
use class::{ClaimSet, Member};
use family::Family;
pub(super) use family::Watch;
use feasible::FeasibleClasses;
use min_tree::MinTree;
use slab::Slab;

/// What is kept at a block.
#[derive(Clone, Debug)]
struct BlockIndex {
    /// Families.
    watching: MinTree<Member>,
    feasible: FeasibleClasses,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    fit_rule: FitRule,
    coordinates: usize,
    at_blocks: Vec<BlockIndex>,
    classes: Slab<Class>,
    families: Slab<Family>,
    /// Classes by what they are.
    numbers: HashTable<u32>,
    /// Families by their blocks: the ones that new classes join.
    joined: HashTable<u32>,
    hasher: RandomState,
    /// Families that a policy was given to decide about.
    pub(super) unwatched: Vec<u32>,
    /// Blocks at which the watching families have changed.
    pub(super) changed: Vec<u32>,
}

impl Waiting {
    pub(super) fn new(fit_rule: FitRule, coordinates: usize) -> Self {
        Self {
            fit_rule,
            coordinates,
            at_blocks: Vec::new(),
            classes: Slab::new(),
            families: Slab::new(),
            numbers: HashTable::new(),
            joined: HashTable::new(),
            hasher: RandomState::new(),
            unwatched: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Makes room for the next block.
    pub(super) fn add_block(&mut self) {
        self.at_blocks.push(BlockIndex {
            watching: MinTree::new(self.coordinates),
            feasible: FeasibleClasses::new(self.coordinates),
        });
    }

    pub(super) fn class(&self, class: u32) -> Option<&Class> {
        self.classes.get(class)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = (u32, &Class)> {
        self.classes.iter()
    }

    /// Adds a claim to its class, and that to its family. A new family is in hand, and a new class entries nowhere yet.
    pub(super) fn join(
        &mut self,
        claim: u32,
        (priority, weight): (i32, Weight),
        demands_id: u32,
        shares: impl FnOnce() -> Shares,
        demand_store: &DemandStore,
    ) -> u32 {
        let key = (priority, weight, demand_store.get(demands_id));
        let hash = self.hasher.hash_one(Some(key));
        let same =
            |number: &u32| key_of(&self.classes, *number, demand_store).is_some_and(|other| other == key);
        if let Some(number) = self.numbers.find(hash, same).copied() {
            let goes_first = self.class(number).and_then(Class::head) > Some(claim);
            self.change_claims(number, goes_first, demand_store, |claims| claims.insert(claim));
            return number;
        }
        let family = self.family_for(demands_id, demand_store);
        let number = self.classes.add(Class {
            rank: Rank::new(priority, weight, shares()),
            demands_id,
            family,
            claims: ClaimSet::One(claim),
            is_feasible_kept: false,
        });
        let (classes, hasher) = (&self.classes, &self.hasher);
        let hash_of = |number: &u32| hasher.hash_one(key_of(classes, *number, demand_store));
        self.numbers.insert_unique(hash, number, hash_of);
        self.change_family(number, true, demand_store);
        number
    }

    /// Takes a claim out of its class. Whether others are left.
    pub(super) fn leave(&mut self, claim: u32, number: u32, demand_store: &DemandStore) -> bool {
        let Some(class) = self.class(number) else {
            return false;
        };
        if class.size() > 1 {
            let goes_first = class.head() == Some(claim);
            self.change_claims(number, goes_first, demand_store, |claims| claims.remove(claim));
            return true;
        }
        self.remove_class(number, demand_store);
        false
    }

    /// Takes all claims out of a class, and gives them by arrival.
    pub(super) fn remove_class(&mut self, number: u32, demand_store: &DemandStore) -> Vec<u32> {
        self.remove_feasible(number, demand_store);
        self.change_family(number, false, demand_store);
        let hash = self.hasher.hash_one(key_of(&self.classes, number, demand_store));
        if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        let class = self.classes.take(number);
        class.map_or_else(Vec::new, |class| class.claims.into_list())
    }

    /// Changes the claims of a class. If it changes which goes first of them, it changes where the class stands.
    fn change_claims(
        &mut self,
        number: u32,
        first: bool,
        demand_store: &DemandStore,
        change: impl FnOnce(&mut ClaimSet),
    ) {
        let watch = if first {
            self.unwatch_for(number, demand_store)
        } else {
            None
        };
        if first {
            self.change_members(number, false, demand_store);
        }
        if let Some(class) = self.classes.get_mut(number) {
            change(&mut class.claims);
        }
        if first {
            self.change_members(number, true, demand_store);
        }
        if let Some((watch, class)) = watch.zip(self.class(number)) {
            let family = class.family;
            self.watch(family, watch, demand_store);
        }
    }
}

/// What a class is.
fn key_of<'a>(
    classes: &Slab<Class>,
    number: u32,
    demand_store: &'a DemandStore,
) -> Option<(i32, Weight, BlockDemands<'a>)> {
    let class = classes.get(number)?;
    Some((
        class.rank.priority,
        class.rank.weight,
        demand_store.get(class.demands_id),
    ))
}

/// What the tests of the engine look at.
#[cfg(test)]
impl Waiting {
    pub(super) fn count(&self) -> usize {
        use std::collections::BTreeSet;
        let count = self.classes().count();
        assert_eq!(self.numbers.len(), count);
        let families: BTreeSet<u32> = self.classes().map(|(_, class)| class.family).collect();
        assert_eq!(families, self.families.iter().map(|(number, _)| number).collect());
        assert!(self.joined.iter().all(|family| families.contains(family)));
        count
    }

    pub(super) fn has_member(&self, class: u32, claim: u32) -> bool {
        self.class(class)
            .is_some_and(|class| class.claims.clone().into_list().contains(&claim))
    }

    /// The block that a class watches, and at which coordinates.
    pub(super) fn watched_by(&self, class: u32, demand_store: &DemandStore) -> (u32, Vec<usize>) {
        let family = self.families.get(self.class(class).unwrap().family).unwrap();
        let watch = family.watch.unwrap();
        let coordinates = match self.fit_rule {
            FitRule::EveryCoordinate => vec![watch.coordinate as usize],
            FitRule::SomeOrder => (0..self.coordinates).collect(),
        };
        (
            demand_store.get(family.demands_id).block(watch.part as usize),
            coordinates,
        )
    }

    /// The blocks and coordinates at which a class entries.
    pub(super) fn feasible_at(
        &self,
        class: u32,
        blocks: &[super::blocks::Block],
        demand_store: &DemandStore,
    ) -> Vec<(u32, usize)> {
        let asked = demand_store.get(self.class(class).unwrap().demands_id).blocks();
        let entries = asked.flat_map(|block| {
            let entries = self
                .all_feasible(&blocks[block as usize], demand_store)
                .into_iter();
            entries
                .filter(move |entry| entry.0 == class)
                .map(move |entry| (block, entry.1))
        });
        entries.collect()
    }

    pub(super) fn all_kept(
        &self,
        blocks: &[super::blocks::Block],
        demand_store: &DemandStore,
    ) -> Vec<(u32, &'static str, usize, i64, u32)> {
        let mut kept = Vec::new();
        for block in (0..).take(self.at_blocks.len()) {
            let mut copy = self.clone();
            let families = self.at_blocks[block as usize].watching.iter();
            for class in families.flat_map(|family| copy.all_of(family.number, |_| true, demand_store)) {
                let (watched, coordinates) = self.watched_by(class, demand_store);
                assert_eq!(watched, block);
                let demands = demand_store.get(self.class(class).unwrap().demands_id);
                let asked = demands.get(demands.at(block).unwrap()).amounts;
                kept.extend(
                    coordinates
                        .into_iter()
                        .map(|at| (block, "watching", at, asked[at], class)),
                );
            }
            let entries = self
                .all_feasible(&blocks[block as usize], demand_store)
                .into_iter();
            kept.extend(entries.map(|(class, at, asked)| (block, "feasible", at, asked, class)));
        }
        kept.sort_unstable();
        kept
    }
}
