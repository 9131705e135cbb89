//! The index of waiting claims, so that an event costs what it changes and not what waits.
//!
//! Claims that ask the same of the same blocks with the same priority and weight form a class: they fit or don't fit together,
//! and the one that arrived first goes first. Classes that ask for the same blocks form a family, in which they are kept in
//! the order in which they go ([`Ladder`]). At blocks are kept
//!
//! - *watching*: each family, at one block that keeps all its classes waiting, as a clause watches a literal. While that
//!   block's unlocked budget doesn't reach the least that they ask there, none of their claims can be granted, whatever
//!   other blocks do. Those that watch a block are kept in the order of their first classes, so that the best of those that
//!   it no longer keeps waiting is found without the others (`watching`).
//! - *hoping*: each class, at each of its blocks, where it can still ever fit. What a consumption leaves too little for is
//!   found there (`hoping`).
//!
//! A family that watches nothing is in hand: while a policy decides, or when it is new. Who has it in hand lets it watch
//! again.

mod family;
mod hoping;
mod ladder;
mod watching;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    books::{Part, Rule},
    order::{Rank, Share},
};
use crate::Weight;
use family::{Family, Layout, Member};
use hoping::Hopes;
use ladder::Ladder;

#[derive(Clone, Debug)]
pub(super) struct Class {
    key: Key,
    pub(super) rank: Arc<Rank>,
    /// By arrival. Never empty.
    members: BTreeSet<u32>,
    pub(super) family: u32,
    /// At which coordinate it hopes, for each part (Renyi; basic composition hopes at all that it asks of); none while it
    /// is new.
    hopes: Option<Box<[usize]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    priority: i32,
    weight: Weight,
    parts: Arc<[Part]>,
}

/// What is kept at a block.
#[derive(Clone, Debug)]
struct Station {
    /// Families.
    watching: Ladder<Member>,
    /// For each coordinate.
    hoping: Box<[Hopes]>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    rule: Rule,
    coordinates: usize,
    stations: Vec<Station>,
    classes: Slots<Class>,
    numbers: HashMap<Key, u32>,
    families: Slots<Family>,
    /// One for each layout: the one that new classes join.
    joined: HashMap<Layout, u32>,
    /// Families that a policy was given to decide about.
    pub(super) in_hand: Vec<u32>,
    /// Blocks at which the watching families have changed.
    pub(super) touched: Vec<u32>,
}

/// Values by number. Numbers are used again.
#[derive(Clone, Debug)]
struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    const fn new() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)?.as_ref()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.values.get_mut(number as usize)?.as_mut()
    }

    fn add(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            // There are never more classes than claims, which are numbered with 32 bits.
            u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
        });
        self.values[number as usize] = Some(value);
        number
    }

    fn take(&mut self, number: u32) -> Option<T> {
        let value = self.values.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }
}

impl Class {
    pub(super) fn parts(&self) -> &Arc<[Part]> {
        &self.key.parts
    }

    pub(super) const fn priority(&self) -> i32 {
        self.key.priority
    }

    pub(super) const fn weight(&self) -> u32 {
        self.key.weight.get()
    }

    /// How many of its claims came before `claim`.
    pub(super) fn before(&self, claim: u32) -> usize {
        self.members.range(..claim).count()
    }

    /// How many claims it has.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    pub(super) fn head(&self) -> Option<u32> {
        self.members.first().copied()
    }
}

