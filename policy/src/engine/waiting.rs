//! The index of waiting claims, so that an event costs what it changes and not what waits.
//!
//! Claims that ask the same of the same blocks with the same priority and weight form a class: they fit or don't fit together,
//! and the one that arrived first goes first. Each class is kept twice at blocks, ordered by what it asks there:
//!
//! - *watching*: at one block that it doesn't fit, as a clause watches a literal. While that block's unlocked budget
//!   doesn't reach what the class asks there, no claim of the class can be granted, whatever other blocks do.
//! - *hoping*: at each of its blocks, where it can still ever fit. What a consumption leaves too little for is found
//!   there.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use super::{
    books::{Block, Part, Rule},
    order::{Rank, Share},
};
use crate::Weight;

/// Classes ordered by what they ask at a coordinate.
type Ladder = BTreeSet<(i64, u32)>;

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

/// What is kept at a block, for each coordinate.
#[derive(Clone, Debug)]
struct Station {
    watching: Box<[Ladder]>,
    hoping: Box<[Ladder]>,
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
        let ladders = || (0..coordinates).map(|_| Ladder::new()).collect();
        self.stations.push(Station {
            watching: ladders(),
            hoping: ladders(),
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
            if let Some(class) = &mut self.classes[*number as usize] {
                class.members.insert(claim);
            }
            return (*number, false);
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
        let Some(class) = self.class_mut(number) else {
            return false;
        };
        class.members.remove(&claim);
        if !class.members.is_empty() {
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

    fn take_from_places(&mut self, number: u32) {
        let Some(class) = &mut self.classes[number as usize] else {
            return;
        };
        let Some(place) = class.place.take() else { return };
        let parts = Arc::clone(&class.key.parts);
        self.change_watch(&parts, place.watches, number, false);
        for (part, hope) in parts.iter().zip(&place.hopes) {
            let station = &mut self.stations[part.block as usize];
            for coordinate in hoping_at(self.rule, *hope, part) {
                station.hoping[coordinate].remove(&(part.budget.units()[coordinate], number));
            }
        }
    }

    /// Lets a class watch a block that it doesn't fit.
    pub(super) fn watch(&mut self, number: u32, part: usize, coordinate: usize, blocks: &[Block]) {
        let Some(class) = self.class_mut(number) else {
            return;
        };
        let parts = Arc::clone(&class.key.parts);
        let before = class.place.as_ref().map(|place| place.watches);
        if before == Some((part, coordinate)) {
            return;
        }
        if let Some(place) = &mut class.place {
            place.watches = (part, coordinate);
        } else {
            let hopes = parts
                .iter()
                .map(|part| hope(part, &blocks[part.block as usize]).unwrap_or(0));
            let hopes: Box<[usize]> = hopes.collect();
            for (part, hope) in parts.iter().zip(&hopes) {
                let station = &mut self.stations[part.block as usize];
                for coordinate in hoping_at(self.rule, *hope, part) {
                    station.hoping[coordinate].insert((part.budget.units()[coordinate], number));
                }
            }
            if let Some(class) = self.class_mut(number) {
                class.place = Some(Place {
                    watches: (part, coordinate),
                    hopes,
                });
            }
        }
        if let Some(before) = before {
            self.change_watch(&parts, before, number, false);
        }
        self.change_watch(&parts, (part, coordinate), number, true);
    }

    /// Basic composition watches one coordinate. At a Renyi block any order may be the one that fits first.
    fn change_watch(&mut self, parts: &[Part], at: (usize, usize), number: u32, add: bool) {
        let (part, coordinate) = (&parts[at.0], at.1);
        let asked = part.budget.units();
        let coordinates = match self.rule {
            Rule::All => coordinate..coordinate + 1,
            Rule::Any => 0..asked.len(),
        };
        let station = &mut self.stations[part.block as usize];
        for coordinate in coordinates {
            if add {
                station.watching[coordinate].insert((asked[coordinate], number));
            } else {
                station.watching[coordinate].remove(&(asked[coordinate], number));
            }
        }
        self.touched.push(part.block);
    }

    /// The classes that watch this block and that what is unlocked there no longer keeps waiting. One may be given
    /// several times.
    pub(super) fn awakened<'a>(&'a self, number: u32, block: &'a Block) -> impl Iterator<Item = u32> + 'a {
        let watching = &self.stations[number as usize].watching;
        let usable = watching
            .iter()
            .zip(&block.accounts)
            .filter(|(_, account)| account.unlocked >= 0 && (self.rule == Rule::All || account.capacity > 0));
        usable.flat_map(|(ladder, account)| {
            let most = i64::try_from(account.unlocked).unwrap_or(i64::MAX);
            ladder.range(..=(most, u32::MAX)).map(|(_, class)| *class)
        })
    }

    /// The least that a watching class asks at each coordinate that may let it fit.
    pub(super) fn least_watched(&self, number: u32) -> impl Iterator<Item = (usize, i64)> + '_ {
        let ladders = self.stations[number as usize].watching.iter().enumerate();
        ladders.filter_map(|(at, ladder)| ladder.first().map(|(asked, _)| (at, *asked)))
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
        for (block, station) in (0..).zip(&self.stations) {
            for (kind, ladders) in [("watching", &station.watching), ("hoping", &station.hoping)] {
                for (coordinate, ladder) in ladders.iter().enumerate() {
                    kept.extend(
                        ladder
                            .iter()
                            .map(|(asked, class)| (block, kind, coordinate, *asked, *class)),
                    );
                }
            }
        }
        kept.sort_unstable();
        kept
    }
}
