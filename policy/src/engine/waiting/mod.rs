//! The index of waiting claims, so that an event costs what it changes and not what waits.
//!
//! Claims that ask the same of the same blocks with the same priority and weight form a class: they fit or don't fit together,
//! and the one that arrived first goes first. Each class is kept twice at blocks, ordered by what it asks there:
//!
//! - *watching*: at one block that it doesn't fit, as a clause watches a literal. While that block's unlocked budget
//!   doesn't reach what the class asks there, no claim of the class can be granted, whatever other blocks do. Those
//!   that watch a block are kept in the order in which they go, so that the first of those that it no longer keeps
//!   waiting is found without the others ([`Ladder`]).
//! - *hoping*: at each of its blocks, where it can still ever fit. What a consumption leaves too little for is found
//!   there.

mod ladder;

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    ops::{Bound, Range},
    sync::Arc,
};

use ladder::{Ladder, NEVER, NONE, Rungs};

use super::{
    books::{Block, Part, Rule},
    order::{Rank, Share},
};
use crate::Weight;

/// Classes ordered by what they ask at a coordinate.
type Hopes = BTreeSet<(i64, u32)>;

/// A class that watches a block.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    /// Of its rank, which spares most looks at that.
    key: u64,
    class: u32,
}

/// The order of watchers, and what they ask of the block: at the coordinate that lacks (basic composition), or at each
/// order (Renyi), since any may be the one that fits first.
struct Watchers<'a> {
    classes: &'a [Option<Class>],
    rule: Rule,
}

#[derive(Clone, Debug)]
pub(super) struct Class {
    key: Key,
    pub(super) rank: Arc<Rank>,
    /// By arrival. Never empty.
    members: BTreeSet<u32>,
    place: Option<Place>,
}

/// Where a class that waits is kept.
#[derive(Clone, Debug)]
struct Place {
    /// The part whose block it watches, and the coordinate (basic composition: the one that lacks).
    watches: (usize, usize),
    /// At which coordinate it hopes, for each part (Renyi; basic composition hopes at all that it asks of).
    hopes: Box<[usize]>,
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
    watching: Ladder<Watcher>,
    /// For each coordinate.
    hoping: Box<[Hopes]>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    rule: Rule,
    stations: Vec<Station>,
    classes: Vec<Option<Class>>,
    free: Vec<u32>,
    numbers: HashMap<Key, u32>,
    /// Blocks at which the watching classes have changed.
    pub(super) touched: Vec<u32>,
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

    /// The part at which it was kept waiting last.
    pub(super) fn watched_part(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.watches.0)
    }
}

