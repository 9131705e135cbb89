//! DPack and Blend, which compute everything again whenever the policy says so.

use std::{cmp::Reverse, collections::BTreeMap};

use privatekube_policy::{BlockId, Composition, Record};

use super::{Oracle, Part, order::compare_fractions, waits};

impl Oracle {
    /// DPF on a part of what is available now: `fairness` thousandths, rounded up.
    pub(super) fn walk_on_a_part(&mut self, fairness: u16, records: &mut Vec<Record>) {
        if fairness == 0 {
            return;
        }
        let reserve = |units: i128| units.max(0) * i128::from(1000 - fairness) / 1000;
        let reserves: BTreeMap<BlockId, Vec<i128>> = self
            .blocks
            .iter()
            .map(|(name, block)| (name.clone(), block.unlocked().into_iter().map(reserve).collect()))
            .collect();
        for at in self.all_waiting() {
            let fits = |part: &Part| self.fits_beside(part, &reserves[&part.block]);
            if self.claims[at].parts.iter().all(fits) {
                self.grant(at, records);
            }
        }
    }

    pub(super) fn pack(&mut self, recompute_after: u32, records: &mut Vec<Record>) {
        loop {
            let fits = |at: &usize| self.claims[*at].parts.iter().all(|part| self.fits(part));
            let mut fitting = self.in_order_of_prices();
            fitting.retain(fits);
            if fitting.is_empty() {
                return;
            }
            let mut granted = 0;
            for at in fitting {
                if granted < recompute_after && self.claims[at].parts.iter().all(|part| self.fits(part)) {
                    self.grant(at, records);
                    granted += 1;
                }
            }
        }
    }

    pub(super) fn in_order_of_prices(&self) -> Vec<usize> {
        let all = 0..self.claims.len();
        let mut waiting: Vec<usize> = all.filter(|at| waits(&self.claims[*at])).collect();
        let best: BTreeMap<BlockId, Option<usize>> = self
            .blocks
            .keys()
            .map(|block| (block.clone(), self.best_order(block)))
            .collect();
        let price = |at: usize| {
            (
                self.cost(at, &best),
                i128::from(self.claims[at].arrival.weight.get()),
            )
        };
        waiting.sort_by(|one, other| {
            let priority = |at: usize| Reverse(self.claims[at].arrival.priority);
            let prices = compare_fractions(price(*one), price(*other));
            priority(*one)
                .cmp(&priority(*other))
                .then(prices)
                .then(one.cmp(other))
        });
        waiting
    }

    fn best_order(&self, name: &BlockId) -> Option<usize> {
        let block = &self.blocks[name];
        let unlocked = block.unlocked();
        let usable = (0..unlocked.len()).filter(|at| block.capacity[*at] > 0 && unlocked[*at] > 0);
        let mut best: Option<(usize, i128)> = None;
        for order in usable {
            let waiting = self.claims.iter().filter(|claim| waits(claim));
            let mut asked: Vec<(i128, i128)> = waiting
                .filter_map(|claim| {
                    let part = claim.parts.iter().find(|part| part.block == *name)?;
                    Some((part.asked[order], i128::from(claim.arrival.weight.get())))
                })
                .collect();
            asked.sort_by(|one, other| compare_fractions(*one, *other).then(one.cmp(other)));
            let (mut rest, mut packed) = (unlocked[order], 0);
            for (asked, weight) in asked {
                if asked <= rest {
                    rest -= asked;
                    packed += weight;
                }
            }
            if best.is_none_or(|(_, most)| packed > most) {
                best = Some((order, packed));
            }
        }
        best.map(|(order, _)| order)
    }

    fn cost(&self, at: usize, best: &BTreeMap<BlockId, Option<usize>>) -> i128 {
        let mut cost = 0_u128;
        for part in &self.claims[at].parts {
            let capacity = &self.blocks[&part.block].capacity;
            let counted: Vec<usize> = match self.rules.composition {
                Composition::Basic => (0..capacity.len()).collect(),
                Composition::Renyi(_) => best[&part.block].into_iter().collect(),
            };
            for order in counted.into_iter().filter(|order| capacity[*order] > 0) {
                let asked = u128::try_from(part.asked[order]).unwrap();
                cost += (asked << 56) / u128::try_from(capacity[order]).unwrap();
            }
        }
        i128::try_from(cost).unwrap()
    }
}
