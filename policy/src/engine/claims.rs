//! All claims that arrived and were not forgotten: what each arrival said, what became of it, and how much was
//! consumed and released.
//!
//! Claims may be millions, so each is small. They are found by number in a vector, and by name in a hash table of
//! numbers. One that is forgotten leaves its place in the vector behind, without a name, so that the numbers of
//! the others stay.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

use super::{
    Phase,
    demands::{BlockDemands, DemandStore, NO_DEMANDS},
};
use crate::{Budget, ClaimId, Denial, Span, Time, Weight};

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: ClaimId,
    /// The number of its demands in the [`DemandStore`], or [`NO_DEMANDS`].
    pub(super) demands_id: u32,
    terms: u32,
    pub(super) arrived: Time,
    /// When it was decided; of no meaning while it waits.
    decided: Time,
    outcome: Outcome,
    /// The class of equal claims that it is in, while it waits and is matched.
    pub(super) class: Option<u32>,
    pub(super) phase: Phase,
    /// Whether it has as many blocks as it needs.
    pub(super) matched: bool,
    is_forgotten: bool,
}

/// What an arrival says besides its demands. Most claims have the same terms as others, so each is kept once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) min_blocks: u32,
    pub(super) timeout: Option<Span>,
    pub(super) priority: i32,
    pub(super) weight: Weight,
}

/// What became of a claim, besides its phase.
#[derive(Clone, Debug)]
enum Outcome {
    /// Nothing: it waits, or ended without a grant, or all of its grant is still allocated.
    Open,
    Denied(Box<Denial>),
    /// All of it was consumed.
    Consumed,
    /// All of it was released.
    Released,
    InPart(Box<InPart>),
}

#[derive(Clone, Debug)]
struct InPart {
    consumed: Totals,
    released: Totals,
}

/// How much of a claim's demands was consumed, or released, in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Totals {
    #[default]
    Nothing,
    Everything,
    /// An amount for each coordinate of its first block, then of the second, and so on.
    Partly(Box<[i64]>),
}

/// All claims, by name and by number. Claims are numbered from 0 as they arrive.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    list: Vec<Claim>,
    /// The numbers of claims, by name.
    numbers: HashTable<u32>,
    hasher: RandomState,
    terms: Vec<Terms>,
    known_terms: HashMap<Terms, u32>,
    forgotten: usize,
    /// The name of every claim that was forgotten.
    no_name: ClaimId,
}

/// The claims that were not forgotten, with their numbers.
struct Known<'a> {
    list: &'a [Claim],
    next: usize,
    left: usize,
}

