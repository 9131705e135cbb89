//! The claims: as they arrived, what became of them, and how much of each was consumed and released. They are kept for
//! ever, and so they are small.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

use super::{
    Phase,
    demands::{BlockDemands, DemandStore},
};
use crate::{Budget, ClaimId, Denial, Span, Time, Weight};

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: ClaimId,
    /// All that it demands.
    pub(super) demands_id: u32,
    terms: u32,
    pub(super) arrived: Time,
    /// Unless it waits.
    decided: Time,
    outcome: Outcome,
    /// Where its demands stand while it waits and is matched.
    pub(super) class: Option<u32>,
    pub(super) phase: Phase,
    /// Whether it demands enough blocks to compete for them.
    pub(super) matched: bool,
}

/// What an arrival says besides its demands. Most claims share it with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) min_blocks: u32,
    pub(super) timeout: Option<Span>,
    pub(super) priority: i32,
    pub(super) weight: Weight,
}

/// What became of a claim that was decided.
#[derive(Clone, Debug)]
enum Outcome {
    /// It waits, or nothing was spent.
    Open,
    Denied(Box<Denial>),
    /// All of it.
    Consumed,
    /// All of it.
    Released,
    InPart(Box<InPart>),
}

#[derive(Clone, Debug)]
struct InPart {
    consumed: Totals,
    released: Totals,
}

/// How much of what a claim asked, at each coordinate of each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Totals {
    #[default]
    Nothing,
    Everything,
    /// All coordinates of the first part, then of the second, ...
    Partly(Box<[i64]>),
}

/// All claims, by name and by number. Numbers are the order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    list: Vec<Claim>,
    /// By name.
    numbers: HashTable<u32>,
    hasher: RandomState,
    terms: Vec<Terms>,
    known_terms: HashMap<Terms, u32>,
}

impl Totals {
    pub(super) fn of(&self, part: usize, asked: &[i64], coordinate: usize) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Everything => asked[coordinate],
            Self::Partly(amounts) => amounts[part * asked.len() + coordinate],
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Everything => false,
            Self::Partly(amounts) => amounts.iter().all(|amount| *amount == 0),
        }
    }

    pub(super) fn budget(&self, part: usize, asked: &[i64]) -> Budget {
        let amounts = (0..asked.len()).map(|coordinate| self.of(part, asked, coordinate));
        Budget::from_computed(amounts)
    }

    /// `self` and `increase`, which is laid out the same way.
    fn and(&self, increase: &[i64], demands: BlockDemands<'_>) -> Self {
        let asked = || demands.iter().flat_map(|demand| demand.amounts);
        let before = demands.iter().enumerate().flat_map(|(at, demand)| {
            (0..demand.amounts.len()).map(move |coordinate| self.of(at, demand.amounts, coordinate))
        });
        let sums = before
            .zip(increase)
            .map(|(before, more)| before.saturating_add(*more));
        let sums: Box<[i64]> = sums.collect();
        if sums.iter().eq(asked()) {
            Self::Everything
        } else {
            Self::Partly(sums)
        }
    }
}

impl Claim {
    pub(super) fn decide(&mut self, phase: Phase, at: Time) {
        self.phase = phase;
        self.decided = at;
        self.class = None;
    }

    pub(super) fn deny(&mut self, reason: Denial) {
        self.outcome = Outcome::Denied(Box::new(reason));
    }

    pub(super) fn decided(&self) -> Option<Time> {
        (self.phase != Phase::Waiting).then_some(self.decided)
    }

    pub(super) fn denial(&self) -> Option<&Denial> {
        match &self.outcome {
            Outcome::Denied(reason) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn consumed(&self) -> &Totals {
        match &self.outcome {
            Outcome::Consumed => &Totals::Everything,
            Outcome::InPart(spent) => &spent.consumed,
            _ => &Totals::Nothing,
        }
    }

    pub(super) fn released(&self) -> &Totals {
        match &self.outcome {
            Outcome::Released => &Totals::Everything,
            Outcome::InPart(spent) => &spent.released,
            _ => &Totals::Nothing,
        }
    }

    /// What it asks of each of its blocks. Nothing while it matches too few.
    pub(super) fn demands<'a>(&self, demand_store: &'a DemandStore) -> BlockDemands<'a> {
        if self.matched {
            demand_store.get(self.demands_id)
        } else {
            BlockDemands::default()
        }
    }

