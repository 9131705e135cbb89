//! Blocks are added and retired; claims arrive, and are matched with more blocks.

use std::collections::HashSet;

use super::{
    Engine, Phase, Refusal,
    claims::Terms,
    decisions::{By, Cause, PolicyContext},
    state::State,
};
use crate::{Arrival, BlockId, Budget, ClaimId, Demand, Denial, Record};

impl Engine {
    pub(super) fn add_block(&mut self, name: &BlockId, capacity: &Budget) -> Result<Vec<Record>, Refusal> {
        self.state.check_coordinates(capacity)?;
        if let Some(number) = self.state.blocks.number(name) {
            let block = self.state.blocks.get_mut(number);
            if block.written_off {
                return Err(Refusal::BlockWrittenOff(name.clone()));
            }
            if block.capacity != *capacity {
                return Err(Refusal::BlockDiffers(name.clone()));
            }
            if !block.retired {
                return Err(Refusal::BlockExists(name.clone()));
            }
            // No claim waits for a retired block, so there is nothing to grant.
            block.retired = false;
        } else if self.state.blocks.is_lost(name) {
            return Err(Refusal::BlockWrittenOff(name.clone()));
        } else {
            let unlocking = self.state.rules.unlocking;
            let number = self.state.blocks.add(name, capacity, unlocking, self.state.now)?;
            self.state.waiting.add_block();
            self.policy.block_added(self.state.blocks.get(number));
            self.state.wake_of.push(None);
        }
        Ok(vec![Record::BlockAdded { block: name.clone() }])
    }

    pub(super) fn retire_block(&mut self, name: &BlockId) -> Result<Vec<Record>, Refusal> {
        let number = self.state.blocks.number(name);
        let number = number.ok_or_else(|| Refusal::UnknownBlock(name.clone()))?;
        if self.state.blocks.get(number).retired {
            return Ok(Vec::new());
        }
        self.state.blocks.get_mut(number).retired = true;
        let mut records = vec![Record::BlockRetired { block: name.clone() }];
        let mut claims = Vec::new();
        let classes: Vec<u32> = self.state.waiting.at_block(number).collect();
        for class in classes {
            claims.extend(self.state.remove_class(class));
        }
        claims.sort_unstable();
        for claim in claims {
            let block = name.clone();
            self.deny(claim, Denial::BlockRetired { block }, &mut records);
        }
        self.divide_again(&mut records);
        Ok(records)
    }

    /// Writes off every block. Claims that wait for one are denied, because of the first block of their demands.
    pub(super) fn write_off(&mut self, after: u64, unknown_blocks: &[BlockId]) -> Vec<Record> {
        let written_off = self.state.blocks.write_off(unknown_blocks, self.state.now);
        self.state.last_write_off = Some(after);
        let mut records = Vec::new();
        let mut claims = Vec::new();
        for number in written_off {
            let block = self.state.blocks.get(number).name.clone();
            records.push(Record::WrittenOff { block });
            let classes: Vec<u32> = self.state.waiting.at_block(number).collect();
            for class in classes {
                claims.extend(self.state.remove_class(class));
            }
        }
        claims.sort_unstable();
        for claim in claims {
            let first = self.state.demands(claim).blocks().next();
            if let Some(block) = first.map(|number| self.state.blocks.get(number).name.clone()) {
                self.deny(claim, Denial::BlockRetired { block }, &mut records);
            }
        }
        self.divide_again(&mut records);
        records
    }

    pub(super) fn arrive(&mut self, arrival: &Arrival) -> Result<Vec<Record>, Refusal> {
        let name = &arrival.claim;
        if self.state.claims.number(name).is_some() {
            return Err(Refusal::ClaimExists(name.clone()));
        }
        if arrival.min_blocks == 0 {
            return Err(malformed(name, "needs at least 0 blocks: it must be 1 or more"));
        }
        let demands = self.state.check_demands(name, &arrival.demands)?;
        let number = self.state.claims.next_number().ok_or(Refusal::Overflow)?;
        let demands_id = self.state.demand_store.add(&demands).ok_or(Refusal::Overflow)?;
        if let Some(timeout) = arrival.timeout {
            self.state
                .timeouts
                .insert((self.state.now.after(timeout), number));
        }
        let terms = Terms {
            min_blocks: arrival.min_blocks,
            timeout: arrival.timeout,
            priority: arrival.priority,
            weight: arrival.weight,
        };
        self.state
            .claims
            .add(number, name.clone(), demands_id, terms, self.state.now);
        let mut records = Vec::new();
        self.join_queue(number, &mut records);
        if self.state.claims.get(number).phase == Phase::Waiting {
            records.push(Record::Waits { claim: name.clone() });
        }
        Ok(records)
    }

