//! The part of the blocks' budget that a group of claims was granted.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use crate::{ShareRule, Weight};

/// A part of a block's capacity, as an exact fraction.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    amount: i64,
    /// Above 0.
    capacity: i64,
}

impl Share {
    /// Nothing of a block.
    pub const ZERO: Self = Self {
        amount: 0,
        capacity: 1,
    };

    /// The share of a block with `capacity` that `amounts` are by `rule`; none if the block has no capacity at any
    /// coordinate. Both have an amount for each coordinate.
    #[must_use]
    pub fn of(rule: ShareRule, amounts: &[i64], capacity: &[i64]) -> Option<Self> {
        let (amount, capacity) = rule.share(amounts, capacity.iter().copied())?;
        Some(Self { amount, capacity })
    }

    /// The share as a number: 1 is the whole capacity. Rounded to the nearest double.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a measure has few digits")]
    pub fn value(self) -> f64 {
        self.amount as f64 / self.capacity as f64
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        // Two 63-bit factors: the products are exact.
        let mine = i128::from(self.amount) * i128::from(other.capacity);
        mine.cmp(&(i128::from(other.amount) * i128::from(self.capacity)))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

/// A group's dominant share and weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShare {
    /// Its largest share of any block: of all that its claims were granted there and did not release.
    pub dominant: Share,
    /// The weight of the claim of the group that arrived last.
    pub weight: Weight,
}

/// The dominant share of each group of claims. A group is in it from its first arrival on, a block from its first grant
/// to its retirement.
///
/// A grant or release costs as much as the claim has blocks, times coordinates; a release of the block at which a group
/// has its dominant share costs a look at all blocks of the group. The memory follows the pairs of groups and blocks.
#[derive(Clone, Debug)]
pub struct GroupShares<G, B> {
    rule: ShareRule,
    groups: BTreeMap<G, Group<B>>,
}

#[derive(Clone, Debug)]
struct Group<B> {
    weight: Weight,
    blocks: HashMap<B, Granted>,
    /// The largest share of any block, and a block where it is.
    largest: Option<(B, Share)>,
}

impl<B: Clone> Group<B> {
    fn find_largest(&mut self, rule: ShareRule) {
        let blocks = self.blocks.iter();
        let shares = blocks.map(|(at, granted)| (at.clone(), granted.share(rule)));
        self.largest = shares.max_by_key(|(_, share)| *share);
    }
}

/// What a group was granted of a block.
#[derive(Clone, Debug)]
struct Granted {
    amounts: Vec<i128>,
    capacity: Vec<i64>,
}

impl Granted {
    /// Sums beyond 64 bits count as the largest amount.
    fn share(&self, rule: ShareRule) -> Share {
        let amounts = self.amounts.iter().map(|amount| {
            let bounded = (*amount).clamp(0, i128::from(i64::MAX));
            i64::try_from(bounded).unwrap_or(i64::MAX)
        });
        let amounts: Vec<i64> = amounts.collect();
        Share::of(rule, &amounts, &self.capacity).unwrap_or(Share::ZERO)
    }
}

impl<G: Ord + Clone, B: Eq + Hash + Clone> GroupShares<G, B> {
    /// Without groups. `rule` is that of the dataset ([`DatasetRules::share_rule`](crate::DatasetRules::share_rule)).
    #[must_use]
    pub fn new(rule: ShareRule) -> Self {
        Self {
            rule,
            groups: BTreeMap::new(),
        }
    }

    /// A claim of `group` arrived with `weight`.
    pub fn arrived(&mut self, group: &G, weight: Weight) {
        if let Some(known) = self.groups.get_mut(group) {
            known.weight = weight;
        } else {
            let new = Group {
                weight,
                blocks: HashMap::new(),
                largest: None,
            };
            self.groups.insert(group.clone(), new);
        }
    }

    /// A claim of `group` was granted `amounts` of a block with `capacity`. Without effect for a group of which no
    /// claim arrived.
    pub fn granted(&mut self, group: &G, block: &B, amounts: &[i64], capacity: &[i64]) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        let granted = group.blocks.entry(block.clone()).or_insert_with(|| Granted {
            amounts: vec![0; capacity.len()],
            capacity: capacity.to_vec(),
        });
        for (sum, amount) in granted.amounts.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(i128::from(*amount));
        }
        let share = granted.share(self.rule);
        if group
            .largest
            .as_ref()
            .is_none_or(|(_, largest)| share >= *largest)
        {
            group.largest = Some((block.clone(), share));
        }
    }

    /// `amounts` of what claims of `group` were granted of a block returned to it.
    pub fn released(&mut self, group: &G, block: &B, amounts: &[i64]) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        let Some(granted) = group.blocks.get_mut(block) else {
            return;
        };
        for (sum, amount) in granted.amounts.iter_mut().zip(amounts) {
            *sum = sum.saturating_sub(i128::from(*amount));
        }
        if granted.amounts.iter().all(|sum| *sum <= 0) {
            group.blocks.remove(block);
        }
        if group.largest.as_ref().is_some_and(|(at, _)| at == block) {
            group.find_largest(self.rule);
        }
    }

    /// A block was retired: nobody has a share of it any more. Costs a look at each group, and at all blocks of those that
    /// had their dominant share there.
    pub fn retired(&mut self, block: &B) {
        for group in self.groups.values_mut() {
            if group.blocks.remove(block).is_some()
                && group.largest.as_ref().is_some_and(|(at, _)| at == block)
            {
                group.find_largest(self.rule);
            }
        }
    }

    /// Each group with its dominant share and weight, in the order of the groups.
    pub fn all(&self) -> impl Iterator<Item = (&G, GroupShare)> + Clone {
        self.groups.iter().map(|(name, group)| {
            let dominant = group.largest.as_ref().map_or(Share::ZERO, |(_, share)| *share);
            let weight = group.weight;
            (name, GroupShare { dominant, weight })
        })
    }
}
