//! The policies: who goes first, and how what is unlocked comes to claims. Each is one file here and one line in [`of`].
//!
//! A policy knows nothing of how blocks unlock, of timeouts or of what becomes of a grant. It says in which order
//! classes of equal claims stand ([`Decide::shares`]) and decides when something has changed ([`Decide::decide`]), with
//! what `decide` offers: which classes may fit now, whether one does, a walk in order, a grant, a denial.

mod blend;
mod dpack;
mod dpf;
mod fcfs;
mod round_robin;

use std::{fmt::Debug, sync::Arc};

pub(super) use round_robin::Gathering;

use super::{Engine, asks::Parts, books::Block, order::Shares};
use crate::{Denial, Policy, Record, Time};

/// How claims are ordered and granted.
pub(super) trait Decide: Debug + Send + Sync {
    /// What claims that ask `parts` are ordered by: the smallest first share first, then the next. Above it stands the
    /// priority, below it the arrival.
    fn shares(&self, _parts: Parts<'_>, _blocks: &[Block]) -> Shares {
        Shares::NONE
    }

    /// Why a claim that has just come, and could be granted some day, is denied all the same.
    fn turns_away(&self, _engine: &Engine, _claim: u32) -> Option<Denial> {
        None
    }

    /// Grants what can be granted after `cause`.
    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>);

    /// How many waiting claims go before this one of `class`; none if there is no order.
    fn ahead(&self, engine: &Engine, claim: u32, class: u32) -> Option<usize> {
        let rank = &engine.waiting.class(class)?.rank;
        Some(engine.count_ahead(claim, |other| other.rank.cmp(rank)))
    }

    /// When the clock next matters at a block, where something has changed.
    fn next_wake(&self, engine: &mut Engine, block: u32) -> Option<Time> {
        engine.next_fit(block)
    }
}

/// What has changed since nothing more could be granted.
#[derive(Debug)]
pub(super) struct Cause {
    /// The blocks that have got more unlocked budget.
    pub(super) raised: Vec<u32>,
    /// The class that has come.
    pub(super) new: Option<u32>,
    pub(super) by: By,
}

/// Through what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This claim came, whatever became of it.
    Arrival(u32),
    Clock,
    /// A claim gave budget back.
    Return,
}

/// The list of policies.
pub(super) fn of(policy: Policy) -> Arc<dyn Decide> {
    match policy {
        Policy::Dpf => Arc::new(dpf::Dpf),
        Policy::Fcfs { refusing } => Arc::new(fcfs::Fcfs { refusing }),
        Policy::RoundRobin => Arc::new(round_robin::RoundRobin),
        Policy::Dpack { recompute_after } => Arc::new(dpack::Dpack { recompute_after }),
        Policy::Blend {
            fairness,
            recompute_after,
        } => Arc::new(blend::Blend {
            fairness,
            recompute_after,
        }),
    }
}
