//! Claims that ended are forgotten: their names and demands go, and what they consumed is folded into sums.
//!
//! The sums are bounded by the numbers of blocks, groups and outcomes, however many claims are forgotten. What a
//! claim consumed stays consumed in the accounts of its blocks; the sums say whose it was.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{Engine, Folded, Phase, Refusal, arrive::wrong_phase, state::State};
use crate::{ClaimId, Record};

/// Of which claims a sum is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoldedKey {
    /// A block that was granted to them; none for all of them, granted or not.
    pub(super) block: Option<u32>,
    pub(super) group: Option<Arc<str>>,
    /// How they ended.
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoldedSum {
    pub(super) claims: u64,
    /// What they consumed of the block, at each coordinate. Empty without a block.
    pub(super) consumed: Box<[i128]>,
}

/// The sums of all claims that were forgotten, sorted.
pub(super) type FoldedSums = BTreeMap<FoldedKey, FoldedSum>;

impl Engine {
    /// The sums of the claims that were [forgotten](crate::Event::Forget): of all first, then block by block in
    /// the order in which they were added; in the order of groups, then of phases.
    pub fn folded(&self) -> impl Iterator<Item = Folded<'_>> + '_ {
        self.state.folded.iter().map(|(key, sum)| Folded {
            block: key.block.map(|block| &self.state.blocks.get(block).name),
            group: key.group.as_deref(),
            phase: key.phase,
            claims: sum.claims,
            consumed: &sum.consumed,
        })
    }

    /// Forgets claims that ended, and passes over those that are unknown: an event that is repeated changes
    /// nothing. One that has not ended is a mistake, and what is allocated to it would be lost, so nothing is
    /// forgotten then.
    pub(super) fn forget(&mut self, claims: &[ClaimId], group: Option<&str>) -> Result<Vec<Record>, Refusal> {
        let mut numbers = Vec::with_capacity(claims.len());
        let mut seen = HashSet::new();
        for name in claims {
            let Some(number) = self.state.claims.number(name) else {
                continue;
            };
            let phase = self.state.claims.get(number).phase;
            if !phase.has_ended() {
                return Err(wrong_phase(name, phase));
            }
            if seen.insert(number) {
                numbers.push(number);
            }
        }
        let group = group.map(Arc::from);
        for number in numbers {
            self.state.fold(number, group.as_ref());
            self.state.claims.forget(number);
        }
        Ok(Vec::new())
    }
}

impl State {
    /// Adds a claim that ended to the sums. One that ended without a grant has consumed nothing, and its demands
    /// may be forgotten already, so it is in no sum of a block.
    fn fold(&mut self, number: u32, group: Option<&Arc<str>>) {
        let claim = self.claims.get(number);
        let phase = claim.phase;
        let key = |block| FoldedKey {
            block,
            group: group.cloned(),
            phase,
        };
        let all = self.folded.entry(key(None)).or_default();
        all.claims = all.claims.saturating_add(1);
        if phase.is_without_grant() {
            return;
        }
        for (part, demand) in claim.demands(&self.demand_store).iter().enumerate() {
            let sum = self.folded.entry(key(Some(demand.block))).or_default();
            sum.claims = sum.claims.saturating_add(1);
            if sum.consumed.is_empty() {
                sum.consumed = vec![0; demand.amounts.len()].into();
            }
            for (at, sum) in sum.consumed.iter_mut().enumerate() {
                *sum += i128::from(claim.consumed().of(part, demand.amounts, at));
            }
        }
    }
}
