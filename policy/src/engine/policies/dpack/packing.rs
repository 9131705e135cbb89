//! The classes that wait for a block, sorted for packing, and the order of the block at which most of them
//! can be packed. Sorting costs n log n at each order for n classes, finding the best order one pass over
//! each sorted list.

use std::collections::{BTreeSet, HashMap};

use crate::engine::{
    blocks::{Account, FitRule},
    decisions::PolicyContext,
    waiting::Class,
};

/// All classes that wait for a block, whether they fit or not.
#[derive(Debug, Default)]
pub(super) struct PackingList {
    /// For each order, its classes in the order in which they are packed. Empty under basic composition,
    /// where no order is chosen.
    coordinates: Vec<Vec<Item>>,
}

/// A class at one coordinate of a block.
#[derive(Debug)]
struct Item {
    amount: i64,
    weight: u32,
    class: u32,
    /// The least amount of this class and those after it.
    least: i64,
}

impl PackingList {
    /// The lists of all blocks that `classes` demand, by block.
    pub(super) fn of(context: PolicyContext<'_>, classes: &[u32]) -> HashMap<u32, Self> {
        let mut at_block: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        for number in classes {
            let class = context.class(*number);
            for demand in class
                .into_iter()
                .flat_map(|class| context.demands_of(class).iter())
            {
                // A class that has just arrived is not in the index yet.
                let waiting = || context.classes_at(demand.block).collect();
                at_block
                    .entry(demand.block)
                    .or_insert_with(waiting)
                    .insert(*number);
            }
        }
        let list = |(block, classes)| match context.fit_rule() {
            FitRule::EveryCoordinate => (block, Self::default()),
            FitRule::SomeOrder => (block, Self::new(context, block, &classes)),
        };
        at_block.into_iter().map(list).collect()
    }

    fn new(context: PolicyContext<'_>, block: u32, classes: &BTreeSet<u32>) -> Self {
        let demanding = classes.iter().filter_map(|number| {
            let class = context.class(*number)?;
            let demands = context.demands_of(class);
            Some((demands.get(demands.at(block)?).amounts, class.weight(), *number))
        });
        let demanding: Vec<(&[i64], u32, u32)> = demanding.collect();
        let coordinates = 0..context.block(block).accounts.len();
        let sorted = coordinates.map(|at| {
            let items = demanding.iter().map(|(units, weight, class)| Item {
                amount: units[at],
                weight: *weight,
                class: *class,
                least: 0,
            });
            let mut items: Vec<Item> = items.collect();
            items.sort_unstable_by(|one, other| {
                let density = i128::from(one.amount) * i128::from(other.weight);
                let densities = density.cmp(&(i128::from(other.amount) * i128::from(one.weight)));
                let key = |item: &Item| (item.amount, item.weight, item.class);
                densities.then_with(|| key(one).cmp(&key(other)))
            });
            let mut least = i64::MAX;
            for item in items.iter_mut().rev() {
                least = least.min(item.amount);
                item.least = least;
            }
            items
        });
        Self {
            coordinates: sorted.collect(),
        }
    }

    /// Its classes; none under basic composition.
    pub(super) fn classes(&self) -> impl Iterator<Item = u32> + '_ {
        self.coordinates
            .first()
            .into_iter()
            .flatten()
            .map(|item| item.class)
    }

    /// The order at which the largest weight could be packed now; none if nothing is available at any.
    pub(super) fn best_order(&self, context: PolicyContext<'_>, block: u32) -> Option<usize> {
        let block = context.settled_block(block);
        let mut best: Option<(usize, u128)> = None;
        for (at, (account, items)) in block.accounts.iter().zip(&self.coordinates).enumerate() {
            if account.capacity == 0 || account.available <= 0 {
                continue;
            }
            let packed = pack(context, account, items);
            if best.is_none_or(|(_, most)| packed > most) {
                best = Some((at, packed));
            }
        }
        best.map(|(at, _)| at)
    }
}

/// The weight that fits at an order, packed greedily.
fn pack(context: PolicyContext<'_>, account: &Account, items: &[Item]) -> u128 {
    let mut rest = account.available;
    let mut packed: u128 = 0;
    for item in items {
        let amount = i128::from(item.amount);
        if i128::from(item.least) > rest {
            break;
        }
        if amount > rest {
            continue;
        }
        let members = context.class(item.class).map_or(0, Class::size);
        // A usize has at most 64 bits.
        let members = i128::try_from(members).unwrap_or(i128::MAX);
        let fit = rest.checked_div(amount).map_or(members, |fit| members.min(fit));
        rest -= fit * amount;
        packed += u128::from(item.weight) * fit.unsigned_abs();
    }
    packed
}
