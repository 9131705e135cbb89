//! Finds the claims that may be granted after something has changed, without a look at the others.
//!
//! Before the change, no waiting claim fits. So a claim that fits afterwards is of a family that watches a
//! block that has got more available budget, or it has just arrived. While a policy decides, available budget
//! only falls: a claim that did not fit does not fit later, and a family that watches a block again needs no
//! further look.
//!
//! The candidates are a binary heap of classes. A walk costs a heap operation and a logarithmic search for
//! each grant and each family that is unblocked.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{
    blocks::{Blocks, FitRule},
    decisions::Cause,
    demands::BlockDemands,
    order::Rank,
    state::State,
    waiting::Watch,
};
use crate::Record;

/// A class in the queue of a walk, in the order of ranks, then of the first claims.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    claim: u32,
    class: u32,
    /// The block at which its family was unblocked, as long as it is not known whether the class fits.
    unblocked_at: Option<u32>,
}

impl State {
    /// Lets the families that the policy decided about watch a block again, as far as they still wait.
    pub(super) fn watch_again(&mut self) {
        for family in std::mem::take(&mut self.waiting.unwatched) {
            if self.waiting.watched(family).is_none() {
                self.first_fitting(family);
            }
        }
    }

    /// Grants whatever fits after `cause`, in the order of ranks: the first of all claims that fit, again and
    /// again.
    ///
    /// A block's unblocked families are found in the order of their first classes, which may not fit even if
    /// a later one does. So a family is first in the queue with its first class, and after that one's turn
    /// with the first class that fits.
    pub(super) fn grant_in_order(&mut self, cause: &Cause, records: &mut Vec<Record>) {
        let mut queue = BinaryHeap::new();
        if let Some(class) = cause.new.and_then(|class| self.waiting.class(class)) {
            let family = class.family;
            queue.extend(self.fitting(family));
        }
        for block in &cause.raised {
            queue.extend(self.unblocked(*block));
        }
        while let Some(Reverse(candidate)) = queue.pop() {
            let Candidate { claim, class, .. } = candidate;
            let Some(family) = self.waiting.class(class).map(|class| class.family) else {
                continue;
            };
            if let Some(block) = candidate.unblocked_at {
                // A grant since then may keep it waiting again.
                let first = self.unblocked(block);
                if first.is_some_and(|Reverse(first)| first == candidate) {
                    self.waiting.unwatch(family, &self.demand_store);
                    queue.extend(self.fitting(family));
                }
                queue.extend(self.unblocked(block));
            } else {
                if self.fits(class) {
                    self.grant(claim, records);
                }
                queue.extend(self.fitting(family));
            }
        }
    }

    /// The first unblocked family of a block, with its first class.
    fn unblocked(&mut self, block: u32) -> Option<Reverse<Candidate>> {
        let family = self
            .waiting
            .first_unblocked(block, self.blocks.get(block), &self.demand_store)?;
        self.candidate(self.waiting.head(family)?, Some(block))
    }

    /// The first class of an unwatched family that fits; if none does, the family watches a block again.
    fn fitting(&mut self, family: u32) -> Option<Reverse<Candidate>> {
        let class = self.first_fitting(family)?;
        self.candidate(class, None)
    }

    fn candidate(&self, number: u32, unblocked_at: Option<u32>) -> Option<Reverse<Candidate>> {
        let class = self.waiting.class(number)?;
        Some(Reverse(Candidate {
            rank: class.rank.clone(),
            claim: class.head()?,
            class: number,
            unblocked_at,
        }))
    }

    /// The first class of an unwatched family that fits. If none does, the family watches a block.
    pub(super) fn first_fitting(&mut self, mut family: u32) -> Option<u32> {
        let layout = self.waiting.layout(family, &self.demand_store)?;
        for block in layout.blocks() {
            self.blocks.get_mut(block).settle(self.now);
        }
        loop {
            let least = self.waiting.least(family, &self.demand_store);
            if let Some(watch) = blocking(&self.blocks, layout, least, self.fit_rule) {
                self.waiting.watch(family, watch, &self.demand_store);
                return None;
            }
            let fit = |rows: &[i64]| fits(&self.blocks, layout, rows, self.fit_rule);
            if let Some(class) = self.waiting.first_of(family, fit, &self.demand_store) {
                return Some(class);
            }
            // No block keeps all classes waiting, but some block keeps the first: those that it keeps watch
            // it, and the others become a family of their own.
            let class = self.waiting.class(self.waiting.head(family)?)?;
            let watch = blocking(
                &self.blocks,
                layout,
                self.demand_store.get(class.demands_id).rows(),
                self.fit_rule,
            )?;
            let stays = |demands: BlockDemands<'_>| self.blocks.is_blocked(watch, demands, self.fit_rule);
            let rest = self.waiting.split(family, stays, &self.demand_store)?;
            self.waiting.watch(family, watch, &self.demand_store);
            family = rest;
        }
    }