impl<'a> Iterator for Known<'a> {
    type Item = (usize, &'a Claim);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, claim) = (self.next, self.list.get(self.next)?);
            self.next += 1;
            if !claim.is_forgotten {
                self.left = self.left.saturating_sub(1);
                return Some((number, claim));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Known<'_> {}

impl Default for Claims {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            numbers: HashTable::new(),
            hasher: RandomState::new(),
            terms: Vec::new(),
            known_terms: HashMap::new(),
            forgotten: 0,
            no_name: ClaimId::from(""),
        }
    }
}

impl Totals {
    pub(super) fn of(&self, part: usize, demanded: &[i64], coordinate: usize) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Everything => demanded[coordinate],
            Self::Partly(amounts) => amounts[part * demanded.len() + coordinate],
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Everything => false,
            Self::Partly(amounts) => amounts.iter().all(|amount| *amount == 0),
        }
    }

    pub(super) fn budget(&self, part: usize, demanded: &[i64]) -> Budget {
        let amounts = (0..demanded.len()).map(|coordinate| self.of(part, demanded, coordinate));
        Budget::from_computed(amounts)
    }

    /// `amounts`, one for each coordinate of each block: at most what is demanded.
    pub(super) fn of_amounts(amounts: Vec<i64>, demands: BlockDemands<'_>) -> Self {
        let mut demanded = demands.iter().flat_map(|demand| demand.amounts);
        if amounts.iter().all(|amount| *amount == 0) {
            Self::Nothing
        } else if amounts.iter().all(|amount| demanded.next() == Some(amount)) {
            Self::Everything
        } else {
            Self::Partly(amounts.into())
        }
    }

    /// The sum of `self` and `increase`, which has an amount for each coordinate of each block.
    fn and(&self, increase: &[i64], demands: BlockDemands<'_>) -> Self {
        let before = demands.iter().enumerate().flat_map(|(at, demand)| {
            (0..demand.amounts.len()).map(move |coordinate| self.of(at, demand.amounts, coordinate))
        });
        // At most what is demanded: an increase is never more than what is allocated.
        let sums = before.zip(increase).map(|(before, more)| before + *more);
        Self::of_amounts(sums.collect(), demands)
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
            Outcome::InPart(in_part) => &in_part.consumed,
            _ => &Totals::Nothing,
        }
    }

    pub(super) fn released(&self) -> &Totals {
        match &self.outcome {
            Outcome::Released => &Totals::Everything,
            Outcome::InPart(in_part) => &in_part.released,
            _ => &Totals::Nothing,
        }
    }

    /// What it demands of each of its blocks. Empty while it matches too few.
    pub(super) fn demands<'a>(&self, demand_store: &'a DemandStore) -> BlockDemands<'a> {
        if self.matched {
            demand_store.get(self.demands_id)
        } else {
            BlockDemands::default()
        }
    }

    /// The amount that is still allocated at a coordinate of a part, once it is granted.
    pub(super) fn allocated(&self, part: usize, demanded: &[i64], coordinate: usize) -> i64 {
        demanded[coordinate]
            - self.consumed().of(part, demanded, coordinate)
            - self.released().of(part, demanded, coordinate)
    }

    /// All amounts that are still allocated, block by block.
    pub(super) fn all_allocated(&self, demands: BlockDemands<'_>) -> Vec<i64> {
        let all = demands.iter().enumerate().flat_map(|(at, demand)| {
            (0..demand.amounts.len()).map(move |coordinate| self.allocated(at, demand.amounts, coordinate))
        });
        all.collect()
    }

    /// Counts `increase` of what is allocated as consumed or released. Returns whether nothing is left
    /// allocated.
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
        self.set_totals(consumed, released, demands)
    }

    /// Sets what was consumed and released of a claim that was granted, and has consumed and released nothing yet.
    pub(super) fn restore_totals(&mut self, consumed: Totals, released: Totals, demands: BlockDemands<'_>) {
        if consumed != Totals::Nothing || released != Totals::Nothing {
            self.set_totals(consumed, released, demands);
        }
    }

    fn set_totals(&mut self, consumed: Totals, released: Totals, demands: BlockDemands<'_>) -> bool {
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

    /// Counts all of it as released, also what was consumed.
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

    /// Gives the demands of all claims the numbers of another store. Claims that ended without a grant before
    /// `now` have none there.
    pub(super) fn renumber_demands(&mut self, now: Time, number_of: &mut impl FnMut(u32) -> u32) {
        for claim in &mut self.list {
            if claim.phase.is_without_grant() && claim.decided < now {
                claim.demands_id = NO_DEMANDS;
            } else if claim.demands_id != NO_DEMANDS {
                claim.demands_id = number_of(claim.demands_id);
            }
        }
    }

    /// The claims that were not forgotten, with their numbers.
    pub(super) fn known(&self) -> impl ExactSizeIterator<Item = (usize, &Claim)> {
        Known {
            list: &self.list,
            next: 0,
            left: self.list.len() - self.forgotten,
        }
    }

    /// Those of them that have this number or a later one.
    pub(super) fn known_from(&self, number: usize) -> impl Iterator<Item = (usize, &Claim)> {
        let claims = self.list.get(number..).unwrap_or_default();
        (number..).zip(claims).filter(|(_, claim)| !claim.is_forgotten)
    }

    /// How many claims have a number, forgotten ones included.
    pub(super) const fn numbered(&self) -> usize {
        self.list.len()
    }

    /// Forgets a claim that ended.
    pub(super) fn forget(&mut self, number: u32) {
        let hash = self.hasher.hash_one(&self.get(number).name);
        if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        let no_name = self.no_name.clone();
        let claim = self.get_mut(number);
        claim.name = no_name;
        claim.demands_id = NO_DEMANDS;
        claim.matched = false;
        claim.outcome = Outcome::Open;
        claim.is_forgotten = true;
        self.forgotten += 1;
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
        // There are at most as many terms as claims, which are numbered with 32 bits.
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
            is_forgotten: false,
        });
    }
}