impl Waiting {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            stations: Vec::new(),
            classes: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::new(),
            touched: Vec::new(),
        }
    }

    /// Makes room for the next block.
    pub(super) fn add_block(&mut self, coordinates: usize) {
        self.stations.push(Station {
            watching: Ladder::new(coordinates),
            hoping: (0..coordinates).map(|_| Hopes::new()).collect(),
        });
    }

    pub(super) fn class(&self, class: u32) -> Option<&Class> {
        self.classes.get(class as usize)?.as_ref()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| class.as_ref().map(|_| number))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().flatten()
    }

    pub(super) fn class_mut(&mut self, class: u32) -> Option<&mut Class> {
        self.classes.get_mut(class as usize)?.as_mut()
    }

    /// Adds a claim to its class. Whether the class is new, and so has no place yet.
    pub(super) fn join(
        &mut self,
        claim: u32,
        (priority, weight): (i32, Weight),
        parts: &Arc<[Part]>,
        shares: impl FnOnce() -> Box<[Share]>,
    ) -> (u32, bool) {
        let key = Key {
            priority,
            weight,
            parts: Arc::clone(parts),
        };
        if let Some(number) = self.numbers.get(&key) {
            let number = *number;
            let is_first = self
                .class(number)
                .and_then(Class::head)
                .is_none_or(|head| claim < head);
            self.change_members(number, is_first, |members| members.insert(claim));
            return (number, false);
        }
        let class = Class {
            rank: Arc::new(Rank::new(priority, weight, shares())),
            key: key.clone(),
            members: BTreeSet::from([claim]),
            place: None,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.classes.push(None);
            // There are never more classes than claims, which are numbered with 32 bits.
            u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
        });
        self.classes[number as usize] = Some(class);
        self.numbers.insert(key, number);
        (number, true)
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
        self.take_from_places(number);
        if let Some(class) = self.classes[number as usize].take() {
            self.numbers.remove(&class.key);
            self.free.push(number);
        }
        false
    }

    /// Takes all claims out of a class, and gives them by arrival.
    pub(super) fn dissolve(&mut self, number: u32) -> BTreeSet<u32> {
        self.take_from_places(number);
        let Some(class) = self.classes[number as usize].take() else {
            return BTreeSet::new();
        };
        self.numbers.remove(&class.key);
        self.free.push(number);
        class.members
    }

    /// Changes the claims of a class. If it changes which is the first of them, it changes where the class stands.
    fn change_members(&mut self, number: u32, first: bool, change: impl FnOnce(&mut BTreeSet<u32>) -> bool) {
        if first {
            self.change_watch(number, false);
        }
        if let Some(class) = self.class_mut(number) {
            change(&mut class.members);
        }
        if first {
            self.change_watch(number, true);
        }
    }

    fn take_from_places(&mut self, number: u32) {
        self.change_watch(number, false);
        let Some(class) = &mut self.classes[number as usize] else {
            return;
        };
        let Some(place) = class.place.take() else { return };
        for (part, hope) in class.key.parts.iter().zip(&place.hopes) {
            let station = &mut self.stations[part.block as usize];
            for coordinate in hoping_at(self.rule, *hope, part) {
                station.hoping[coordinate].remove(&(part.budget.units()[coordinate], number));
            }
        }
    }

    /// Lets a class watch a block that it doesn't fit.
    pub(super) fn watch(&mut self, number: u32, part: usize, coordinate: usize, blocks: &[Block]) {
        let Some(class) = &mut self.classes[number as usize] else {
            return;
        };
        let watches = (part, coordinate);
        if class.place.as_ref().is_some_and(|place| place.watches == watches) {
            return;
        }
        if class.place.is_some() {
            self.change_watch(number, false);
        } else {
            let parts = class.key.parts.iter();
            let hopes = parts.map(|part| hope(part, &blocks[part.block as usize]).unwrap_or(0));
            let hopes: Box<[usize]> = hopes.collect();
            for (part, hope) in class.key.parts.iter().zip(&hopes) {
                let station = &mut self.stations[part.block as usize];
                for coordinate in hoping_at(self.rule, *hope, part) {
                    station.hoping[coordinate].insert((part.budget.units()[coordinate], number));
                }
            }
            class.place = Some(Place { watches, hopes });
        }
        if let Some(place) = self.class_mut(number).and_then(|class| class.place.as_mut()) {
            place.watches = watches;
        }
        self.change_watch(number, true);
    }

    /// Adds a class to those that watch a block, or takes it away, if it has a place.
    fn change_watch(&mut self, number: u32, add: bool) {
        let Some(class) = self.class(number) else { return };
        let Some(place) = &class.place else { return };
        let block = class.key.parts[place.watches.0].block;
        let watcher = Watcher {
            key: class.rank.key(),
            class: number,
        };
        let (classes, rule) = (&self.classes, self.rule);
        let watching = &mut self.stations[block as usize].watching;
        if add {
            watching.insert(watcher, &Watchers { classes, rule });
        } else {
            watching.remove(watcher, &Watchers { classes, rule });
        }
        self.touched.push(block);
    }

    /// The first of the classes that watch this block and that what is unlocked there no longer keeps waiting.
    pub(super) fn first_awakened(&mut self, number: u32, block: &Block) -> Option<u32> {
        let (classes, rule) = (&self.classes, self.rule);
        let watching = &mut self.stations[number as usize].watching;
        let first = watching.first(&limits(block, rule), &Watchers { classes, rule });
        first.map(|watcher| watcher.class)
    }

    /// All of them.
    pub(super) fn awakened(&mut self, number: u32, block: &Block) -> impl Iterator<Item = u32> {
        let (classes, rule) = (&self.classes, self.rule);
        let watching = &mut self.stations[number as usize].watching;
        let all = watching.all(&limits(block, rule), &Watchers { classes, rule });
        all.into_iter().map(|watcher| watcher.class)
    }

    /// The least that a watching class asks at each coordinate that may let it fit.
    pub(super) fn least_watched(&mut self, number: u32) -> impl Iterator<Item = (usize, i64)> + '_ {
        let (classes, rule) = (&self.classes, self.rule);
        let watching = &mut self.stations[number as usize].watching;
        let least = watching.least(&Watchers { classes, rule }).iter().enumerate();
        least
            .filter(|(_, amount)| **amount != NEVER)
            .map(|(at, amount)| (at, amount + i64::MAX))
    }

    /// The classes that can never fit this block again, now that less is left of it.
    pub(super) fn hopeless(&mut self, number: u32, block: &Block) -> BTreeSet<u32> {
        let mut hopeless = BTreeSet::new();
        let mut moved = Vec::new();
        let station = &mut self.stations[number as usize];
        for (coordinate, account) in block.accounts.iter().enumerate() {
            let left = i64::try_from(account.left().max(-1)).unwrap_or(i64::MAX);
            let above = (Bound::Excluded((left, u32::MAX)), Bound::Unbounded);
            let lost = station.hoping[coordinate].range(above).copied();
            match self.rule {
                Rule::All => hopeless.extend(lost.map(|(_, class)| class)),
                Rule::Any => moved.extend(lost.map(|(asked, class)| (coordinate, asked, class))),
            }
        }
        // Each move is to an order at which enough is left; as less and less is left, there are few for each class.
        for (coordinate, asked, class_number) in moved {
            let Some(class) = &mut self.classes[class_number as usize] else {
                continue;
            };
            let at = class.key.parts.iter().position(|part| part.block == number);
            let Some((at, place)) = at.zip(class.place.as_mut()) else {
                continue;
            };
            if let Some(next) = hope(&class.key.parts[at], block) {
                place.hopes[at] = next;
                let next_asked = class.key.parts[at].budget.units()[next];
                station.hoping[coordinate].remove(&(asked, class_number));
                station.hoping[next].insert((next_asked, class_number));
            } else {
                hopeless.insert(class_number);
            }
        }
        hopeless
    }

    /// Every class that asks for this block.
    pub(super) fn at_block(&self, number: u32) -> BTreeSet<u32> {
        let hoping = self.stations[number as usize].hoping.iter();
        hoping.flatten().map(|(_, class)| *class).collect()
    }
}