impl Waiting {
    pub(super) fn new(rule: Rule, coordinates: usize) -> Self {
        Self {
            rule,
            coordinates,
            stations: Vec::new(),
            classes: Slots::new(),
            numbers: HashMap::new(),
            families: Slots::new(),
            joined: HashMap::new(),
            in_hand: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Makes room for the next block.
    pub(super) fn add_block(&mut self) {
        self.stations.push(Station {
            watching: Ladder::new(self.coordinates),
            hoping: (0..self.coordinates).map(|_| Hopes::new()).collect(),
        });
    }

    pub(super) fn class(&self, class: u32) -> Option<&Class> {
        self.classes.get(class)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let values = (0..).zip(&self.classes.values);
        values.filter_map(|(number, class)| class.as_ref().map(|_| number))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.values.iter().flatten()
    }

    /// Adds a claim to its class, and that to its family. A new family is in hand, and a new class hopes nowhere yet.
    pub(super) fn join(
        &mut self,
        claim: u32,
        (priority, weight): (i32, Weight),
        parts: &Arc<[Part]>,
        shares: impl FnOnce() -> Box<[Share]>,
    ) -> u32 {
        let key = Key {
            priority,
            weight,
            parts: Arc::clone(parts),
        };
        if let Some(number) = self.numbers.get(&key).copied() {
            let head = self.class(number).and_then(Class::head);
            self.change_members(number, head > Some(claim), |members| members.insert(claim));
            return number;
        }
        let family = self.family_of(family::layout_of(parts));
        let number = self.classes.add(Class {
            rank: Arc::new(Rank::new(priority, weight, shares())),
            key: key.clone(),
            members: BTreeSet::from([claim]),
            family,
            hopes: None,
        });
        self.numbers.insert(key, number);
        self.change_family(number, true);
        number
    }

    /// Takes a claim out of its class. Whether others are left.
    pub(super) fn leave(&mut self, claim: u32, number: u32) -> bool {
        let Some(class) = self.class(number) else {
            return false;
        };
        if class.members.len() > 1 {
            let is_first = class.head() == Some(claim);
            self.change_members(number, is_first, |members| members.remove(&claim));
            return true;
        }
        self.dissolve(number);
        false
    }

    /// Takes all claims out of a class, and gives them by arrival.
    pub(super) fn dissolve(&mut self, number: u32) -> BTreeSet<u32> {
        self.give_up_hopes(number);
        self.change_family(number, false);
        let Some(class) = self.classes.take(number) else {
            return BTreeSet::new();
        };
        self.numbers.remove(&class.key);
        class.members
    }

    /// Changes the claims of a class. If it changes which is the first of them, it changes where the class stands.
    fn change_members(&mut self, number: u32, first: bool, change: impl FnOnce(&mut BTreeSet<u32>) -> bool) {
        let Some(class) = self.class(number) else { return };
        let family = class.family;
        let watch = if first { self.unwatch_for(number) } else { None };
        if first {
            self.change_members_of_family(number, false);
        }
        if let Some(class) = self.classes.get_mut(number) {
            change(&mut class.members);
        }
        if first {
            self.change_members_of_family(number, true);
        }
        if let Some((part, coordinate)) = watch {
            self.watch(family, part, coordinate);
        }
    }
}

/// What the tests of the engine look at.
#[cfg(test)]
impl Waiting {
    pub(super) fn count(&self) -> usize {
        assert_eq!(
            self.numbers.len() + self.classes.free.len(),
            self.classes.values.len()
        );
        let families: BTreeSet<u32> = self.classes().map(|class| class.family).collect();
        assert_eq!(
            families.len() + self.families.free.len(),
            self.families.values.len()
        );
        assert!(self.joined.values().all(|family| families.contains(family)));
        self.numbers.len()
    }

    pub(super) fn has_member(&self, class: u32, claim: u32) -> bool {
        self.class(class)
            .is_some_and(|class| class.members.contains(&claim))
    }

    /// The block that a class watches, and at which coordinates.
    pub(super) fn watched_by(&self, class: u32) -> (u32, Vec<usize>) {
        let family = self.families.get(self.class(class).unwrap().family).unwrap();
        let (part, coordinate) = family.watch.unwrap();
        let coordinates = match self.rule {
            Rule::All => vec![coordinate],
            Rule::Any => (0..self.coordinates).collect(),
        };
        (family.layout[part].0, coordinates)
    }

    /// The blocks and coordinates at which a class hopes.
    pub(super) fn hopes_of(&self, class: u32) -> Vec<(u32, usize)> {
        let class = self.class(class).unwrap();
        let parts = class.key.parts.iter().zip(class.hopes.as_ref().unwrap());
        let hopes = parts
            .flat_map(|(part, hope)| hoping::hoping_at(self.rule, *hope, part).map(|at| (part.block, at)));
        hopes.collect()
    }

    pub(super) fn all_kept(&self) -> Vec<(u32, &'static str, usize, i64, u32)> {
        let mut kept = Vec::new();
        for (block, station) in (0..).zip(&self.stations) {
            for family in station.watching.iter() {
                let family = self.families.get(family.class).unwrap();
                assert_eq!(family.layout[family.watch.unwrap().0].0, block);
                for member in family.members.iter() {
                    let (watched, coordinates) = self.watched_by(member.class);
                    let parts = self.class(member.class).unwrap().parts();
                    let part = parts.iter().find(|part| part.block == watched).unwrap();
                    let asked = part.budget.units();
                    kept.extend(
                        coordinates
                            .iter()
                            .map(|at| (block, "watching", *at, asked[*at], member.class)),
                    );
                }
            }
            for (coordinate, hopes) in station.hoping.iter().enumerate() {
                let hopes = hopes.iter();
                kept.extend(hopes.map(|(asked, class)| (block, "hoping", coordinate, *asked, *class)));
            }
        }
        kept.sort_unstable();
        kept
    }
}
