//! Where waiting classes can still ever fit.
//!
//! At each of its blocks a class hopes: at all coordinates that it asks of (basic composition), or at one order at which
//! enough is left for it (Renyi). What is left falls with each consumption; a class for which too little is left where it
//! hopes finds another order, or is hopeless. As less and less is left, there are few such moves for each class.
//!
//! Usually much more is left than any class asks. So those that come are put on a short list first, of which only the most
//! that they ask is known. They go into the order when that may be too much, or when the list is full.

use std::cmp::Ordering;

use super::{
    Waiting,
    class::Classes,
    min_tree::{EntryOrder, MinTree},
};
use crate::engine::{
    asks::{Asks, Part},
    books::{Account, Block, Rule},
};

/// The classes that hope at a block.
#[derive(Clone, Debug)]
pub(super) struct Hoping {
    ordered: MinTree<Hope>,
    /// Those that came last.
    fresh: Vec<u32>,
    /// What they ask at most, or more, at each coordinate.
    most: Box<[i64]>,
}

/// As many fresh classes at a block, at most.
const FRESH: usize = if cfg!(test) { 2 } else { 128 };

/// A class in the order of those that hope at a block.
#[derive(Clone, Copy, Debug)]
struct Hope {
    class: u32,
    /// The number of the part, times the number of coordinates; and more by the order (Renyi).
    cell: u32,
}

/// The order of classes by their numbers, and what they ask, negative: the least is what is largest.
struct Hopes<'a> {
    classes: Classes<'a>,
    rule: Rule,
    coordinates: usize,
}

impl Hopes<'_> {
    /// What is asked, and at which coordinate alone it counts (Renyi).
    fn part(&self, hope: Hope) -> (Part<'_>, usize) {
        let cell = hope.cell as usize;
        let (part, order) = (cell / self.coordinates, cell % self.coordinates);
        (self.classes.parts(hope.class).get(part), order)
    }

    /// An order at which enough is left of the block. Under basic composition, none is chosen.
    fn order_at(&self, part: Part<'_>, block: &Block) -> Option<usize> {
        if self.rule == Rule::All {
            return None;
        }
        let mut pairs = part.asked.iter().zip(&block.accounts);
        pairs.position(|(asked, account)| account.capacity > 0 && i128::from(*asked) <= account.left())
    }
}

impl EntryOrder<Hope> for Hopes<'_> {
    fn compare(&self, one: &Hope, other: &Hope) -> Ordering {
        one.class.cmp(&other.class)
    }

    fn lower(&self, hope: &Hope, least: &mut [i64]) {
        let (part, order) = self.part(*hope);
        for (at, (least, asked)) in least.iter_mut().zip(part.asked).enumerate() {
            if self.rule == Rule::All || at == order {
                *least = (*least).min(-asked);
            }
        }
    }
}

impl Hoping {
    pub(super) fn new(coordinates: usize) -> Self {
        Self {
            ordered: MinTree::new(coordinates),
            fresh: Vec::new(),
            most: vec![0; coordinates].into(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let ordered = self.ordered.iter().map(|hope| hope.class);
        ordered.chain(self.fresh.iter().copied())
    }

    fn insert(&mut self, class: u32, part: Part<'_>) {
        for (most, asked) in self.most.iter_mut().zip(part.asked) {
            *most = (*most).max(*asked);
        }
        self.fresh.push(class);
    }

    /// Puts the fresh classes into the order.
    fn sort(&mut self, block: &Block, hopes: &Hopes<'_>) {
        self.most.fill(0);
        self.fresh.sort_unstable();
        for class in self.fresh.drain(..) {
            let parts = hopes.classes.parts(class);
            let Some(part) = parts.at(block.number) else {
                continue;
            };
            let order = hopes.order_at(parts.get(part), block);
            // Who is hopeless already lacks wherever the block has any budget.
            let order = order.or_else(|| block.accounts.iter().position(|account| account.capacity > 0));
            let order = order.unwrap_or(0);
            self.ordered
                .insert(hope_of(class, part, order, hopes.coordinates), hopes);
        }
    }

    fn remove(&mut self, class: u32, hopes: &Hopes<'_>) {
        // Who goes soon is at the end.
        if let Some(at) = self.fresh.iter().rposition(|other| *other == class) {
            self.fresh.swap_remove(at);
        } else {
            self.ordered.remove(hope_of(class, 0, 0, 1), hopes);
        }
    }

    /// Whether too little may be left for a fresh class.
    fn may_be_lost(&self, block: &Block, rule: Rule) -> bool {
        let mut pairs = self.most.iter().zip(&block.accounts);
        let enough = |(most, account): (&i64, &Account)| i128::from(*most) <= account.left();
        match rule {
            Rule::All => !pairs.all(enough),
            Rule::Any => !pairs.any(|pair| pair.1.capacity > 0 && enough(pair)),
        }
    }
}

impl Waiting {
    /// Lets a class hope, if it does not yet.
    pub(in crate::engine) fn hope(&mut self, number: u32, blocks: &[Block], asks: &Asks) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.hopes, true) {
            return;
        }
        for part in asks.get(class.ask).iter() {
            let (hoping, hopes) = self.hopes(part.block, asks);
            if hoping.fresh.len() == FRESH {
                hoping.sort(&blocks[part.block as usize], &hopes);
            }
            hoping.insert(number, part);
        }
    }

