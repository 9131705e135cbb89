//! Round robin by its definition: every claim is given what it needs, up to a level that is the same for all.

use privatekube_policy::{BlockId, Denial, Phase, Policy, Record, Revision, Unlocking};

use super::{Block, Oracle, Part, waits};

impl Block {
    /// Makes an amount available that was allocated or consumed, or consumes it if the block was written off.
    pub(super) fn give_back(&mut self, coordinate: usize, amount: i128) {
        if self.written_off {
            self.consumed[coordinate] += amount;
            return;
        }
        if self.written_off {
            self.consumed[coordinate] += amount;
            return;
        }
        if amount > 0 {
            self.divided[coordinate] -= amount;
            self.closed[coordinate] = false;
        }
    }

    /// Whether nothing is left to divide at a coordinate, and nothing locked.
    fn is_empty(&self, coordinate: usize, unlocking: Unlocking) -> bool {
        let unlocked_all = match unlocking {
            Unlocking::Arrivals(of) => self.arrivals >= u64::from(of),
            Unlocking::Immediate => true,
            Unlocking::Lifetime { .. } => self.unlocked_in_all == self.capacity && self.all_steps_taken,
        };
        unlocked_all && self.divided[coordinate] >= self.capacity[coordinate]
    }
}

impl Oracle {
    fn tick(&self) -> Option<u64> {
        match self.rules.unlocking {
            Unlocking::Lifetime { tick, .. } => Some(tick.micros()),
            _ => None,
        }
    }

    pub(super) fn next_division(&self) -> Option<u64> {
        let somebody_waits = self.claims.iter().any(waits);
        let tick = self
            .tick()
            .filter(|_| self.rules.policy == Policy::RoundRobin && somebody_waits)?;
        Some((self.now / tick + 1) * tick)
    }

    pub(super) fn turned_away(&self, at: usize) -> Option<Denial> {
        let parts = &self.claims[at].parts;
        let closed = parts.iter().find(|part| {
            let block = &self.blocks[&part.block];
            (0..part.asked.len()).any(|at| {
                let empty = || block.is_empty(at, self.rules.unlocking);
                let nothing_comes = match self.rules.revision {
                    Revision::First => block.closed[at] || self.tick().is_some() && empty(),
                    Revision::Second | Revision::Third => {
                        empty() && (self.tick().is_some() || !self.gathers_in_part(&part.block, at))
                    }
                };
                part.asked[at] > 0 && nothing_comes
            })
        });
        let by_round_robin = closed.filter(|_| self.rules.policy == Policy::RoundRobin);
        by_round_robin.map(|part| Denial::DividedUp {
            block: part.block.clone(),
        })
    }

    pub(super) fn divide_at_a_tick(&mut self, at: u64, records: &mut Vec<Record>) {
        if !self.tick().is_some_and(|tick| at.is_multiple_of(tick)) {
            return;
        }
        let blocks: Vec<BlockId> = self.blocks.keys().cloned().collect();
        self.divide(&blocks, records);
        let mut emptied = Vec::new();
        for (name, block) in &self.blocks {
            for at in 0..block.capacity.len() {
                if block.is_empty(at, self.rules.unlocking) {
                    emptied.push((name.clone(), at));
                }
            }
        }
        self.deny_who_lacks(&emptied, None, records);
    }

    /// Whether a waiting claim has gathered a part of what it asks at a coordinate of a block, and lacks the
    /// rest.
    fn gathers_in_part(&self, block: &BlockId, coordinate: usize) -> bool {
        let parts = self
            .claims
            .iter()
            .filter(|claim| waits(claim))
            .flat_map(|claim| &claim.parts);
        let mut parts = parts.filter(|part| part.block == *block);
        parts.any(|part| part.gathered[coordinate] > 0 && part.gathered[coordinate] < part.asked[coordinate])
    }

