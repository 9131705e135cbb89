//! Where waiting classes can still ever fit.

use std::{collections::BTreeSet, ops::Bound};

use super::Waiting;
use crate::engine::books::{Block, Part, Rule};

/// Classes ordered by what they ask at a coordinate.
pub(super) type Hopes = BTreeSet<(i64, u32)>;

impl Waiting {
    /// Lets a class hope, if it does not yet.
    pub(in crate::engine) fn hope(&mut self, number: u32, blocks: &[Block]) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        if class.hopes.is_some() {
            return;
        }
        let parts = class.key.parts.iter();
        let hopes = parts.map(|part| hope(part, &blocks[part.block as usize]).unwrap_or(0));
        let hopes: Box<[usize]> = hopes.collect();
        for (part, hope) in class.key.parts.iter().zip(&hopes) {
            let station = &mut self.stations[part.block as usize];
            for coordinate in hoping_at(self.rule, *hope, part) {
                station.hoping[coordinate].insert((part.budget.units()[coordinate], number));
            }
        }
        class.hopes = Some(hopes);
    }

    pub(super) fn give_up_hopes(&mut self, number: u32) {
        let Some(class) = self.classes.get_mut(number) else {
            return;
        };
        let Some(hopes) = class.hopes.take() else { return };
        for (part, hope) in class.key.parts.iter().zip(&hopes) {
            let station = &mut self.stations[part.block as usize];
            for coordinate in hoping_at(self.rule, *hope, part) {
                station.hoping[coordinate].remove(&(part.budget.units()[coordinate], number));
            }
        }
    }

    /// The classes that can never fit this block again, now that less is left of it.
    pub(in crate::engine) fn hopeless(&mut self, number: u32, block: &Block) -> BTreeSet<u32> {
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
            let Some(class) = self.classes.get_mut(class_number) else {
                continue;
            };
            let at = class.key.parts.iter().position(|part| part.block == number);
            let Some((at, hopes)) = at.zip(class.hopes.as_mut()) else {
                continue;
            };
            if let Some(next) = hope(&class.key.parts[at], block) {
                hopes[at] = next;
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
    pub(in crate::engine) fn at_block(&self, number: u32) -> BTreeSet<u32> {
        let hoping = self.stations[number as usize].hoping.iter();
        hoping.flatten().map(|(_, class)| *class).collect()
    }
}

/// At which coordinates a class is kept hoping at the block of `part`.
pub(super) fn hoping_at(rule: Rule, hope: usize, part: &Part) -> impl Iterator<Item = usize> + '_ {
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
