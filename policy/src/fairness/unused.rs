//! Budget that is unlocked and that no waiting claim can use.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
};

use crate::Composition;

/// Whether what is available of a block is enough for `amounts`: at each coordinate (basic composition), or at one order
/// at which the block has capacity (Renyi).
#[must_use]
pub fn can_use(amounts: &[i64], available: &[i128], capacity: &[i64], composition: &Composition) -> bool {
    let mut fits = amounts
        .iter()
        .zip(available)
        .zip(capacity)
        .map(|((amount, available), capacity)| (i128::from(*amount) <= *available, *capacity > 0));
    match composition {
        Composition::Basic => fits.all(|(fits, _)| fits),
        Composition::Renyi(_) => fits.any(|(fits, usable)| fits && usable),
    }
}

/// The part of a block that is available, between 0 and 1: that of epsilon or delta of which less is left (basic
/// composition; a coordinate without capacity doesn't count), or at the Renyi order where most is left.
#[must_use]
pub fn unused_part(available: &[i128], capacity: &[i64], composition: &Composition) -> f64 {
    let coordinates = available.iter().zip(capacity);
    let usable = coordinates.filter(|(_, capacity)| **capacity > 0);
    #[expect(clippy::cast_precision_loss, reason = "a measure has few digits")]
    let mut parts = usable.map(|(available, capacity)| (*available).max(0) as f64 / *capacity as f64);
    match composition {
        Composition::Basic => parts.reduce(f64::min).unwrap_or(0.0),
        Composition::Renyi(_) => parts.by_ref().fold(0.0, f64::max),
    }
}

/// The different demands that wait for each block, from which it follows whether what is available of a block is of use
/// to any claim that waits. (One that has enough here may lack budget at another of its blocks.)
///
/// A wait or end costs a search in a tree for each block of the claim. A look at a block costs a look at the demands
/// that wait for it, until one is found that has enough. The memory follows the different demands that wait, of which at
/// most [`MOST_LOOKED_AT`](Self::MOST_LOOKED_AT) are told apart for a block, and their blocks.
#[derive(Clone, Debug)]
pub struct UnusedBudget<B> {
    composition: Composition,
    waiting: HashMap<B, Demands>,
}

/// What waits for one block.
#[derive(Clone, Debug, Default)]
struct Demands {
    /// How many claims wait with each demand.
    counts: BTreeMap<Arc<[i64]>, u64>,
    /// How many claims wait with demands that have no place there.
    uncounted: u64,
}

impl Demands {
    fn add(&mut self, amounts: &Arc<[i64]>, most: usize) {
        if let Some(count) = self.counts.get_mut(amounts) {
            *count += 1;
        } else if self.counts.len() < most {
            self.counts.insert(Arc::clone(amounts), 1);
        } else {
            self.uncounted += 1;
        }
    }

    /// A demand that had no place when it came may have one now, so that which claims are counted is not exact; how many
    /// there are in all is.
    fn subtract(&mut self, amounts: &Arc<[i64]>) {
        match self.counts.get_mut(amounts) {
            Some(1) => {
                self.counts.remove(amounts);
            }
            Some(count) => *count -= 1,
            None => self.uncounted = self.uncounted.saturating_sub(1),
        }
    }
}

impl<B: Eq + Hash + Clone> UnusedBudget<B> {
    /// The most different demands that are told apart for a block.
    pub const MOST_LOOKED_AT: usize = 1000;

    /// Without claims.
    #[must_use]
    pub fn new(composition: Composition) -> Self {
        Self {
            composition,
            waiting: HashMap::new(),
        }
    }

    /// A claim waits for `amounts` of a block.
    pub fn waits(&mut self, block: &B, amounts: &Arc<[i64]>) {
        let demands = self.waiting.entry(block.clone()).or_default();
        demands.add(amounts, Self::MOST_LOOKED_AT);
    }

    /// A claim waits no longer for `amounts` of a block.
    pub fn ends(&mut self, block: &B, amounts: &Arc<[i64]>) {
        let Some(demands) = self.waiting.get_mut(block) else {
            return;
        };
        demands.subtract(amounts);
        if demands.counts.is_empty() && demands.uncounted == 0 {
            self.waiting.remove(block);
        }
    }

    /// The part of a block that is available and that no waiting claim has use for: 0 if one has enough in it, else
    /// [`unused_part`]. If too many different demands wait for it to look at all, it counts as useful, so that the number
    /// is never too large.
    #[must_use]
    pub fn of_block(&self, block: &B, available: &[i128], capacity: &[i64]) -> f64 {
        let is_of_use = self.waiting.get(block).is_some_and(|demands| {
            let mut looked_at = demands.counts.keys();
            demands.uncounted > 0
                || looked_at.any(|amounts| can_use(amounts, available, capacity, &self.composition))
        });
        if is_of_use {
            0.0
        } else {
            unused_part(available, capacity, &self.composition)
        }
    }
}
