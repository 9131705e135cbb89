//! What claims demand: equal demands once, and each list of blocks once, whatever is demanded of it.
//!
//! There may be millions of claims, so all demands lie one after the other in one vector of 64-bit words, and
//! all lists of blocks in another. A claim's demands are found by their offset, in constant time. Read as
//! [`BlockDemands`], they are a list with one entry for each of the claim's blocks; all blocks of one demand
//! share one row of amounts.
//!
//! What no claim demands any more is left behind when the demands in use are copied into a new store, which is
//! due each time when the store has grown to twice its size.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use hashbrown::HashTable;

use crate::Budget;

/// The number of the demands of a claim that are forgotten. They are read as none.
pub(super) const NO_DEMANDS: u32 = u32::MAX;

/// A store with fewer words is never copied.
const FEWEST_COPIED: usize = if cfg!(test) { 64 } else { 1 << 17 };

/// The demands of claims, by number.
#[derive(Clone, Debug)]
pub(super) struct DemandStore {
    coordinates: usize,
    /// For each of the demands: the number of its layout; the amounts of each demand (its row).
    words: Vec<i64>,
    /// For each layout: the numbers of its blocks and of its demands, as one word; with several demands, how
    /// many blocks there are up to the end of each; the blocks, two to a word.
    layouts: Vec<i64>,
    /// The numbers of all demands, found by their words.
    known: HashTable<u32>,
    /// The numbers of all layouts, found by their words.
    known_layouts: HashTable<u32>,
    hasher: RandomState,
    /// How many words there are when a copy is due.
    copy_at: usize,
}

/// What one claim demands of each of its blocks, in the order of its demands. A `part` is a position in this
/// list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockDemands<'a> {
    blocks_in_all: u32,
    coordinates: usize,
    rows: &'a [i64],
    ends: &'a [i64],
    blocks: &'a [i64],
}

/// What a claim demands of one of its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockDemand<'a> {
    pub(super) block: u32,
    /// One for each coordinate.
    pub(super) amounts: &'a [i64],
}

impl DemandStore {
    pub(super) fn new(coordinates: usize) -> Self {
        Self {
            coordinates,
            words: Vec::new(),
            layouts: Vec::new(),
            known: HashTable::new(),
            known_layouts: HashTable::new(),
            hasher: RandomState::new(),
            copy_at: FEWEST_COPIED,
        }
    }

    /// Adds the demands of a claim, each as its blocks and its budget. Returns their number, which equal
    /// demands have, too; none if there are too many to be numbered with 32 bits.
    pub(super) fn add(&mut self, demands: &[(Vec<u32>, &Budget)]) -> Option<u32> {
        let blocks: Vec<u32> = demands.iter().flat_map(|(blocks, _)| blocks).copied().collect();
        // Each coordinate of each block is numbered with 32 bits, too.
        u32::try_from(blocks.len().checked_mul(self.coordinates)?).ok()?;
        let mut layout = vec![pair(
            u32::try_from(blocks.len()).ok()?,
            u32::try_from(demands.len()).ok()?,
        )];
        if demands.len() > 1 {
            let mut end = 0;
            for (blocks, _) in demands {
                end += i64::try_from(blocks.len()).ok()?;
                layout.push(end);
            }
        }
        let words = blocks
            .chunks(2)
            .map(|two| pair(two[0], two.get(1).copied().unwrap_or(0)));
        layout.extend(words);
        let rows = demands.iter().flat_map(|(_, budget)| budget.units());
        self.intern(&layout, rows.copied())
    }

    /// Adds demands of another store. Returns their number; none as [`add`](Self::add).
    pub(super) fn copy(&mut self, demands: BlockDemands<'_>) -> Option<u32> {
        let rows = demands.rows.len().checked_div(self.coordinates).unwrap_or(0);
        let mut layout = vec![pair(demands.blocks_in_all, u32::try_from(rows).ok()?)];
        layout.extend(demands.ends);
        layout.extend(demands.blocks);
        self.intern(&layout, demands.rows.iter().copied())
    }