    /// What is still allocated at a coordinate of a part, once it is granted.
    pub(super) fn allocated(&self, part: usize, asked: &[i64], coordinate: usize) -> i64 {
        asked[coordinate]
            - self.consumed().of(part, asked, coordinate)
            - self.released().of(part, asked, coordinate)
    }

    /// Everything that is still allocated, part by part.
    pub(super) fn all_allocated(&self, demands: BlockDemands<'_>) -> Vec<i64> {
        let all = demands.iter().enumerate().flat_map(|(at, demand)| {
            (0..demand.amounts.len()).map(move |coordinate| self.allocated(at, demand.amounts, coordinate))
        });
        all.collect()
    }

    /// Moves `increase` of what is allocated to what was consumed or released. Whether nothing is left allocated.
    pub(super) fn add_to_totals(
        &mut self,
        increase: &[i64],
        demands: BlockDemands<'_>,
        is_consumption: bool,
    ) -> bool {
        let (mut consumed, mut released) = (self.consumed().clone(), self.released().clone());
        let totals = if is_consumption {
            &mut consumed
        } else {
            &mut released
        };
        *totals = totals.and(increase, demands);
        self.outcome = match (consumed, released) {
            (Totals::Everything, Totals::Nothing) => Outcome::Consumed,
            (Totals::Nothing, Totals::Everything) => Outcome::Released,
            (consumed, released) => Outcome::InPart(Box::new(InPart { consumed, released })),
        };
        let ended = match self.outcome {
            Outcome::InPart(_) => self.all_allocated(demands).iter().all(|left| *left == 0),
            _ => true,
        };
        if ended {
            self.phase = if self.consumed().is_nothing() {
                Phase::Released
            } else {
                Phase::Consumed
            };
        }
        ended
    }

    /// Nothing of it was spent after all.
    pub(super) fn undo(&mut self) {
        self.outcome = Outcome::Released;
        self.phase = Phase::Released;
    }
}

impl Claims {
    pub(super) fn number(&self, name: &ClaimId) -> Option<u32> {
        let same = |number: &u32| self.list[*number as usize].name == *name;
        self.numbers.find(self.hasher.hash_one(name), same).copied()
    }

    pub(super) fn list(&self) -> &[Claim] {
        &self.list
    }

    pub(super) fn get(&self, number: u32) -> &Claim {
        &self.list[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Claim {
        &mut self.list[number as usize]
    }

    pub(super) fn terms(&self, claim: &Claim) -> &Terms {
        &self.terms[claim.terms as usize]
    }

    pub(super) fn expires(&self, claim: &Claim) -> Option<Time> {
        self.terms(claim)
            .timeout
            .map(|timeout| claim.arrived.after(timeout))
    }

    /// The number that the next claim gets; none if there are no more.
    pub(super) fn next_number(&self) -> Option<u32> {
        u32::try_from(self.list.len()).ok()
    }

    pub(super) fn add(&mut self, number: u32, name: ClaimId, demands_id: u32, terms: Terms, arrived: Time) {
        let next = self.terms.len();
        // There are never more of them than claims.
        let next = u32::try_from(next).unwrap_or(u32::MAX);
        let known = *self.known_terms.entry(terms).or_insert(next);
        if known == next {
            self.terms.push(terms);
        }
        let list = &self.list;
        let hash = |number: &u32| self.hasher.hash_one(&list[*number as usize].name);
        self.numbers
            .insert_unique(self.hasher.hash_one(&name), number, hash);
        self.list.push(Claim {
            name,
            demands_id,
            terms: known,
            arrived,
            decided: arrived,
            outcome: Outcome::Open,
            class: None,
            phase: Phase::Waiting,
            matched: false,
        });
    }
}
