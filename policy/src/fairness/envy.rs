//! Whether a claim that waits would rather have what another one was granted.

use std::{collections::BTreeMap, sync::Arc};

use super::Share;
use crate::{ShareRule, Weight};

/// What a claim demands, as far as it is compared with others. Only claims on the same blocks, with the same weight and
/// priority, are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingClaim<B> {
    alike: Alike<B>,
    demand: DemandKey,
}

/// What claims that are compared with each other have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike<B> {
    /// Ascending.
    blocks: Arc<[B]>,
    weight: Weight,
    priority: i32,
}

/// A claim's dominant share, and its amounts at each usable coordinate of each block, in the order of the blocks. Blocks
/// next to each other of which it demands the same are one run with their number, since most claims demand the same of all
/// of their blocks, which may be thousands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DemandKey {
    share: Share,
    runs: Arc<[(usize, Vec<i64>)]>,
}

impl DemandKey {
    /// Whether a demand on the same blocks has enough in what another one is: at each coordinate of each block.
    fn has_enough_in(&self, other: &Self) -> bool {
        let (mut mine, mut theirs) = (self.runs.iter(), other.runs.iter());
        let (mut run, mut their_run) = (mine.next(), theirs.next());
        let (mut used, mut their_used) = (0, 0);
        while let (Some((blocks, amounts)), Some((their_blocks, their_amounts))) = (run, their_run) {
            if amounts
                .iter()
                .zip(their_amounts)
                .any(|(mine, theirs)| mine > theirs)
            {
                return false;
            }
            let both = (blocks - used).min(their_blocks - their_used);
            (used, their_used) = (used + both, their_used + both);
            if used == *blocks {
                (run, used) = (mine.next(), 0);
            }
            if their_used == *their_blocks {
                (their_run, their_used) = (theirs.next(), 0);
            }
        }
        true
    }
}

impl<B: Ord + Clone> WaitingClaim<B> {
    /// The claim that demands `demands`: of each block its amounts, beside the block's capacity. None if a block has no
    /// capacity at any coordinate; nothing can be granted there.
    #[must_use]
    pub fn new(
        rule: ShareRule,
        demands: &[(B, &[i64], &[i64])],
        weight: Weight,
        priority: i32,
    ) -> Option<Self> {
        let mut demands: Vec<&(B, &[i64], &[i64])> = demands.iter().collect();
        demands.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut share = Share::ZERO;
        let mut runs: Vec<(usize, Vec<i64>)> = Vec::new();
        for (_, amounts, capacity) in &demands {
            share = share.max(Share::of(rule, amounts, capacity)?);
            let coordinates = amounts
                .iter()
                .zip(*capacity)
                .filter(|(_, capacity)| **capacity > 0);
            let usable: Vec<i64> = coordinates.map(|(amount, _)| *amount).collect();
            match runs.last_mut() {
                Some((blocks, amounts)) if *amounts == usable => *blocks += 1,
                _ => runs.push((1, usable)),
            }
        }
        Some(Self {
            alike: Alike {
                blocks: demands.iter().map(|(block, ..)| block.clone()).collect(),
                weight,
                priority,
            },
            demand: DemandKey {
                share,
                runs: runs.into(),
            },
        })
    }
}

/// Grants that a waiting claim envied: at the moment of the grant, a claim on the same blocks that had arrived before
/// went on waiting, had a smaller dominant share, and would have had enough in what was granted. Under DPF there are none
/// (theorem 3 of the OSDI paper: no claim envies another one, unless both have the same dominant share).
///
/// A wait or end costs a search in a tree. A grant costs a look at the waiting claims on the same blocks with a smaller
/// share, until one is found that envies it, at most at [`MOST_LOOKED_AT`](Self::MOST_LOOKED_AT) different demands. The
/// memory follows the claims that wait.
#[derive(Clone, Debug)]
pub struct Envy<B> {
    /// How many claims wait with each demand.
    waiting: BTreeMap<Alike<B>, BTreeMap<DemandKey, u64>>,
    envied: u64,
    unknown: u64,
}

impl<B> Default for Envy<B> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            envied: 0,
            unknown: 0,
        }
    }
}

impl<B: Ord + Clone> Envy<B> {
    /// The most different demands that a grant is compared with.
    pub const MOST_LOOKED_AT: usize = 1000;

    /// A claim arrived and waits.
    pub fn waits(&mut self, claim: &WaitingClaim<B>) {
        let alike = self.waiting.entry(claim.alike.clone()).or_default();
        *alike.entry(claim.demand.clone()).or_default() += 1;
    }

    /// A claim that waited does so no longer, without being granted.
    pub fn ends(&mut self, claim: &WaitingClaim<B>) {
        let Some(alike) = self.waiting.get_mut(&claim.alike) else {
            return;
        };
        if let Some(count) = alike.get_mut(&claim.demand) {
            *count -= 1;
            if *count == 0 {
                alike.remove(&claim.demand);
            }
        }
        if alike.is_empty() {
            self.waiting.remove(&claim.alike);
        }
    }

    /// These claims were granted by one event, and don't wait any more: claims of one event don't envy each other. Each
    /// claim beside whether it waited before.
    pub fn granted(&mut self, granted: &[(&WaitingClaim<B>, bool)]) {
        for (claim, _) in granted.iter().filter(|(_, waited)| *waited) {
            self.ends(claim);
        }
        for (claim, _) in granted {
            match self.is_envied(claim) {
                Some(true) => self.envied = self.envied.saturating_add(1),
                Some(false) => {}
                None => self.unknown = self.unknown.saturating_add(1),
            }
        }
    }

    /// None if so many different demands with smaller shares wait that not all were looked at.
    fn is_envied(&self, claim: &WaitingClaim<B>) -> Option<bool> {
        let Some(alike) = self.waiting.get(&claim.alike) else {
            return Some(false);
        };
        let mut smaller = alike
            .keys()
            .take_while(|demand| demand.share < claim.demand.share);
        let is_enough_for = |demand: &DemandKey| demand.has_enough_in(&claim.demand);
        if smaller.by_ref().take(Self::MOST_LOOKED_AT).any(is_enough_for) {
            return Some(true);
        }
        smaller.next().is_none().then_some(false)
    }

    /// How many grants were envied.
    #[must_use]
    pub const fn envied(&self) -> u64 {
        self.envied
    }

    /// How many grants may have been envied by a claim that was not looked at.
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }
}
