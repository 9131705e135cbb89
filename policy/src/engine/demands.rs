//! The demands of all claims, kept for the life of the engine.
//!
//! There may be millions of claims, so their demands lie one after the other in one vector of 64-bit words. A
//! claim's demands are found by their offset, in constant time. Read as [`BlockDemands`], they are a list
//! with one entry for each of the claim's blocks; all blocks of one demand share one row of amounts.

use std::hash::{Hash, Hasher};

use crate::Budget;

/// The demands of all claims, by number.
#[derive(Clone, Debug)]
pub(super) struct DemandStore {
    coordinates: usize,
    /// For each claim: the numbers of its blocks and of its demands, as one word; the amounts of each demand
    /// (its row); with several demands, how many blocks there are up to the end of each; the blocks, two to a
    /// word.
    words: Vec<i64>,
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
    pub(super) const fn new(coordinates: usize) -> Self {
        Self {
            coordinates,
            words: Vec::new(),
        }
    }

    /// Adds the demands of a claim, each as its blocks and its budget. Returns their number; none if there
    /// are too many to be numbered with 32 bits.
    pub(super) fn add(&mut self, demands: &[(Vec<u32>, &Budget)]) -> Option<u32> {
        let number = u32::try_from(self.words.len()).ok()?;
        let blocks: Vec<u32> = demands.iter().flat_map(|(blocks, _)| blocks).copied().collect();
        // Each coordinate of each block is numbered with 32 bits, too.
        u32::try_from(blocks.len().checked_mul(self.coordinates)?).ok()?;
        let (parts, rows) = (
            u32::try_from(blocks.len()).ok()?,
            u32::try_from(demands.len()).ok()?,
        );
        self.words.push(pair(parts, rows));
        self.words
            .extend(demands.iter().flat_map(|(_, budget)| budget.units()));
        if demands.len() > 1 {
            let mut end = 0;
            for (blocks, _) in demands {
                end += i64::try_from(blocks.len()).ok()?;
                self.words.push(end);
            }
        }
        let words = blocks
            .chunks(2)
            .map(|two| pair(two[0], two.get(1).copied().unwrap_or(0)));
        self.words.extend(words);
        Some(number)
    }

    pub(super) fn get(&self, number: u32) -> BlockDemands<'_> {
        let words = &self.words[number as usize..];
        let [blocks_in_all, demands] = halves(words[0]);
        let demands = demands as usize;
        let (rows, rest) = words[1..].split_at(demands * self.coordinates);
        let (ends, rest) = rest.split_at(if demands > 1 { demands } else { 0 });
        BlockDemands {
            blocks_in_all,
            coordinates: self.coordinates,
            rows,
            ends,
            blocks: &rest[..blocks_in_all.div_ceil(2) as usize],
        }
    }
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
