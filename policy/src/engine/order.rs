//! The order of waiting claims: priority, then the shares that the policy compares, the smallest first (OSDI'21,
//! Algorithm 1), then the arrival.

use std::cmp::Ordering;

use super::books::{Block, Part};
use crate::Weight;

/// A fraction of a block's capacity, compared exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) asked: i64,
    /// Above 0.
    pub(super) of: i64,
}

/// Where a claim stands among the waiting ones, but for its arrival. The least goes first.
#[derive(Debug)]
pub(super) struct Rank {
    key: u64,
    pub(super) priority: i32,
    /// Divides the shares.
    weight: Weight,
    /// What the policy compares, which is, under most, its share of each of its blocks, largest first.
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
    pub(super) fn new(priority: i32, weight: Weight, shares: Box<[Share]>) -> Self {
        Self {
            key: key(priority, weight, shares.first()),
            priority,
            weight,
            shares,
        }
    }

    /// A number that is at most that of any rank that goes later. Equal ones say nothing.
    pub(super) const fn key(&self) -> u64 {
        self.key
    }

    /// Slices compare as the paper breaks ties: by the next share, and a missing one is smaller.
    fn compare_shares(&self, other: &Self) -> Ordering {
        if self.weight == other.weight {
            return self.shares.cmp(&other.shares);
        }
        let pairs = self.shares.iter().zip(&other.shares);
        let compared = pairs.map(|(mine, theirs)| {
            let product = |one: &Share, two: &Share| {
                u128::from(one.asked.unsigned_abs()) * u128::from(two.of.unsigned_abs())
            };
            compare_products(
                (product(mine, theirs), other.weight.get()),
                (product(theirs, mine), self.weight.get()),
            )
        });
        let first = compared.into_iter().find(|order| order.is_ne());
        first.unwrap_or_else(|| self.shares.len().cmp(&other.shares.len()))
    }
}

/// The share of each block, largest first: the dominant one, the second, ...
pub(super) fn dominant_shares(parts: &[Part], blocks: &[Block]) -> Box<[Share]> {
    let shares = parts
        .iter()
        .filter_map(|part| Share::of_block(part, &blocks[part.block as usize]));
    let mut shares: Box<[Share]> = shares.collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    shares
}

/// The priority in 8 bits, so far as it goes; then the first share over the weight, as how many bits it has (7) and the
/// first of them (49): a number that never falls where these rise.
fn key(priority: i32, weight: Weight, share: Option<&Share>) -> u64 {
    const DIGITS: u32 = 49;
    let before = priority
        .clamp(i8::MIN.into(), i8::MAX.into())
        .abs_diff(i8::MAX.into());
    // Multiples of 2^-64, rounded down: 127 bits at most.
    let share = share.and_then(|share| {
        let asked = u128::from(share.asked.unsigned_abs()) << 64;
        asked.checked_div(u128::from(share.of.unsigned_abs()) * u128::from(weight.get()))
    });
    let share = share.unwrap_or(0);
    let bits = u128::BITS - share.leading_zeros();
    let first = (share >> bits.saturating_sub(DIGITS + 1)) & ((1 << DIGITS) - 1);
    u64::from(before) << (DIGITS + 7) | u64::from(bits) << DIGITS | u64::try_from(first).unwrap_or(0)
}

/// Compares two products, exactly.
pub(super) fn compare_products(one: (u128, u32), other: (u128, u32)) -> Ordering {
    // The upper 64 bits of a factor, with what the lower ones carry, and the lower ones.
    let product = |(large, small): (u128, u32)| {
        let low = (large & u128::from(u64::MAX)) * u128::from(small);
        let high = (large >> 64) * u128::from(small) + (low >> 64);
        (high, low & u128::from(u64::MAX))
    };
    product(one).cmp(&product(other))
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let priority = other.priority.cmp(&self.priority);
        priority.then_with(|| self.compare_shares(other))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}