impl Watchers<'_> {
    /// What a watcher asks, and at which coordinates.
    fn asked(&self, watcher: Watcher) -> (&[i64], Range<usize>) {
        let class = self.classes[watcher.class as usize].as_ref();
        let place = class.and_then(|class| Some((class, class.place.as_ref()?)));
        place.map_or((&[], 0..0), |(class, place)| {
            let (part, coordinate) = place.watches;
            let asked = class.key.parts[part].budget.units();
            let counted = match self.rule {
                Rule::All => coordinate..coordinate + 1,
                Rule::Any => 0..asked.len(),
            };
            (asked, counted)
        })
    }
}

impl Rungs<Watcher> for Watchers<'_> {
    fn compare(&self, one: &Watcher, other: &Watcher) -> Ordering {
        one.key.cmp(&other.key).then_with(|| {
            let class = |watcher: &Watcher| self.classes[watcher.class as usize].as_ref();
            let (one, other) = (class(one), class(other));
            let ranks = one.map(|class| &class.rank).cmp(&other.map(|class| &class.rank));
            ranks.then_with(|| one.and_then(Class::head).cmp(&other.and_then(Class::head)))
        })
    }

    fn lower(&self, watcher: &Watcher, least: &mut [i64]) {
        let (asked, counted) = self.asked(*watcher);
        for (least, asked) in least[counted.clone()].iter_mut().zip(&asked[counted]) {
            *least = (*least).min(below_all(*asked));
        }
    }

    fn is_low(&self, watcher: &Watcher, limits: &[i64]) -> bool {
        let (asked, counted) = self.asked(*watcher);
        let mut pairs = asked[counted.clone()].iter().zip(&limits[counted]);
        pairs.any(|(asked, limit)| below_all(*asked) <= *limit)
    }
}

