//! The order of waiting claims: the smallest dominant share first (OSDI'21, Algorithm 1).

use std::cmp::Ordering;

use super::books::{Block, Part};

/// A fraction of a block's capacity, compared exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) asked: i64,
    /// Above 0.
    pub(super) of: i64,
}

/// Where a claim stands among the waiting ones, but for its arrival. The least goes first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rank {
    priority: i32,
    /// Its share of each of its blocks, largest first.
    shares: Box<[Share]>,
}

impl Share {
    /// The largest share of a block over the coordinates at which it has any budget.
    fn of_block(part: &Part, block: &Block) -> Option<Self> {
        let asked = part.budget.units().iter();
        let shares = asked
            .zip(&block.accounts)
            .filter(|(_, account)| account.capacity > 0);
        shares
            .map(|(asked, account)| Self {
                asked: *asked,
                of: account.capacity,
            })
            .max()
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        // Two 63-bit factors: the products are exact.
        let mine = i128::from(self.asked) * i128::from(other.of);
        mine.cmp(&(i128::from(other.asked) * i128::from(self.of)))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

impl Rank {
    pub(super) fn new(priority: i32, parts: &[Part], blocks: &[Block]) -> Self {
        let mut shares: Box<[Share]> = parts
            .iter()
            .filter_map(|part| Share::of_block(part, &blocks[part.block as usize]))
            .collect();
        shares.sort_unstable_by(|one, other| other.cmp(one));
        Self { priority, shares }
    }

    pub(super) fn dominant_share(&self) -> Option<Share> {
        self.shares.first().copied()
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        // Slices compare as the paper breaks ties: by the next share, and a missing one is smaller.
        let priority = other.priority.cmp(&self.priority);
        priority.then_with(|| self.shares.cmp(&other.shares))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