    pub(super) fn give_up_hopes(&mut self, number: u32, asks: &Asks) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.hopes, false) {
            for block in asks.get(class.ask).blocks() {
                let (hoping, hopes) = self.hopes(block, asks);
                hoping.remove(number, &hopes);
            }
        }
    }

    /// The classes that can never fit this block again, now that less is left of it.
    pub(in crate::engine) fn hopeless(&mut self, block: &Block, asks: &Asks) -> Vec<u32> {
        let (hoping, hopes) = self.hopes(block.number, asks);
        if hoping.may_be_lost(block, hopes.rule) {
            hoping.sort(block, &hopes);
        }
        let lost = |row: &[i64]| {
            let mut pairs = row.iter().zip(&block.accounts);
            pairs.any(|(amount, account)| *amount <= 0 && -i128::from(*amount) > account.left())
        };
        let mut lost = hoping.ordered.all(lost, &hopes);
        if hopes.rule == Rule::Any {
            lost.retain(|lost| {
                let next = hopes.order_at(hopes.part(*lost).0, block);
                if let Some(order) = next {
                    let part = lost.cell as usize / hopes.coordinates;
                    hoping.ordered.remove(*lost, &hopes);
                    let hope = hope_of(lost.class, part, order, hopes.coordinates);
                    hoping.ordered.insert(hope, &hopes);
                }
                next.is_none()
            });
        }
        lost.into_iter().map(|hope| hope.class).collect()
    }

    /// Every class that asks for this block, but for new ones.
    pub(in crate::engine) fn at_block(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.stations[number as usize].hoping.iter()
    }

    fn hopes<'a>(&'a mut self, block: u32, asks: &'a Asks) -> (&'a mut Hoping, Hopes<'a>) {
        let classes = Classes {
            slab: &self.classes,
            asks,
        };
        let hopes = Hopes {
            classes,
            rule: self.rule,
            coordinates: self.coordinates,
        };
        (&mut self.stations[block as usize].hoping, hopes)
    }

    /// The coordinates at which classes hope at a block, and what they ask there.
    #[cfg(test)]
    pub(super) fn all_hopes(&self, block: &Block, asks: &Asks) -> Vec<(u32, usize, i64)> {
        let mut copy = self.clone();
        let (hoping, hopes) = copy.hopes(block.number, asks);
        for class in &hoping.fresh {
            let parts = hopes.classes.parts(*class);
            let part = parts.get(parts.at(block.number).unwrap());
            assert!(
                hoping
                    .most
                    .iter()
                    .zip(part.asked)
                    .all(|(most, asked)| most >= asked)
            );
        }
        hoping.sort(block, &hopes);
        let mut all = Vec::new();
        for hope in hoping.ordered.iter() {
            let (part, order) = hopes.part(hope);
            assert_eq!(part.block, block.number);
            let asked = part.asked.iter().enumerate();
            let counted = asked.filter(|(at, _)| hopes.rule == Rule::All || *at == order);
            all.extend(counted.map(|(at, asked)| (hope.class, at, *asked)));
        }
        all
    }
}

fn hope_of(class: u32, part: usize, order: usize, coordinates: usize) -> Hope {
    Hope {
        class,
        // The list of asks takes nothing with more.
        cell: u32::try_from(part * coordinates + order).unwrap_or(u32::MAX),
    }
}