/// Budget as an amount of a ladder.
const fn below_all(units: i64) -> i64 {
    units - i64::MAX
}

/// Up to what a watcher that asks it is no longer kept waiting, at each coordinate.
fn limits(block: &Block, rule: Rule) -> Vec<i64> {
    let limits = block.accounts.iter().map(|account| {
        if account.unlocked < 0 || rule == Rule::Any && account.capacity == 0 {
            return NONE;
        }
        below_all(i64::try_from(account.unlocked).unwrap_or(i64::MAX))
    });
    limits.collect()
}

/// At which coordinates a class is kept hoping at the block of `part`.
fn hoping_at(rule: Rule, hope: usize, part: &Part) -> impl Iterator<Item = usize> + '_ {
    let asked = part.budget.units().iter().enumerate();
    // What asks nothing always finds it.
    let chosen = asked.filter(move |(at, asked)| match rule {
        Rule::All => **asked > 0,
        Rule::Any => *at == hope,
    });
    chosen.map(|(at, _)| at)
}

/// An order at which enough is left of the block.
fn hope(part: &Part, block: &Block) -> Option<usize> {
    let mut pairs = part.budget.units().iter().zip(&block.accounts);
    pairs.position(|(asked, account)| account.capacity > 0 && i128::from(*asked) <= account.left())
}

/// What the tests of the engine look at.
#[cfg(test)]
impl Waiting {
    pub(super) fn count(&self) -> usize {
        assert_eq!(self.numbers.len() + self.free.len(), self.classes.len());
        self.numbers.len()
    }

    pub(super) fn has_member(&self, class: u32, claim: u32) -> bool {
        self.class(class)
            .is_some_and(|class| class.members.contains(&claim))
    }

    /// The block that a class watches, and at which coordinates.
    pub(super) fn watched_by(&self, class: u32) -> (u32, Vec<usize>) {
        let class = self.class(class).unwrap();
        let (part, coordinate) = class.place.as_ref().unwrap().watches;
        let part = &class.key.parts[part];
        let coordinates = match self.rule {
            Rule::All => vec![coordinate],
            Rule::Any => (0..part.budget.units().len()).collect(),
        };
        (part.block, coordinates)
    }

    /// The blocks and coordinates at which a class hopes.
    pub(super) fn hopes_of(&self, class: u32) -> Vec<(u32, usize)> {
        let class = self.class(class).unwrap();
        let parts = class.key.parts.iter().zip(&class.place.as_ref().unwrap().hopes);
        let hopes =
            parts.flat_map(|(part, hope)| hoping_at(self.rule, *hope, part).map(|at| (part.block, at)));
        hopes.collect()
    }

    pub(super) fn all_kept(&self) -> Vec<(u32, &'static str, usize, i64, u32)> {
        let mut kept = Vec::new();
        let watchers = Watchers {
            classes: &self.classes,
            rule: self.rule,
        };
        for (block, station) in (0..).zip(&self.stations) {
            for watcher in station.watching.iter() {
                let (asked, counted) = watchers.asked(watcher);
                kept.extend(counted.map(|at| (block, "watching", at, asked[at], watcher.class)));
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
