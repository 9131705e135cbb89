//! The index of waiting claims: it makes the cost of an event depend on what the event changes, not on how
//! many claims wait.
//!
//! Claims with the same demands, priority and weight form a class ([`Class`]): either all of them fit or none
//! does, and the policy tries them in the order of their arrival. Classes that demand the same blocks form a
//! family ([`Family`]), which keeps them in the order in which the policy tries them. Each block has two lists,
//! both [`MinTree`]s, which are searched in logarithmic time:
//!
//! - A watch list (`watching`). Each family watches one block that keeps all its classes waiting, as a clause
//!   of a SAT solver watches a literal. While less is available there than the least amount that its classes
//!   demand, none of their claims can be granted, whatever happens at other blocks. The watch list is in the
//!   order of the families' first classes. When budget becomes available, the first family that the block no
//!   longer keeps waiting is found without a look at the others.
//! - The feasible classes (`feasible`). Each class is listed at each of its blocks while the block's capacity
//!   that isn't consumed still suffices for it, so that a consumption finds the classes that can never be
//!   granted any more.
//!
//! A family watches no block while it is new, and while a policy decides about it. The code that unwatches a
//! family must let it watch a block again.
//!
//! Begin reading at [`Waiting`].

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

/// The lists of one block.
#[derive(Clone, Debug)]
struct BlockIndex {
    /// Families, in the order of their first classes.
    watching: MinTree<Member>,
    feasible: FeasibleClasses,
}

/// The index of the waiting claims of one engine.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    fit_rule: FitRule,
    coordinates: usize,
    at_blocks: Vec<BlockIndex>,
    classes: Slab<Class>,
    families: Slab<Family>,
    /// The numbers of the classes, found by priority, weight and demands.
    classes_by_key: HashTable<u32>,
    /// The numbers of the families that a new class can join, found by their blocks.
    families_by_blocks: HashTable<u32>,
    hasher: RandomState,
    /// Families that were unwatched because the policy has to decide about them.
    pub(super) unwatched: Vec<u32>,
    /// Blocks whose watch list or budget has changed since the time was computed at which the clock next affects them.
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
            classes_by_key: HashTable::new(),
            families_by_blocks: HashTable::new(),
            hasher: RandomState::new(),
            unwatched: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Adds the lists of the next block.
    pub(super) fn add_block(&mut self) {
        self.at_blocks.push(BlockIndex {
            watching: MinTree::new(self.coordinates),
            feasible: FeasibleClasses::new(self.coordinates),
        });
    }

    /// Gives the demands of all classes and families the numbers of another store, in which they are equal.
    pub(super) fn renumber_demands(&mut self, number_of: &mut impl FnMut(u32) -> u32) {
        for class in self.classes.values_mut() {
            class.demands_id = number_of(class.demands_id);
        }
        for family in self.families.values_mut() {
            family.demands_id = number_of(family.demands_id);
        }
    }

    pub(super) fn class(&self, class: u32) -> Option<&Class> {
        self.classes.get(class)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = (u32, &Class)> {
        self.classes.iter()
    }

    /// The numbers of all families.
    pub(super) fn families(&self) -> Vec<u32> {
        self.families.iter().map(|(number, _)| number).collect()
    }

    /// Adds a claim to its class, and a new class to its family. Returns the class. A new family is
    /// unwatched, and a new class is not listed at its blocks yet.
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
        if let Some(number) = self.classes_by_key.find(hash, same).copied() {
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
            is_listed: false,
        });
        let (classes, hasher) = (&self.classes, &self.hasher);
        let hash_of = |number: &u32| hasher.hash_one(key_of(classes, *number, demand_store));
        self.classes_by_key.insert_unique(hash, number, hash_of);
        self.change_family(number, true, demand_store);
        number
    }

    /// Removes a claim from its class. Returns whether the class has other claims.
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

    /// Removes a class. Returns its claims in the order of arrival.
    pub(super) fn remove_class(&mut self, number: u32, demand_store: &DemandStore) -> Vec<u32> {
        self.remove_feasible(number, demand_store);
        self.change_family(number, false, demand_store);
        let hash = self.hasher.hash_one(key_of(&self.classes, number, demand_store));
        if let Ok(entry) = self.classes_by_key.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        let class = self.classes.take(number);
        class.map_or_else(Vec::new, |class| class.claims.into_list())
    }

    /// Changes the claims of a class. `head_changes` says that the class has another first claim afterwards,
    /// which moves the class within its family.
    fn change_claims(
        &mut self,
        number: u32,
        head_changes: bool,
        demand_store: &DemandStore,
        change: impl FnOnce(&mut ClaimSet),
    ) {
        let watch = if head_changes {
            self.unwatch_for(number, demand_store)
        } else {
            None
        };
        if head_changes {
            self.change_members(number, false, demand_store);
        }
        if let Some(class) = self.classes.get_mut(number) {
            change(&mut class.claims);
        }
        if head_changes {
            self.change_members(number, true, demand_store);
        }
        if let Some((watch, class)) = watch.zip(self.class(number)) {
            let family = class.family;
            self.watch(family, watch, demand_store);
        }
    }
}

/// The key of a class: the priority, weight and demands that all its claims have.
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

/// Access for the tests of the engine.
#[cfg(test)]
impl Waiting {
    pub(super) fn count(&self) -> usize {
        use std::collections::BTreeSet;
        let count = self.classes().count();
        assert_eq!(self.classes_by_key.len(), count);
        let families: BTreeSet<u32> = self.classes().map(|(_, class)| class.family).collect();
        assert_eq!(families, self.families.iter().map(|(number, _)| number).collect());
        assert!(
            self.families_by_blocks
                .iter()
                .all(|family| families.contains(family))
        );
        count
    }

    pub(super) fn has_member(&self, class: u32, claim: u32) -> bool {
        self.class(class)
            .is_some_and(|class| class.claims.clone().into_list().contains(&claim))
    }

    /// The block that the family of a class watches, and the coordinates at which it is watched.
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

    /// The blocks and coordinates at which a class is feasible.
    pub(super) fn feasible_at(
        &self,
        class: u32,
        blocks: &[super::blocks::Block],
        demand_store: &DemandStore,
    ) -> Vec<(u32, usize)> {
        let demanded = demand_store.get(self.class(class).unwrap().demands_id).blocks();
        let entries = demanded.flat_map(|block| {
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
                let demanded = demands.get(demands.at(block).unwrap()).amounts;
                kept.extend(
                    coordinates
                        .into_iter()
                        .map(|at| (block, "watching", at, demanded[at], class)),
                );
            }
            let entries = self
                .all_feasible(&blocks[block as usize], demand_store)
                .into_iter();
            kept.extend(entries.map(|(class, at, demanded)| (block, "feasible", at, demanded, class)));
        }
        kept.sort_unstable();
        kept
    }
}