    pub(super) fn match_blocks(
        &mut self,
        name: &ClaimId,
        demands: &[Demand],
    ) -> Result<Vec<Record>, Refusal> {
        let number = self.state.number_of(name)?;
        let claim = self.state.claims.get(number);
        if claim.phase != Phase::Waiting {
            return Err(wrong_phase(name, claim.phase));
        }
        if claim.matched {
            return Err(malformed(name, "is matched already"));
        }
        let demands = self.state.check_demands(name, demands)?;
        let demands_id = self.state.demand_store.add(&demands).ok_or(Refusal::Overflow)?;
        self.state.claims.get_mut(number).demands_id = demands_id;
        let mut records = Vec::new();
        self.join_queue(number, &mut records);
        Ok(records)
    }

    /// Lets a claim unlock budget and join the queue, if it has enough blocks.
    fn join_queue(&mut self, number: u32, records: &mut Vec<Record>) {
        let claim = self.state.claims.get(number);
        let (demands_id, terms) = (claim.demands_id, *self.state.claims.terms(claim));
        let demands = self.state.demand_store.get(demands_id);
        if demands.len() < terms.min_blocks as usize {
            return;
        }
        self.state.claims.get_mut(number).matched = true;
        let retired = |block: &u32| self.state.blocks.get(*block).retired;
        let found = demands.blocks().find(retired);
        if let Some(block) = found {
            let block = self.state.blocks.get(block).name.clone();
            self.deny(number, Denial::BlockRetired { block }, records);
            return;
        }
        let denial = self.state.too_large(number);
        let context = PolicyContext::new(&self.state);
        let denial = denial.or_else(|| self.policy.denies_arrival(context, number));
        let denial = match denial {
            Some(reason) if !self.state.rules.revision.denied_arrivals_unlock() => {
                self.deny(number, reason, records);
                return;
            }
            denial => denial,
        };
        let raised = self.state.count_arrival(demands_id, records);
        let mut new = None;
        if let Some(reason) = denial {
            self.deny(number, reason, records);
        } else {
            let shares = || {
                self.policy
                    .shares(self.state.demand_store.get(demands_id), self.state.blocks.list())
            };
            let standing = (terms.priority, terms.weight);
            let class =
                self.state
                    .waiting
                    .join(number, standing, demands_id, shares, &self.state.demand_store);
            self.state.claims.get_mut(number).class = Some(class);
            new = self.state.may_fit(class).then_some(class);
            self.policy
                .claim_joined(number, self.state.demand_store.get(demands_id));
        }
        let by = By::Arrival(number);
        self.let_policy_decide(&Cause { raised, new, by }, records);
        if let Some(class) = self.state.claims.get(number).class {
            self.state
                .waiting
                .add_feasible(class, self.state.blocks.list(), &self.state.demand_store);
        }
    }
}

impl State {
    /// Counts the arrival of a claim with these demands at each of its blocks, which unlocks steps of them.
    /// Returns the blocks that took a step.
    fn count_arrival(&mut self, demands_id: u32, records: &mut Vec<Record>) -> Vec<u32> {
        let mut raised = Vec::new();
        for block in self.demand_store.get(demands_id).blocks() {
            if self.blocks.get_mut(block).arrive() {
                raised.push(block);
            }
        }
        if !raised.is_empty() {
            let names = raised.iter().map(|block| self.blocks.get(*block).name.clone());
            records.push(Record::Unlocked {
                blocks: names.collect(),
            });
        }
        raised
    }

    /// The numbers of the blocks of each demand, and its budget.
    pub(super) fn check_demands<'a>(
        &self,
        name: &ClaimId,
        demands: &'a [Demand],
    ) -> Result<Vec<(Vec<u32>, &'a Budget)>, Refusal> {
        let mut checked = Vec::new();
        let mut seen = HashSet::new();
        for demand in demands {
            self.check_coordinates(&demand.budget)?;
            if demand.budget.is_zero() {
                return Err(malformed(name, "asks nothing of a block"));
            }
            let mut numbers = Vec::with_capacity(demand.blocks.len());
            for block in &demand.blocks {
                let number = self.blocks.number(block);
                let number = number.ok_or_else(|| Refusal::UnknownBlock(block.clone()))?;
                if !seen.insert(number) {
                    return Err(malformed(name, "names a block twice"));
                }
                numbers.push(number);
            }
            checked.push((numbers, &demand.budget));
        }
        Ok(checked)
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