    fn intern(&mut self, layout: &[i64], rows: impl Iterator<Item = i64>) -> Option<u32> {
        let layout = self.intern_layout(layout)?;
        let number = u32::try_from(self.words.len()).ok();
        let number = number.filter(|number| *number != NO_DEMANDS)?;
        // Written at the end, and taken back if equal ones are known.
        self.words.push(i64::from(layout));
        self.words.extend(rows);
        let (words, layouts, coordinates) = (&self.words, &self.layouts, self.coordinates);
        let words_of = |number: u32| {
            let [_, rows] = halves(layouts[layout_at(words, number)]);
            &words[number as usize..][..=rows as usize * coordinates]
        };
        let added = words_of(number);
        let hash = self.hasher.hash_one(added);
        if let Some(known) = self.known.find(hash, |other| words_of(*other) == added) {
            self.words.truncate(number as usize);
            return Some(*known);
        }
        let hash_of = |number: &u32| self.hasher.hash_one(words_of(*number));
        self.known.insert_unique(hash, number, hash_of);
        Some(number)
    }

    fn intern_layout(&mut self, layout: &[i64]) -> Option<u32> {
        let hash = self.hasher.hash_one(layout);
        let same = |number: &u32| layout_words(&self.layouts, *number) == layout;
        if let Some(number) = self.known_layouts.find(hash, same) {
            return Some(*number);
        }
        let number = u32::try_from(self.layouts.len()).ok()?;
        self.layouts.extend(layout);
        let hash_of = |number: &u32| self.hasher.hash_one(layout_words(&self.layouts, *number));
        self.known_layouts.insert_unique(hash, number, hash_of);
        Some(number)
    }

    pub(super) fn get(&self, number: u32) -> BlockDemands<'_> {
        if number == NO_DEMANDS {
            return BlockDemands::default();
        }
        let layout = &self.layouts[layout_at(&self.words, number)..];
        let [blocks_in_all, demands] = halves(layout[0]);
        let demands = demands as usize;
        let (ends, blocks) = layout[1..].split_at(if demands > 1 { demands } else { 0 });
        BlockDemands {
            blocks_in_all,
            coordinates: self.coordinates,
            rows: &self.words[number as usize + 1..][..demands * self.coordinates],
            ends,
            blocks: &blocks[..blocks_in_all.div_ceil(2) as usize],
        }
    }

    /// Whether the demands in use are to be copied into a new store.
    pub(super) const fn is_copy_due(&self) -> bool {
        self.len() >= self.copy_at
    }

    /// Makes the next copy due once there are twice as many words as now.
    pub(super) fn was_copied(&mut self) {
        self.words.shrink_to_fit();
        self.layouts.shrink_to_fit();
        self.copy_at = FEWEST_COPIED.max(self.len().saturating_mul(2));
    }

    /// How many words there are.
    pub(super) const fn len(&self) -> usize {
        self.words.len() + self.layouts.len()
    }
}

/// Where the layout of demands begins.
fn layout_at(words: &[i64], number: u32) -> usize {
    // Written from a number of 32 bits.
    usize::try_from(words[number as usize]).unwrap_or(usize::MAX)
}

/// The words of a layout.
fn layout_words(layouts: &[i64], number: u32) -> &[i64] {
    let words = &layouts[number as usize..];
    let [blocks, demands] = halves(words[0]);
    let ends = if demands > 1 { demands as usize } else { 0 };
    &words[..1 + ends + blocks.div_ceil(2) as usize]
}

impl<'a> BlockDemands<'a> {
    pub(super) const fn len(&self) -> usize {
        self.blocks_in_all as usize
    }

    /// [`len`](Self::len), as 32 bits.
    pub(super) const fn count(&self) -> u32 {
        self.blocks_in_all
    }

    pub(super) const fn coordinates(&self) -> usize {
        self.coordinates
    }

    pub(super) fn block(&self, part: usize) -> u32 {
        halves(self.blocks[part / 2])[part % 2]
    }

