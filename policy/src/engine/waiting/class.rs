//! A class: waiting claims with the same demands, priority and weight. Either all of them fit or none does,
//! and the one that arrived first goes first. Its claims are one number, or a sorted set.

use std::{cmp::Ordering, collections::BTreeSet};

use super::{Slab, min_tree::EntryOrder};
use crate::engine::{
    demands::{BlockDemands, DemandStore},
    order::Rank,
};

#[derive(Clone, Debug)]
pub(in crate::engine) struct Class {
    pub(in crate::engine) rank: Rank,
    /// The demands of each of its claims, in the [`DemandStore`].
    pub(in crate::engine) demands_id: u32,
    pub(in crate::engine) family: u32,
    pub(super) claims: ClaimSet,
    /// Whether it has been added to the feasible classes of its blocks: not while it is new.
    pub(super) is_listed: bool,
}

/// The numbers of one claim or more, sorted.
#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "most classes have one claim, and the enum is to be small"
)]
pub(super) enum ClaimSet {
    One(u32),
    Many(Box<BTreeSet<u32>>),
}

/// A class, or a family in the place of its first class, as an entry of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The key of its rank, which decides most comparisons.
    pub(super) key: u64,
    /// The number of the class or of the family.
    pub(super) number: u32,
}

/// Sorts classes by rank, then by their first claims. The amounts of a class are all its rows, one after the
/// other.
#[derive(Clone, Copy)]
pub(super) struct Classes<'a> {
    pub(super) slab: &'a Slab<Class>,
    pub(super) demand_store: &'a DemandStore,
}

impl Class {
    pub(in crate::engine) const fn priority(&self) -> i32 {
        self.rank.priority
    }

    pub(in crate::engine) const fn weight(&self) -> u32 {
        self.rank.weight.get()
    }

    /// How many of its claims arrived before `claim`.
    pub(in crate::engine) fn before(&self, claim: u32) -> usize {
        match &self.claims {
            ClaimSet::One(only) => usize::from(*only < claim),
            ClaimSet::Many(claims) => claims.range(..claim).count(),
        }
    }

    /// How many claims it has.
    pub(in crate::engine) fn size(&self) -> usize {
        match &self.claims {
            ClaimSet::One(_) => 1,
            ClaimSet::Many(claims) => claims.len(),
        }
    }

    /// Its claims, by arrival.
    pub(in crate::engine) fn claims(&self) -> Vec<u32> {
        self.claims.clone().into_list()
    }

    /// The claim that goes first.
    pub(in crate::engine) fn head(&self) -> Option<u32> {
        match &self.claims {
            ClaimSet::One(only) => Some(*only),
            ClaimSet::Many(claims) => claims.first().copied(),
        }
    }

    pub(super) const fn member(&self, number: u32) -> Member {
        Member {
            key: self.rank.key(),
            number,
        }
    }
}

impl ClaimSet {
    pub(super) fn insert(&mut self, claim: u32) {
        match self {
            Self::One(only) => *self = Self::Many(Box::new(BTreeSet::from([*only, claim]))),
            Self::Many(claims) => {
                claims.insert(claim);
            }
        }
    }

    /// Removes one of several claims.
    pub(super) fn remove(&mut self, claim: u32) {
        if let Self::Many(claims) = self {
            claims.remove(&claim);
            if let (1, Some(only)) = (claims.len(), claims.first().copied()) {
                *self = Self::One(only);
            }
        }
    }

    pub(super) fn into_list(self) -> Vec<u32> {
        match self {
            Self::One(only) => vec![only],
            Self::Many(claims) => claims.into_iter().collect(),
        }
    }
}

impl<'a> Classes<'a> {
    pub(super) fn demands(&self, number: u32) -> BlockDemands<'a> {
        let class = self.slab.get(number);
        class.map_or_else(BlockDemands::default, |class| {
            self.demand_store.get(class.demands_id)
        })
    }
}

impl EntryOrder<Member> for Classes<'_> {
    fn compare(&self, one: &Member, other: &Member) -> Ordering {
        one.key.cmp(&other.key).then_with(|| {
            let (one, other) = (self.slab.get(one.number), self.slab.get(other.number));
            let ranks = one.map(|class| &class.rank).cmp(&other.map(|class| &class.rank));
            ranks.then_with(|| one.and_then(Class::head).cmp(&other.and_then(Class::head)))
        })
    }

    fn lower(&self, member: &Member, least: &mut [i64]) {
        for (least, demanded) in least.iter_mut().zip(self.demands(member.number).rows()) {
            *least = (*least).min(*demanded);
        }
    }
}
