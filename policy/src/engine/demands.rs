//! What the claims ask, kept for ever: one after the other in one list of words, since there may be millions.

use std::hash::{Hash, Hasher};

use crate::Budget;

/// What was asked, by number.
#[derive(Clone, Debug)]
pub(super) struct DemandStore {
    coordinates: usize,
    /// Of each: how many parts and how many demands it has; what each demand asks (its row); with several demands, where
    /// the parts of each end; the blocks of the parts, two to a word.
    words: Vec<i64>,
}

/// What one claim asks of each of its blocks, in the order of its demands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockDemands<'a> {
    length: usize,
    coordinates: usize,
    rows: &'a [i64],
    ends: &'a [i64],
    blocks: &'a [i64],
}

/// What a claim asks of one of its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockDemand<'a> {
    pub(super) block: u32,
    /// At each coordinate.
    pub(super) amounts: &'a [i64],
}

const HALF: u32 = u32::BITS;

impl DemandStore {
    pub(super) const fn new(coordinates: usize) -> Self {
        Self {
            coordinates,
            words: Vec::new(),
        }
    }

    /// Keeps what demands ask of blocks. None if there is no number left for it.
    pub(super) fn add(&mut self, demands: &[(Vec<u32>, &Budget)]) -> Option<u32> {
        let number = u32::try_from(self.words.len()).ok()?;
        let blocks: Vec<u32> = demands.iter().flat_map(|(blocks, _)| blocks).copied().collect();
        // A coordinate of a part has a number of 32 bits, too.
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
        let (length, demands) = (half(words[0], 0) as usize, half(words[0], 1) as usize);
        let (rows, rest) = words[1..].split_at(demands * self.coordinates);
        let (ends, rest) = rest.split_at(if demands > 1 { demands } else { 0 });
        BlockDemands {
            length,
            coordinates: self.coordinates,
            rows,
            ends,
            blocks: &rest[..length.div_ceil(2)],
        }
    }
}

impl<'a> BlockDemands<'a> {
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn coordinates(&self) -> usize {
        self.coordinates
    }

    pub(super) fn block(&self, part: usize) -> u32 {
        half(self.blocks[part / 2], part % 2)
    }

    pub(super) fn blocks(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.length).map(move |part| self.block(part))
    }

    pub(super) fn get(&self, part: usize) -> BlockDemand<'a> {
        BlockDemand {
            block: self.block(part),
            amounts: self.row(self.row_of(part)),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = BlockDemand<'a>> + 'a {
        (0..self.length).map(move |part| self.get(part))
    }

    /// Which part asks for a block.
    pub(super) fn at(self, block: u32) -> Option<usize> {
        self.blocks().position(|other| other == block)
    }

    /// What all the demands ask, one after the other.
    pub(super) const fn rows(&self) -> &'a [i64] {
        self.rows
    }

    /// Of which demand a part is.
    pub(super) fn row_of(&self, part: usize) -> usize {
        self.ends
            .partition_point(|end| usize::try_from(*end).is_ok_and(|end| end <= part))
    }

    fn row(&self, row: usize) -> &'a [i64] {
        &self.rows[row * self.coordinates..][..self.coordinates]
    }

    /// The blocks of each demand, and what it asks.
    pub(super) fn grouped(self) -> impl Iterator<Item = (impl Iterator<Item = u32> + 'a, &'a [i64])> + 'a {
        let rows = self.rows.len().checked_div(self.coordinates).unwrap_or(0);
        (0..rows).map(move |row| {
            let end = |row: usize| self.ends.get(row).and_then(|end| usize::try_from(*end).ok());
            let first = row.checked_sub(1).and_then(end).unwrap_or(0);
            let parts = first..end(row).unwrap_or(self.length);
            (parts.map(move |part| self.block(part)), self.row(row))
        })
    }

    /// What two claims have in common that ask for the same blocks, by equally many demands.
    pub(super) fn layout(&self) -> impl Hash + PartialEq + use<'a> {
        (self.length, self.rows.len(), self.ends, self.blocks)
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
    (u64::from(one) | u64::from(other) << HALF).cast_signed()
}

fn half(word: i64, which: usize) -> u32 {
    let halves = word.cast_unsigned();
    let half = if which == 0 {
        halves & u64::from(u32::MAX)
    } else {
        halves >> HALF
    };
    // It has 32 bits.
    u32::try_from(half).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn what_was_asked_is_found_again(
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
                    parts.grouped().map(|(blocks, asked)| (blocks.collect(), asked.to_vec())).collect();
                let expected: Vec<(Vec<u32>, Vec<i64>)> =
                    demands.iter().map(|(blocks, units)| (blocks.clone(), units.to_vec())).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
