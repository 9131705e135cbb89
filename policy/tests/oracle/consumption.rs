//! The consumption and release of grants, entirely or in part.

use privatekube_policy::{Amount, ClaimId, Phase, Record};

use super::{Oracle, Part, waits, widen};

impl Oracle {
    pub(super) fn consume(&mut self, name: &ClaimId, amount: &Amount) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let Some(targets) = self.targets(at, amount, Phase::Consumed)? else {
            return Some(Vec::new());
        };
        for (part, target) in self.claims[at].parts.iter_mut().zip(targets) {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, target) in target.into_iter().enumerate() {
                let more = target - part.consumed[coordinate];
                part.consumed[coordinate] = target;
                block.allocated[coordinate] -= more;
                block.consumed[coordinate] += more;
            }
        }
        let entirely = self.end_if_nothing_is_left(at);
        let claim = name.clone();
        let mut records = vec![Record::Consumed { claim, entirely }];
        for at in 0..self.claims.len() {
            if waits(&self.claims[at])
                && let Some(reason) = self.can_never_be_granted(at)
            {
                self.deny(at, reason, &mut records);
            }
        }
        self.divide_again(&mut records);
        Some(records)
    }

    pub(super) fn release(&mut self, name: &ClaimId, amount: &Amount) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let Some(targets) = self.targets(at, amount, Phase::Released)? else {
            return Some(Vec::new());
        };
        for (part, target) in self.claims[at].parts.iter_mut().zip(targets) {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, target) in target.into_iter().enumerate() {
                let more = target - part.released[coordinate];
                block.allocated[coordinate] -= more;
                block.give_back(coordinate, more);
                part.released[coordinate] = target;
            }
        }
        let entirely = self.end_if_nothing_is_left(at);
        let claim = name.clone();
        let mut records = vec![Record::Released { claim, entirely }];
        self.grant_what_returned(at, &mut records);
        Some(records)
    }

    pub(super) fn withdraw(&mut self, name: &ClaimId) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        match self.claims[at].phase {
            Phase::Waiting => {
                self.end_without_a_grant(at, Phase::Withdrawn);
                let mut records = vec![Record::Withdrawn { claim: name.clone() }];
                self.divide_again(&mut records);
                Some(records)
            }
            Phase::Granted => self.release(name, &Amount::All),
            _ => Some(Vec::new()),
        }
    }

    pub(super) fn never_ran(&mut self, name: &ClaimId) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let consumed = |part: &Part| part.consumed.iter().any(|units| *units > 0);
        match self.claims[at].phase {
            Phase::Consumed => {}
            Phase::Granted if self.claims[at].parts.iter().any(consumed) => {}
            Phase::Granted | Phase::Released => return Some(Vec::new()),
            _ => return None,
        }
        for part in &mut self.claims[at].parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, asked) in part.asked.iter().enumerate() {
                let held = asked - part.consumed[coordinate] - part.released[coordinate];
                block.allocated[coordinate] -= held;
                block.consumed[coordinate] -= part.consumed[coordinate];
                block.give_back(coordinate, held + part.consumed[coordinate]);
                part.consumed[coordinate] = 0;
                part.released[coordinate] = *asked;
            }
        }
        self.claims[at].phase = Phase::Released;
        let claim = name.clone();
        let mut records = vec![Record::Released {
            claim,
            entirely: true,
        }];
        self.grant_what_returned(at, &mut records);
        Some(records)
    }

    fn end_if_nothing_is_left(&mut self, at: usize) -> bool {
        let claim = &mut self.claims[at];
        let all = |test: fn(i128, i128, i128) -> bool| {
            let mut amounts = claim.parts.iter().flat_map(|part| {
                (0..part.asked.len()).map(|at| (part.asked[at], part.consumed[at], part.released[at]))
            });
            amounts.all(|(asked, consumed, released)| test(asked, consumed, released))
        };
        let ended = all(|asked, consumed, released| asked == consumed + released);
        if ended {
            let nothing_consumed = all(|_, consumed, _| consumed == 0);
            claim.phase = if nothing_consumed {
                Phase::Released
            } else {
                Phase::Consumed
            };
        }
        ended
    }

    /// The totals that are consumed or released afterwards. The outer option is none if the event is refused,
    /// the inner one if there is nothing to do.
    #[allow(clippy::option_option, reason = "two ways of not doing it")]
    fn targets(&self, at: usize, amount: &Amount, end: Phase) -> Option<Option<Vec<Vec<i128>>>> {
        let claim = &self.claims[at];
        if ![Phase::Granted, Phase::Consumed, Phase::Released].contains(&claim.phase) {
            return None;
        }
        let before = |part: &Part| {
            if end == Phase::Consumed {
                part.consumed.clone()
            } else {
                part.released.clone()
            }
        };
        let held = |part: &Part, at: usize| part.asked[at] - part.consumed[at] - part.released[at];
        let mut targets: Vec<Vec<i128>> = claim.parts.iter().map(before).collect();
        match amount {
            Amount::All if claim.phase == end => return Some(None),
            Amount::All if claim.phase != Phase::Granted => return None,
            Amount::All => {
                for (part, target) in claim.parts.iter().zip(&mut targets) {
                    for (at, target) in target.iter_mut().enumerate() {
                        *target += held(part, at);
                    }
                }
            }
            Amount::InAll(demands) => {
                let mut named = Vec::new();
                for demand in demands {
                    self.coordinates_are_right(demand.budget.units())?;
                    for block in &demand.blocks {
                        let part = claim.parts.iter().position(|part| part.block == *block)?;
                        if named.contains(&block) {
                            return None;
                        }
                        named.push(block);
                        for (at, total) in widen(demand.budget.units()).into_iter().enumerate() {
                            let target = &mut targets[part][at];
                            if total > *target + held(&claim.parts[part], at) {
                                return None;
                            }
                            *target = total.max(*target);
                        }
                    }
                }
            }
        }
        let changes = claim.parts.iter().map(before).ne(targets.iter().cloned());
        Some(changes.then_some(targets))
    }
}
