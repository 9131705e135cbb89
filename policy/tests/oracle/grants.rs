//! The grants of claims that fit.

use privatekube_policy::{Composition, Phase, Policy, Record, Time};

use super::{Oracle, Part};

impl Oracle {
    /// Visits all waiting claims and grants those that fit.
    pub(super) fn grant_what_fits(&mut self, records: &mut Vec<Record>) {
        match self.rules.policy {
            Policy::Dpf | Policy::Fcfs { .. } => {
                for at in self.all_waiting() {
                    if self.claims[at].parts.iter().all(|part| self.fits(part)) {
                        self.grant(at, records);
                    }
                }
            }
            Policy::Dpack { recompute_after } => self.pack(recompute_after, records),
            Policy::Blend {
                fairness,
                recompute_after,
            } => {
                self.walk_on_a_part(fairness, records);
                self.pack(recompute_after, records);
            }
            Policy::RoundRobin => unreachable!("amounts are divided"),
        }
    }

    pub(super) fn grant_what_returned(&mut self, at: usize, records: &mut Vec<Record>) {
        if self.rules.policy == Policy::RoundRobin {
            self.divide_what_returned(at, records);
        } else {
            self.grant_what_fits(records);
        }
    }

    pub(super) fn grant(&mut self, at: usize, records: &mut Vec<Record>) {
        for part in &self.claims[at].parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (allocated, asked) in block.allocated.iter_mut().zip(&part.asked) {
                *allocated += asked;
            }
        }
        self.claims[at].phase = Phase::Granted;
        records.push(Record::Granted {
            claim: self.claims[at].arrival.claim.clone(),
            at: Time::from_micros(self.now),
        });
    }

    pub(super) fn fits(&self, part: &Part) -> bool {
        self.fits_beside(part, &vec![0; part.asked.len()])
    }

    /// Whether a part fits what is available less `reserve`.
    pub(super) fn fits_beside(&self, part: &Part, reserve: &[i128]) -> bool {
        let block = &self.blocks[&part.block];
        let unlocked = block.unlocked();
        let enough = |at: usize| part.asked[at] <= unlocked[at] - reserve[at];
        let mut coordinates = 0..unlocked.len();
        match self.rules.composition {
            Composition::Basic => coordinates.all(enough),
            Composition::Renyi(_) => coordinates.any(|at| block.capacity[at] > 0 && enough(at)),
        }
    }
}
