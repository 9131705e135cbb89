//! Blocks and claims come, and blocks go.

use std::{collections::HashSet, sync::Arc};

use super::{
    Engine, Phase, Refusal,
    books::Part,
    claims::Claim,
    policies::{By, Cause},
};
use crate::{Arrival, BlockId, Budget, ClaimId, Demand, Denial, Record};

impl Engine {
    pub(super) fn add_block(&mut self, name: &BlockId, capacity: &Budget) -> Result<Vec<Record>, Refusal> {
        self.check_coordinates(capacity)?;
        if let Some(number) = self.blocks.number(name) {
            let block = self.blocks.get_mut(number);
            if block.capacity != *capacity {
                return Err(Refusal::BlockDiffers(name.clone()));
            }
            if !block.retired {
                return Err(Refusal::BlockExists(name.clone()));
            }
            // Nobody waits for a block that is gone, so there is nothing to grant.
            block.retired = false;
        } else {
            self.blocks
                .add(name, capacity, self.setting.unlocking, self.now)?;
            self.waiting.add_block();
            self.gathering.add_block(capacity.units().len());
            self.wake_of.push(None);
        }
        Ok(vec![Record::BlockAdded { block: name.clone() }])
    }

    pub(super) fn retire_block(&mut self, name: &BlockId) -> Result<Vec<Record>, Refusal> {
        let number = self.blocks.number(name);
        let number = number.ok_or_else(|| Refusal::UnknownBlock(name.clone()))?;
        if self.blocks.get(number).retired {
            return Ok(Vec::new());
        }
        self.blocks.get_mut(number).retired = true;
        let mut records = vec![Record::BlockRetired { block: name.clone() }];
        let mut claims = Vec::new();
        for class in self.waiting.at_block(number) {
            claims.extend(self.waiting.dissolve(class));
        }
        claims.sort_unstable();
        for claim in claims {
            let block = name.clone();
            self.deny(claim, Denial::BlockRetired { block }, &mut records);
        }
        Ok(records)
    }

    pub(super) fn arrive(&mut self, arrival: &Arrival) -> Result<Vec<Record>, Refusal> {
        let name = &arrival.claim;
        if self.claims.number(name).is_some() {
            return Err(Refusal::ClaimExists(name.clone()));
        }
        if arrival.min_blocks == 0 {
            return Err(malformed(name, "needs at least 0 blocks: it must be 1 or more"));
        }
        let parts = self.check_demands(name, &arrival.demands)?;
        let number = self.claims.next_number().ok_or(Refusal::Overflow)?;
        let mut arrival = arrival.clone();
        self.share_names(&mut arrival.demands);
        let claim = Claim::new(arrival, self.now);
        if let Some(expires) = claim.expires() {
            self.timeouts.insert((expires, number));
        }
        self.claims.add(number, claim);
        let mut records = Vec::new();
        self.compete(number, parts, &mut records);
        if self.claims.get(number).phase == Phase::Waiting {
            records.push(Record::Waits { claim: name.clone() });
        }
        Ok(records)
    }

    pub(super) fn match_blocks(
        &mut self,
        name: &ClaimId,
        demands: &[Demand],
    ) -> Result<Vec<Record>, Refusal> {
        let number = self.number_of(name)?;
        let claim = self.claims.get(number);
        if claim.phase != Phase::Waiting {
            return Err(wrong_phase(name, claim.phase));
        }
        if claim.class.is_some() {
            return Err(malformed(name, "is matched already"));
        }
        let parts = self.check_demands(name, demands)?;
        let mut demands = demands.to_vec();
        self.share_names(&mut demands);
        self.claims.get_mut(number).arrival.demands = demands;
        let mut records = Vec::new();
        self.compete(number, parts, &mut records);
        Ok(records)
    }

    /// Lets a claim unlock and compete for its blocks, if these are enough.
    fn compete(&mut self, number: u32, parts: Vec<Part>, records: &mut Vec<Record>) {
        let claim = self.claims.get_mut(number);
        if parts.len() < claim.arrival.min_blocks as usize {
            return;
        }
        let parts: Arc<[Part]> = parts.into();
        claim.parts = Arc::clone(&parts);
        let standing = (claim.arrival.priority, claim.arrival.weight);
        let retired = parts.iter().map(|part| self.blocks.get(part.block));
        if let Some(block) = retired.into_iter().find(|block| block.retired) {
            let block = block.name.clone();
            self.deny(number, Denial::BlockRetired { block }, records);
            return;
        }
        let mut raised = Vec::new();
        for part in parts.iter() {
            let block = self.blocks.get_mut(part.block);
            if block.arrive() {
                raised.push(part.block);
            }
        }
        if !raised.is_empty() {
            let names = raised.iter().map(|block| self.blocks.get(*block).name.clone());
            records.push(Record::Unlocked {
                blocks: names.collect(),
            });
        }
        let mut new = None;
        let too_large = self.too_large(self.claims.get(number));
        if let Some(reason) = too_large.or_else(|| self.policy.turns_away(self, number)) {
            self.deny(number, reason, records);
        } else {
            let shares = || self.policy.shares(&parts, self.blocks.list());
            let class = self.waiting.join(number, standing, &parts, shares);
            self.claims.get_mut(number).class = Some(class);
            new = self.may_fit(class).then_some(class);
        }
        let by = By::Arrival(number);
        self.pass(&Cause { raised, new, by }, records);
        if let Some(class) = self.claims.get(number).class {
            self.waiting.hope(class, self.blocks.list());
        }
    }

    fn check_demands(&self, name: &ClaimId, demands: &[Demand]) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        let mut seen = HashSet::new();
        for demand in demands {
            self.check_coordinates(&demand.budget)?;
            if demand.budget.is_zero() {
                return Err(malformed(name, "asks nothing of a block"));
            }
            for block in &demand.blocks {
                let number = self.blocks.number(block);
                let number = number.ok_or_else(|| Refusal::UnknownBlock(block.clone()))?;
                if !seen.insert(number) {
                    return Err(malformed(name, "names a block twice"));
                }
                parts.push(Part {
                    block: number,
                    budget: demand.budget.clone(),
                });
            }
        }
        Ok(parts)
    }

    /// Claims are kept for ever: their names of blocks are those of the blocks.
    fn share_names(&self, demands: &mut [Demand]) {
        for name in demands.iter_mut().flat_map(|demand| &mut demand.blocks) {
            if let Some(number) = self.blocks.number(name) {
                *name = self.blocks.get(number).name.clone();
            }
        }
    }
}

pub(super) fn malformed(claim: &ClaimId, problem: &'static str) -> Refusal {
    Refusal::Malformed {
        claim: claim.clone(),
        problem,
    }
}

pub(super) fn wrong_phase(claim: &ClaimId, phase: Phase) -> Refusal {
    Refusal::WrongPhase {
        claim: claim.clone(),
        phase,
    }
}
