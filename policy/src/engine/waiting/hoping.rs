//! Where waiting classes can still ever fit.
//!
//! At each of its blocks a class hopes: at all coordinates that it asks of (basic composition), or at one order at which
//! enough is left for it (Renyi). What is left falls with each consumption; a class for which too little is left where it
//! hopes finds another order, or is hopeless. As less and less is left, there are few such moves for each class.

use std::cmp::Ordering;

use super::{
    Waiting,
    class::Classes,
    ladder::{Ladder, Rungs},
};
use crate::engine::{
    asks::{Asks, Part},
    books::{Block, Rule},
};

/// A class that hopes at a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hope {
    class: u32,
    /// The number of the part, times the number of coordinates; and more by the order (Renyi).
    cell: u32,
}

/// The order of classes by their numbers, and what they ask, negative: the least is what is largest.
pub(super) struct Hopes<'a> {
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
}

impl Rungs<Hope> for Hopes<'_> {
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

impl Waiting {
    /// Lets a class hope, if it does not yet.
    pub(in crate::engine) fn hope(&mut self, number: u32, blocks: &[Block], asks: &Asks) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.hopes, true) {
            return;
        }
        for (at, part) in asks.get(class.ask).iter().enumerate() {
            let order = match self.rule {
                Rule::All => 0,
                Rule::Any => hope_at(part, &blocks[part.block as usize]).unwrap_or(0),
            };
            let (hoping, hopes) = self.hopes(part.block, asks);
            let hope = hope_of(number, at, order, hopes.coordinates);
            hoping.insert(hope, &hopes);
        }
    }

    pub(super) fn give_up_hopes(&mut self, number: u32, asks: &Asks) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut class.hopes, false) {
            for block in asks.get(class.ask).blocks() {
                let (hoping, hopes) = self.hopes(block, asks);
                hoping.remove(hope_of(number, 0, 0, 1), &hopes);
            }
        }
    }

    /// The classes that can never fit this block again, now that less is left of it.
    pub(in crate::engine) fn hopeless(&mut self, number: u32, block: &Block, asks: &Asks) -> Vec<u32> {
        let rule = self.rule;
        let (hoping, hopes) = self.hopes(number, asks);
        let lost = |row: &[i64]| {
            let mut pairs = row.iter().zip(&block.accounts);
            pairs.any(|(amount, account)| *amount <= 0 && -i128::from(*amount) > account.left())
        };
        let mut lost = hoping.all(lost, &hopes);
        if rule == Rule::Any {
            lost.retain(|lost| {
                let next = hope_at(hopes.part(*lost).0, block);
                if let Some(order) = next {
                    let part = lost.cell as usize / hopes.coordinates;
                    hoping.remove(*lost, &hopes);
                    hoping.insert(hope_of(lost.class, part, order, hopes.coordinates), &hopes);
                }
                next.is_none()
            });
        }
        lost.into_iter().map(|hope| hope.class).collect()
    }

    /// Every class that asks for this block, by number, but for new ones.
    pub(in crate::engine) fn at_block(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.stations[number as usize]
            .hoping
            .iter()
            .map(|hope| hope.class)
    }

    fn hopes<'a>(&'a mut self, block: u32, asks: &'a Asks) -> (&'a mut Ladder<Hope>, Hopes<'a>) {
        let classes = Classes {
            slots: &self.classes,
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
    pub(super) fn all_hopes(&self, block: u32, asks: &Asks) -> Vec<(u32, usize, i64)> {
        let classes = Classes {
            slots: &self.classes,
            asks,
        };
        let (rule, coordinates) = (self.rule, self.coordinates);
        let hopes = Hopes {
            classes,
            rule,
            coordinates,
        };
        let mut all = Vec::new();
        for hope in self.stations[block as usize].hoping.iter() {
            let (part, order) = hopes.part(hope);
            assert_eq!(part.block, block);
            let asked = part.asked.iter().enumerate();
            let counted = asked.filter(|(at, _)| rule == Rule::All || *at == order);
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

/// An order at which enough is left of the block.
fn hope_at(part: Part<'_>, block: &Block) -> Option<usize> {
    let mut pairs = part.asked.iter().zip(&block.accounts);
    pairs.position(|(asked, account)| account.capacity > 0 && i128::from(*asked) <= account.left())
}