    /// Every class that fits after `cause`, each once, by number. Their families are unwatched until the end
    /// of the pass.
    pub(super) fn all_fitting(&mut self, cause: &Cause) -> Vec<u32> {
        let mut families = Vec::new();
        families.extend(
            cause
                .new
                .and_then(|class| self.waiting.class(class))
                .map(|class| class.family),
        );
        for number in &cause.raised {
            let block = self.blocks.get(*number);
            families.extend(self.waiting.all_unblocked(*number, block, &self.demand_store));
        }
        let mut classes = Vec::new();
        for family in families {
            self.waiting.unwatch(family, &self.demand_store);
            self.waiting.unwatched.push(family);
            let Some(layout) = self.waiting.layout(family, &self.demand_store) else {
                continue;
            };
            for block in layout.blocks() {
                self.blocks.get_mut(block).settle(self.now);
            }
            let fit = |rows: &[i64]| fits(&self.blocks, layout, rows, self.fit_rule);
            classes.extend(self.waiting.all_of(family, fit, &self.demand_store));
        }
        classes.sort_unstable();
        classes
    }

    /// Grants the claims of `classes` that `admits` allows, in the order of ranks.
    pub(super) fn walk(
        &mut self,
        classes: Vec<u32>,
        admits: impl Fn(&Self, u32) -> bool,
        records: &mut Vec<Record>,
    ) {
        let candidates = classes
            .into_iter()
            .filter_map(|class| self.candidate(class, None));
        let mut queue: BinaryHeap<_> = candidates.collect();
        while let Some(Reverse(Candidate { claim, class, .. })) = queue.pop() {
            if admits(self, class) && self.grant(claim, records) {
                queue.extend(self.candidate(class, None));
            }
        }
    }

    /// Whether a class fits all its blocks.
    pub(super) fn fits(&self, class: u32) -> bool {
        let class = self.waiting.class(class);
        class.is_some_and(|class| {
            let demands = self.demands_of(class);
            fits(&self.blocks, demands, demands.rows(), self.fit_rule)
        })
    }

    /// Whether a class fits all its blocks and leaves these `reserves` there.
    pub(super) fn fits_beside(&self, class: u32, reserves: &HashMap<u32, Vec<i128>>) -> bool {
        let class = self.waiting.class(class);
        class.is_some_and(|class| {
            self.demands_of(class).iter().all(|demand| {
                let reserve = reserves.get(&demand.block);
                let block = self.blocks.get(demand.block);
                reserve.is_some_and(|reserve| block.fits_beside(demand.amounts, self.fit_rule, reserve))
            })
        })
    }

    /// Whether a class whose claim has just arrived may fit: its family is unwatched, or watches a block that
    /// has enough for the class. If so, its family is unwatched afterwards.
    pub(super) fn may_fit(&mut self, number: u32) -> bool {
        let Some(class) = self.waiting.class(number) else {
            return false;
        };
        let family = class.family;
        let demands = self.demand_store.get(class.demands_id);
        if let Some(watch) = self.waiting.watched(family) {
            self.blocks
                .get_mut(demands.block(watch.part as usize))
                .settle(self.now);
            if self.blocks.is_blocked(watch, demands, self.fit_rule) {
                return false;
            }
            self.waiting.unwatch(family, &self.demand_store);
        }
        true
    }
}

impl Blocks {
    /// Whether the watched block keeps a claim with these demands waiting.
    fn is_blocked(&self, watch: Watch, demands: BlockDemands<'_>, fit_rule: FitRule) -> bool {
        let demand = demands.get(watch.part as usize);
        let block = self.get(demand.block);
        let coordinate = watch.coordinate as usize;
        match fit_rule {
            FitRule::EveryCoordinate => {
                i128::from(demand.amounts[coordinate]) > block.accounts[coordinate].available
            }
            FitRule::SomeOrder => block.lacking(demand.amounts, fit_rule).is_some(),
        }
    }
}

/// Each block of a layout, with its amounts in `rows`.
fn each<'a>(
    layout: BlockDemands<'a>,
    rows: &'a [i64],
    coordinates: usize,
) -> impl Iterator<Item = (u32, &'a [i64])> {
    let of_part = move |part| &rows[layout.row_of(part) * coordinates..][..coordinates];
    (0..layout.len()).map(move |part| (layout.block(part), of_part(part)))
}

/// Whether the amounts in `rows` fit all blocks of a layout.
fn fits(blocks: &Blocks, layout: BlockDemands<'_>, rows: &[i64], fit_rule: FitRule) -> bool {
    let mut demands = each(layout, rows, layout.coordinates());
    demands.all(|(block, demanded)| blocks.get(block).lacking(demanded, fit_rule).is_none())
}

/// The block that keeps the amounts in `rows` waiting; none if they fit all blocks. Of several, the one that
/// lacks most: a family that watches it is probably looked at least often.
fn blocking(blocks: &Blocks, layout: BlockDemands<'_>, rows: &[i64], fit_rule: FitRule) -> Option<Watch> {
    let mut most: Option<(f64, Watch)> = None;
    for (part, (block, demanded)) in (0..).zip(each(layout, rows, layout.coordinates())) {
        let block = blocks.get(block);
        if let Some(coordinate) = block.lacking(demanded, fit_rule) {
            let lack = block.lack(demanded, fit_rule);
            if most.is_none_or(|(most, _)| lack > most) {
                most = Some((lack, Watch { part, coordinate }));
            }
        }
    }
    most.map(|(_, watch)| watch)
}
