//! The claims: as they arrived, what became of them, and how much of each was consumed and released.

use std::{collections::HashMap, sync::Arc};

use super::{Phase, books::Part};
use crate::{Arrival, Budget, ClaimId, Denial, Time};

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) arrival: Arrival,
    /// What it asks of each of its blocks, in the order of its demands. Empty while it matches too few.
    pub(super) parts: Arc<[Part]>,
    pub(super) phase: Phase,
    pub(super) arrived: Time,
    pub(super) decided: Option<Time>,
    pub(super) denial: Option<Denial>,
    pub(super) consumed: Tally,
    pub(super) released: Tally,
    /// Where its demands stand while it waits and is matched.
    pub(super) class: Option<u32>,
}

/// How much of what a claim asked, at each coordinate of each part.
#[derive(Clone, Debug, Default)]
pub(super) enum Tally {
    #[default]
    Nothing,
    Everything,
    /// All coordinates of the first part, then of the second, ...
    Partly(Box<[i64]>),
}

/// All claims, by name and by number. Numbers are the order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    numbers: HashMap<ClaimId, u32>,
    list: Vec<Claim>,
}

impl Tally {
    pub(super) fn of(&self, part: usize, asked: &Budget, coordinate: usize) -> i64 {
        let asked = asked.units();
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

    pub(super) fn budget(&self, part: usize, asked: &Budget) -> Budget {
        let amounts = (0..asked.units().len()).map(|coordinate| self.of(part, asked, coordinate));
        Budget::from_computed(amounts)
    }

    /// `self` and `increase`, which is laid out the same way.
    fn add(&mut self, increase: &[i64], parts: &[Part]) {
        let coordinates = parts.first().map_or(1, |part| part.budget.units().len()).max(1);
        let sums = increase.iter().enumerate().map(|(at, more)| {
            let part = at / coordinates;
            self.of(part, &parts[part].budget, at % coordinates)
                .saturating_add(*more)
        });
        let sums: Box<[i64]> = sums.collect();
        let asked = parts.iter().flat_map(|part| part.budget.units());
        *self = if sums.iter().eq(asked) {
            Self::Everything
        } else {
            Self::Partly(sums)
        };
    }
}

impl Claim {
    pub(super) fn new(arrival: Arrival, arrived: Time) -> Self {
        Self {
            arrival,
            parts: Arc::new([]),
            phase: Phase::Waiting,
            arrived,
            decided: None,
            denial: None,
            consumed: Tally::Nothing,
            released: Tally::Nothing,
            class: None,
        }
    }

    pub(super) fn expires(&self) -> Option<Time> {
        self.arrival.timeout.map(|timeout| self.arrived.after(timeout))
    }

    pub(super) fn decide(&mut self, phase: Phase, at: Time) {
        self.phase = phase;
        self.decided = Some(at);
        self.class = None;
    }

    /// What is still allocated at a coordinate of a part, once it is granted.
    pub(super) fn allocated(&self, part: usize, coordinate: usize) -> i64 {
        let asked = &self.parts[part].budget;
        asked.units()[coordinate]
            - self.consumed.of(part, asked, coordinate)
            - self.released.of(part, asked, coordinate)
    }

    /// Everything that is still allocated, part by part.
    pub(super) fn all_allocated(&self) -> Vec<i64> {
        let parts = self.parts.iter().enumerate();
        parts
            .flat_map(|(at, part)| {
                (0..part.budget.units().len()).map(move |coordinate| self.allocated(at, coordinate))
            })
            .collect()
    }

    /// Moves `increase` of what is allocated to what was consumed or released. Whether nothing is left allocated.
    pub(super) fn spend(&mut self, increase: &[i64], consumed: bool) -> bool {
        let parts = Arc::clone(&self.parts);
        let tally = if consumed {
            &mut self.consumed
        } else {
            &mut self.released
        };
        tally.add(increase, &parts);
        let ended = self.all_allocated().iter().all(|left| *left == 0);
        if ended {
            self.phase = if self.consumed.is_nothing() {
                Phase::Released
            } else {
                Phase::Consumed
            };
        }
        ended
    }
}

impl Claims {
    pub(super) fn number(&self, name: &ClaimId) -> Option<u32> {
        self.numbers.get(name).copied()
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

    /// The number that the next claim gets; none if there are no more.
    pub(super) fn next_number(&self) -> Option<u32> {
        u32::try_from(self.list.len()).ok()
    }

    pub(super) fn add(&mut self, number: u32, claim: Claim) {
        self.numbers.insert(claim.arrival.claim.clone(), number);
        self.list.push(claim);
    }
}