    /// Ends a waiting claim. From the second revision on, what it had gathered is there to be divided again.
    pub(super) fn end_without_a_grant(&mut self, at: usize, phase: Phase) {
        self.claims[at].phase = phase;
        if self.rules.revision == Revision::First {
            return;
        }
        for part in &mut self.claims[at].parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (at, gathered) in part.gathered.iter_mut().enumerate() {
                block.divided[at] -= std::mem::take(gathered);
            }
        }
    }

    /// Divides what ended claims had gathered, wherever it is.
    pub(super) fn divide_again(&mut self, records: &mut Vec<Record>) {
        let divides = self.rules.policy == Policy::RoundRobin && self.rules.revision != Revision::First;
        if divides && self.tick().is_none() {
            let blocks: Vec<BlockId> = self.blocks.keys().cloned().collect();
            self.divide(&blocks, records);
        }
    }

    pub(super) fn divide_at_an_arrival(
        &mut self,
        at: usize,
        unlocked: &[BlockId],
        records: &mut Vec<Record>,
    ) {
        if self.tick().is_some() {
            return;
        }
        let mut emptied = Vec::new();
        for part in &self.claims[at].parts {
            for at in 0..part.asked.len() {
                let empty = self.blocks[&part.block].is_empty(at, self.rules.unlocking);
                if empty && part.asked[at] > 0 && !unlocked.contains(&part.block) {
                    emptied.push((part.block.clone(), at));
                }
            }
        }
        if self.rules.revision != Revision::First {
            self.deny_who_lacks(&emptied, Some(at), records);
            self.divide_again(records);
            return;
        }
        self.divide(&self.blocks_of(at), records);
        for (block, at) in &emptied {
            self.blocks.get_mut(block).unwrap().closed[*at] = true;
        }
        self.deny_who_lacks(&emptied, None, records);
    }

    pub(super) fn divide_what_returned(&mut self, at: usize, records: &mut Vec<Record>) {
        if self.tick().is_none() {
            self.divide(&self.blocks_of(at), records);
        }
    }

    fn blocks_of(&self, at: usize) -> Vec<BlockId> {
        let parts = self.claims[at].parts.iter();
        parts.map(|part| part.block.clone()).collect()
    }

    fn divide(&mut self, blocks: &[BlockId], records: &mut Vec<Record>) {
        for name in blocks {
            let block = self.blocks.get_mut(name).unwrap();
            for at in 0..block.capacity.len() {
                let pot = block.unlocked_in_all[at] - block.divided[at];
                let waiting = self.claims.iter_mut().filter(|claim| waits(claim));
                let parts = waiting.flat_map(|claim| &mut claim.parts);
                let mut lacking: Vec<&mut Part> = parts
                    .filter(|part| part.block == *name && part.gathered[at] < part.asked[at])
                    .collect();
                // Stable: claims with equal needs stay in the order of arrival.
                lacking.sort_by_key(|part| part.asked[at] - part.gathered[at]);
                let needs: Vec<i128> = lacking
                    .iter()
                    .map(|part| part.asked[at] - part.gathered[at])
                    .collect();
                for (part, amount) in lacking.iter_mut().zip(max_min(&needs, pot)) {
                    part.gathered[at] += amount;
                    block.divided[at] += amount;
                }
            }
        }
        for at in 0..self.claims.len() {
            let has_all = |part: &Part| part.gathered == part.asked;
            if waits(&self.claims[at]) && self.claims[at].parts.iter().all(has_all) {
                self.grant(at, records);
            }
        }
    }

    fn deny_who_lacks(
        &mut self,
        emptied: &[(BlockId, usize)],
        spared: Option<usize>,
        records: &mut Vec<Record>,
    ) {
        for at in (0..self.claims.len()).filter(|at| Some(*at) != spared) {
            let lacks = |part: &&Part| {
                let mut coordinates = emptied.iter().filter(|(block, _)| *block == part.block);
                coordinates.any(|(_, at)| part.gathered[*at] < part.asked[*at])
            };
            let lacking = self.claims[at].parts.iter().find(lacks);
            if let Some(part) = lacking.filter(|_| waits(&self.claims[at])) {
                let block = part.block.clone();
                self.deny(at, Denial::DividedUp { block }, records);
            }
        }
    }
}

/// Every claim gets what it needs, up to the highest level that `total` allows; the rest goes to the first
/// ones, a unit each.
fn max_min(needs: &[i128], total: i128) -> Vec<i128> {
    let all_at = |level: i128| needs.iter().map(|need| *need.min(&level)).sum::<i128>();
    let (mut low, mut high) = (0, needs.iter().copied().max().unwrap_or(0));
    while low < high {
        let middle = (low + high + 1) / 2;
        if all_at(middle) <= total {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut rest = total - all_at(low);
    let mut given: Vec<i128> = needs.iter().map(|need| *need.min(&low)).collect();
    for (given, need) in given.iter_mut().zip(needs) {
        if rest > 0 && *given < *need {
            *given += 1;
            rest -= 1;
        }
    }
    given
}
