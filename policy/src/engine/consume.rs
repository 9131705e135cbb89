//! The end of a claim after its grant: consumed, released, withdrawn, or returned because what it was
//! consumed for never ran. Each costs a look at the claim's blocks, and what the policy then decides.

use super::{
    Engine, Phase, Refusal,
    arrive::{malformed, wrong_phase},
    blocks::Move,
    claims::Claim,
    decisions::{By, Cause},
};
use crate::{Amount, ClaimId, Demand, Record};

impl Engine {
    pub(super) fn consume(&mut self, name: &ClaimId, amount: &Amount) -> Result<Vec<Record>, Refusal> {
        let number = self.state.number_of(name)?;
        let Some(increase) = self.increase(number, amount, Phase::Consumed)? else {
            return Ok(Vec::new());
        };
        let entirely = self.move_allocated(number, &increase, Move::Consume);
        let mut records = vec![Record::Consumed {
            claim: name.clone(),
            entirely,
        }];
        let blocks: Vec<u32> = self.state.demands(number).blocks().collect();
        self.deny_infeasible(&blocks, &mut records);
        Ok(records)
    }

    pub(super) fn release(&mut self, name: &ClaimId, amount: &Amount) -> Result<Vec<Record>, Refusal> {
        let number = self.state.number_of(name)?;
        let Some(increase) = self.increase(number, amount, Phase::Released)? else {
            return Ok(Vec::new());
        };
        Ok(self.return_budget(number, &increase))
    }

    pub(super) fn withdraw(&mut self, name: &ClaimId) -> Result<Vec<Record>, Refusal> {
        let number = self.state.number_of(name)?;
        let claim = self.state.claims.get(number);
        match claim.phase {
            Phase::Waiting => {
                self.end(number, Phase::Withdrawn);
                let mut records = vec![Record::Withdrawn { claim: name.clone() }];
                self.divide_again(&mut records);
                Ok(records)
            }
            Phase::Granted => {
                let all = claim.all_allocated(self.state.demands(number));
                Ok(self.return_budget(number, &all))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns all of the claim's budget, both consumed and allocated.
    pub(super) fn never_ran(&mut self, name: &ClaimId) -> Result<Vec<Record>, Refusal> {
        let number = self.state.number_of(name)?;
        let claim = self.state.claims.get(number);
        match claim.phase {
            Phase::Consumed | Phase::Granted if !claim.consumed().is_nothing() => {}
            Phase::Granted | Phase::Released => return Ok(Vec::new()),
            phase => return Err(wrong_phase(name, phase)),
        }
        let demands = claim.demands(&self.state.demand_store);
        let allocated = claim.all_allocated(demands);
        for (at, (demand, allocated)) in demands.iter().zip(self.by_part(&allocated)).enumerate() {
            let consumed = claim.consumed().budget(at, demand.amounts);
            let block = self.state.blocks.get_mut(demand.block);
            block.settle(self.state.now);
            block.shift(consumed.units(), Move::Return);
            block.shift(allocated, Move::Release);
            if !block.written_off {
                self.policy.budget_returned(demand.block, consumed.units());
                self.policy.budget_returned(demand.block, allocated);
            }
        }
        self.state.claims.get_mut(number).undo();
        let mut records = vec![Record::Released {
            claim: name.clone(),
            entirely: true,
        }];
        self.let_policy_decide(
            &returned_to(self.state.demands(number).blocks().collect()),
            &mut records,
        );
        Ok(records)
    }

    fn return_budget(&mut self, number: u32, increase: &[i64]) -> Vec<Record> {
        let entirely = self.move_allocated(number, increase, Move::Release);
        let claim = self.state.claims.get(number).name.clone();
        let mut records = vec![Record::Released { claim, entirely }];
        self.let_policy_decide(
            &returned_to(self.state.demands(number).blocks().collect()),
            &mut records,
        );
        records
    }

    /// Moves `increase`, which was checked, in the accounts of the blocks and in the claim. Returns whether
    /// nothing of the claim is left allocated.
    fn move_allocated(&mut self, number: u32, increase: &[i64], direction: Move) -> bool {
        let demands = self.state.claims.get(number).demands(&self.state.demand_store);
        for (demand, increase) in demands.iter().zip(self.by_part(increase)) {
            let block = self.state.blocks.get_mut(demand.block);
            block.settle(self.state.now);
            block.shift(increase, direction);
            if direction == Move::Release && !block.written_off {
                self.policy.budget_returned(demand.block, increase);
            }
        }
        let claim = self.state.claims.get_mut(number);
        let demands = claim.demands(&self.state.demand_store);
        claim.add_to_totals(increase, demands, direction == Move::Consume)
    }

    /// `amounts` cut into those of each block.
    fn by_part<'a>(&self, amounts: &'a [i64]) -> impl Iterator<Item = &'a [i64]> + use<'a> {
        amounts.chunks(self.state.rules.composition.coordinates().max(1))
    }

    /// By how much `amount` raises the total that was consumed or released (`end` says which), at each
    /// coordinate of each block; none if it raises nothing.
    fn increase(&self, number: u32, amount: &Amount, end: Phase) -> Result<Option<Vec<i64>>, Refusal> {
        let claim = self.state.claims.get(number);
        let name = &claim.name;
        match claim.phase {
            Phase::Granted | Phase::Consumed | Phase::Released => {}
            phase => return Err(wrong_phase(name, phase)),
        }
        match amount {
            Amount::All if claim.phase == Phase::Granted => {
                Ok(Some(claim.all_allocated(self.state.demands(number))))
            }
            Amount::All if claim.phase == end => Ok(None),
            Amount::All => Err(wrong_phase(name, claim.phase)),
            Amount::InAll(demands) => {
                let increase = self.increase_to(claim, demands, end == Phase::Consumed)?;
                Ok(increase.iter().any(|more| *more > 0).then_some(increase))
            }
        }
    }

    fn increase_to(&self, claim: &Claim, in_all: &[Demand], consumed: bool) -> Result<Vec<i64>, Refusal> {
        let name = &claim.name;
        let demands = claim.demands(&self.state.demand_store);
        let totals = if consumed {
            claim.consumed()
        } else {
            claim.released()
        };
        let coordinates = self.state.rules.composition.coordinates();
        let mut increase = vec![0; demands.len() * coordinates];
        let mut seen = vec![false; demands.len()];
        for demand in in_all {
            self.state.check_coordinates(&demand.budget)?;
            for block in &demand.blocks {
                let number = self.state.blocks.number(block);
                let part = number.and_then(|number| demands.at(number));
                let part = part.ok_or_else(|| malformed(name, "has nothing of a block that is named"))?;
                if std::mem::replace(&mut seen[part], true) {
                    return Err(malformed(name, "names a block twice"));
                }
                for (coordinate, total) in demand.budget.units().iter().enumerate() {
                    let demanded = demands.get(part).amounts;
                    let before = totals.of(part, demanded, coordinate);
                    let more = (total - before).max(0);
                    if more > claim.allocated(part, demanded, coordinate) {
                        return Err(Refusal::TooMuch {
                            claim: name.clone(),
                            block: block.clone(),
                        });
                    }
                    increase[part * coordinates + coordinate] = more;
                }
            }
        }
        Ok(increase)
    }
}

const fn returned_to(blocks: Vec<u32>) -> Cause {
    Cause {
        raised: blocks,
        new: None,
        by: By::Return,
    }
}
