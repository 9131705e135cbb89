//! The order of waiting claims: the highest priority first, then the smallest shares (OSDI'21, Algorithm 1),
//! then the first to arrive.
//!
//! Shares are exact fractions. Comparing two ranks costs a look at as many shares as are equal; a 64-bit key,
//! which never contradicts the order, decides most comparisons without that.

use std::cmp::Ordering;

use super::{
    blocks::Block,
    demands::{BlockDemand, BlockDemands},
};
use crate::{ShareRule, Weight};

/// An amount as a fraction of a block's capacity, compared exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) amount: i64,
    /// The capacity: above 0.
    pub(super) of: i64,
}

/// Everything that orders waiting claims but their arrival. The least goes first.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    key: u64,
    pub(super) priority: i32,
    /// Divides the shares in a comparison.
    pub(super) weight: Weight,
    shares: Shares,
}

/// The shares that a policy compares: under DPF, a claim's share of each of its blocks, largest first.
#[derive(Clone, Debug)]
pub(super) enum Shares {
    /// The same share a number of times, which takes no memory of its own.
    Same(u32, Share),
    Several(Box<[Share]>),
}

impl Share {
    /// The share of a block; none if the block has no capacity.
    fn of_block(demand: BlockDemand<'_>, block: &Block, rule: ShareRule) -> Option<Self> {
        let capacity = block.accounts.iter().map(|account| account.capacity);
        let (amount, of) = rule.share(demand.amounts, capacity)?;
        Some(Self { amount, of })
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        // Two 63-bit factors: the products are exact.
        let mine = i128::from(self.amount) * i128::from(other.of);
        mine.cmp(&(i128::from(other.amount) * i128::from(self.of)))
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

impl Shares {
    pub(super) const NONE: Self = Self::Same(0, Share { amount: 0, of: 1 });

    fn first(&self) -> Option<&Share> {
        self.iter().next()
    }

    fn iter(&self) -> impl Iterator<Item = &Share> {
        let (times, shares) = match self {
            Self::Same(times, share) => (*times as usize, std::slice::from_ref(share)),
            Self::Several(shares) => (1, &**shares),
        };
        shares
            .iter()
            .flat_map(move |share| std::iter::repeat_n(share, times))
    }
}

impl Rank {
    pub(super) fn new(priority: i32, weight: Weight, shares: Shares) -> Self {
        Self {
            key: key(priority, weight, shares.first()),
            priority,
            weight,
            shares,
        }
    }

    /// A number that is at most that of every rank that goes later. Ranks with equal keys have to be
    /// compared.
    pub(super) const fn key(&self) -> u64 {
        self.key
    }

    /// Compares share by share, as the paper does: a tie is broken by the next share, and a missing one is
    /// smaller.
    fn compare_shares(&self, other: &Self) -> Ordering {
        if self.weight == other.weight {
            if let (Shares::Same(times, share), Shares::Same(more, another)) = (&self.shares, &other.shares)
                && *times > 0
                && *more > 0
            {
                return share.cmp(another).then_with(|| times.cmp(more));
            }
            return self.shares.iter().cmp(other.shares.iter());
        }
        let product = |one: &Share, two: &Share| {
            u128::from(one.amount.unsigned_abs()) * u128::from(two.of.unsigned_abs())
        };
        let (mut mine, mut theirs) = (self.shares.iter(), other.shares.iter());
        loop {
            let (mine, theirs) = match (mine.next(), theirs.next()) {
                (Some(mine), Some(theirs)) => (mine, theirs),
                (mine, theirs) => return mine.is_some().cmp(&theirs.is_some()),
            };
            let order = compare_products(
                (product(mine, theirs), other.weight.get()),
                (product(theirs, mine), self.weight.get()),
            );
            if order.is_ne() {
                return order;
            }
        }
    }
}

/// The share of each block, largest first: the dominant share, the second largest, and so on.
pub(super) fn dominant_shares(demands: BlockDemands<'_>, blocks: &[Block], rule: ShareRule) -> Shares {
    let mut shares = demands
        .iter()
        .filter_map(|demand| Share::of_block(demand, &blocks[demand.block as usize], rule))
        .peekable();
    let Some(first) = shares.peek().copied() else {
        return Shares::NONE;
    };
    let mut several: Vec<Share> = shares.collect();
    if let Ok(times) = u32::try_from(several.len())
        && several.iter().all(|share| *share == first)
    {
        return Shares::Same(times, first);
    }
    several.sort_unstable_by(|one, other| other.cmp(one));
    Shares::Several(several.into())
}

/// The dominant share; none if no block has any capacity.
pub(super) fn dominant_share(demands: BlockDemands<'_>, blocks: &[Block], rule: ShareRule) -> Option<Share> {
    dominant_shares(demands, blocks, rule).first().copied()
}

/// The key of a rank: the priority, cut to 8 bits; then the first share over the weight as a floating-point
/// number of a 7-bit exponent and 49 bits after the leading one. It never falls where the priority falls or
/// the share rises.
fn key(priority: i32, weight: Weight, share: Option<&Share>) -> u64 {
    const DIGITS: u32 = 49;
    let before = priority
        .clamp(i8::MIN.into(), i8::MAX.into())
        .abs_diff(i8::MAX.into());
    // Multiples of 2^-64, rounded down: 127 bits at most.
    let share = share.and_then(|share| {
        let amount = u128::from(share.amount.unsigned_abs()) << 64;
        amount.checked_div(u128::from(share.of.unsigned_abs()) * u128::from(weight.get()))
    });
    // No share at all goes first, as in a comparison. A capacity and a weight are above 0.
    let share = share.unwrap_or(0);
    let bits = u128::BITS - share.leading_zeros();
    let first = (share >> bits.saturating_sub(DIGITS + 1)) & ((1 << DIGITS) - 1);
    // Masked to 49 bits, so it fits.
    let first = u64::try_from(first).unwrap_or(u64::MAX);
    u64::from(before) << (DIGITS + 7) | u64::from(bits) << DIGITS | first
}

/// Compares two products of a large and a small factor, exactly.
pub(super) fn compare_products(one: (u128, u32), other: (u128, u32)) -> Ordering {
    // The product in two words: the upper 64 bits of the large factor with the carry of the lower ones, and
    // the lower ones.
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