    pub(super) fn blocks(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).map(move |part| self.block(part))
    }

    pub(super) fn get(&self, part: usize) -> BlockDemand<'a> {
        BlockDemand {
            block: self.block(part),
            amounts: self.row(self.row_of(part)),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = BlockDemand<'a>> + 'a {
        (0..self.len()).map(move |part| self.get(part))
    }

    /// The part that demands a block.
    pub(super) fn at(self, block: u32) -> Option<usize> {
        self.blocks().position(|other| other == block)
    }

    /// The amounts of all demands, one row after the other.
    pub(super) const fn rows(&self) -> &'a [i64] {
        self.rows
    }

    /// The row, or the demand, of a part.
    pub(super) fn row_of(&self, part: usize) -> usize {
        self.ends
            .partition_point(|end| usize::try_from(*end).is_ok_and(|end| end <= part))
    }

    fn row(&self, row: usize) -> &'a [i64] {
        &self.rows[row * self.coordinates..][..self.coordinates]
    }

    /// The blocks and the amounts of each demand.
    pub(super) fn grouped(self) -> impl Iterator<Item = (impl Iterator<Item = u32> + 'a, &'a [i64])> + 'a {
        // Only an empty list has no coordinates.
        let rows = self.rows.len().checked_div(self.coordinates).unwrap_or(0);
        (0..rows).map(move |row| {
            // A claim with one demand keeps no ends: the demand has all blocks.
            let end = |row: usize| self.ends.get(row).and_then(|end| usize::try_from(*end).ok());
            let first = row.checked_sub(1).and_then(end).unwrap_or(0);
            let parts = first..end(row).unwrap_or(self.len());
            (parts.map(move |part| self.block(part)), self.row(row))
        })
    }

    /// What is equal for two claims that demand the same blocks in the same order, whatever the amounts.
    pub(super) fn layout(&self) -> impl Hash + PartialEq + use<'a> {
        (self.blocks_in_all, self.rows.len(), self.ends, self.blocks)
    }
}

impl PartialEq for BlockDemands<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.layout() == other.layout() && self.rows == other.rows
    }
}

impl Hash for BlockDemands<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.rows, self.layout()).hash(state);
    }
}

fn pair(one: u32, other: u32) -> i64 {
    (u64::from(one) | u64::from(other) << u32::BITS).cast_signed()
}

/// The two numbers of a [`pair`].
const fn halves(word: i64) -> [u32; 2] {
    let [a0, a1, a2, a3, b0, b1, b2, b3] = word.to_le_bytes();
    [
        u32::from_le_bytes([a0, a1, a2, a3]),
        u32::from_le_bytes([b0, b1, b2, b3]),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn demands_are_read_as_they_were_added(
            all in vec(vec((vec(any::<u32>(), 0..6), [0_i64..9, 0_i64..9]), 0..4), 1..20),
        ) {
            let mut demand_store = DemandStore::new(2);
            let budgets = |demands: &[(Vec<u32>, [i64; 2])]| -> Vec<Budget> {
                demands.iter().map(|(_, units)| Budget::new(units.to_vec()).unwrap()).collect()
            };
            let budgets: Vec<Vec<Budget>> = all.iter().map(|demands| budgets(demands)).collect();
            let mut numbers = Vec::new();
            for (demands, budgets) in all.iter().zip(&budgets) {
                let demands = demands.iter().zip(budgets);
                let demands: Vec<_> = demands.map(|((blocks, _), budget)| (blocks.clone(), budget)).collect();
                numbers.push(demand_store.add(&demands).unwrap());
            }
            // Equal demands have the same number, and a copy has the same demands.
            for (demands, number) in all.iter().zip(&numbers) {
                let first = all.iter().position(|other| other == demands).unwrap();
                prop_assert_eq!(*number, numbers[first]);
            }
            let mut copy = DemandStore::new(2);
            for number in &mut numbers {
                *number = copy.copy(demand_store.get(*number)).unwrap();
            }
            prop_assert_eq!(copy.len(), demand_store.len());
            let demand_store = copy;
            for (demands, number) in all.iter().zip(numbers) {
                let parts = demand_store.get(number);
                let expected: Vec<(u32, &[i64])> = demands
                    .iter()
                    .flat_map(|(blocks, units)| blocks.iter().map(move |block| (*block, units.as_slice())))
                    .collect();
                let found: Vec<(u32, &[i64])> = parts.iter().map(|part| (part.block, part.amounts)).collect();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(parts.len(), expected.len());
                for (part, (block, _)) in expected.iter().enumerate() {
                    prop_assert_eq!(parts.at(*block), expected.iter().position(|(other, _)| other == block));
                    prop_assert_eq!(parts.get(part).amounts, &parts.rows()[parts.row_of(part) * 2..][..2]);
                }
                let found: Vec<(Vec<u32>, Vec<i64>)> =
                    parts.grouped().map(|(blocks, demanded)| (blocks.collect(), demanded.to_vec())).collect();
                let expected: Vec<(Vec<u32>, Vec<i64>)> =
                    demands.iter().map(|(blocks, units)| (blocks.clone(), units.to_vec())).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
