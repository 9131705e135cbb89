//! The arrival of claims, and their matching with blocks.

use privatekube_policy::{Arrival, ClaimId, Demand, Denial, Phase, Policy, Record, Revision, Unlocking};

use super::{Claim, Oracle, Part, waits, widen};

impl Oracle {
    pub(super) fn arrive(&mut self, arrival: &Arrival) -> Option<Vec<Record>> {
        if self.find(&arrival.claim).is_some() || arrival.min_blocks == 0 {
            return None;
        }
        let parts = self.parts(&arrival.demands)?;
        self.claims.push(Claim {
            arrival: arrival.clone(),
            arrived: self.now,
            phase: Phase::Waiting,
            matched: false,
            parts: Vec::new(),
        });
        let mut records = Vec::new();
        let at = self.claims.len() - 1;
        self.compete(at, parts, &mut records);
        if self.claims[at].phase == Phase::Waiting {
            let claim = arrival.claim.clone();
            records.push(Record::Waits { claim });
        }
        Some(records)
    }

    pub(super) fn match_blocks(&mut self, name: &ClaimId, demands: &[Demand]) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        if self.claims[at].phase != Phase::Waiting || self.claims[at].matched {
            return None;
        }
        let parts = self.parts(demands)?;
        let mut records = Vec::new();
        self.compete(at, parts, &mut records);
        Some(records)
    }

    fn compete(&mut self, at: usize, parts: Vec<Part>, records: &mut Vec<Record>) {
        if parts.len() < self.claims[at].arrival.min_blocks as usize {
            return;
        }
        let retired = parts.iter().find(|part| self.blocks[&part.block].retired);
        if let Some(part) = retired {
            let block = part.block.clone();
            self.claims[at].parts = parts;
            self.deny(at, Denial::BlockRetired { block }, records);
            return;
        }
        self.claims[at].parts.clone_from(&parts);
        self.claims[at].matched = true;
        let denial = self
            .can_never_be_granted(at)
            .or_else(|| self.turned_away(at))
            .or_else(|| self.is_refused(at));
        if let Some(reason) = denial.clone().filter(|_| self.rules.revision != Revision::First) {
            self.deny(at, reason, records);
            return;
        }
        let mut unlocked = Vec::new();
        for part in &parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            block.arrivals += 1;
            if let Unlocking::Arrivals(of) = self.rules.unlocking {
                if block.arrivals <= u64::from(of) {
                    unlocked.push(part.block.clone());
                }
                block.unlock(block.arrivals, u64::from(of));
            }
        }
        if !unlocked.is_empty() {
            let blocks = unlocked.clone();
            records.push(Record::Unlocked { blocks });
        }
        if let Some(reason) = denial {
            self.deny(at, reason, records);
        }
        if self.rules.policy == Policy::RoundRobin {
            self.divide_at_an_arrival(at, &unlocked, records);
            return;
        }
        self.grant_what_fits(records);
        if self.rules.policy == (Policy::Fcfs { refusing: true }) && waits(&self.claims[at]) {
            let reason = self.does_not_fit(at);
            self.deny(at, reason, records);
        }
    }

    /// Under refusing FCFS, why a claim does not fit with what its own arrival would unlock.
    fn is_refused(&self, at: usize) -> Option<Denial> {
        if self.rules.policy != (Policy::Fcfs { refusing: true }) || self.rules.revision == Revision::First {
            return None;
        }
        let mut after = self.clone();
        for part in &self.claims[at].parts {
            let block = after.blocks.get_mut(&part.block).unwrap();
            if let Unlocking::Arrivals(of) = self.rules.unlocking {
                block.unlock(block.arrivals + 1, u64::from(of));
            }
        }
        let fits = after.claims[at].parts.iter().all(|part| after.fits(part));
        (!fits).then(|| after.does_not_fit(at))
    }

    fn parts(&self, demands: &[Demand]) -> Option<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for demand in demands {
            self.coordinates_are_right(demand.budget.units())?;
            if demand.budget.is_zero() {
                return None;
            }
            for block in &demand.blocks {
                if !self.blocks.contains_key(block) || parts.iter().any(|part| part.block == *block) {
                    return None;
                }
                let asked = widen(demand.budget.units());
                parts.push(Part {
                    block: block.clone(),
                    consumed: vec![0; asked.len()],
                    released: vec![0; asked.len()],
                    gathered: vec![0; asked.len()],
                    asked,
                });
            }
        }
        Some(parts)
    }
}
