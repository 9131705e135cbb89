//! Blocks: adding, unlocking and retiring them.

use privatekube_policy::{BlockId, Denial, Record, Unlocking};

use super::{Block, Oracle, waits};

impl Block {
    pub(crate) fn locked(&self) -> Vec<i128> {
        let pairs = self.capacity.iter().zip(&self.unlocked_in_all);
        pairs.map(|(capacity, unlocked)| capacity - unlocked).collect()
    }

    pub(crate) fn unlocked(&self) -> Vec<i128> {
        (0..self.capacity.len())
            .map(|at| self.unlocked_in_all[at] - self.allocated[at] - self.consumed[at])
            .collect()
    }

    pub(super) fn unlock(&mut self, done: u64, of: u64) {
        if self.written_off {
            return;
        }
        for (capacity, unlocked) in self.capacity.iter().zip(&mut self.unlocked_in_all) {
            *unlocked = capacity * i128::from(done.min(of)) / i128::from(of);
        }
    }

    pub(super) fn take_clock_steps(&mut self, now: u64) {
        let done = self.steps.iter().filter(|step| **step <= now).count();
        self.all_steps_taken = done == self.steps.len();
        if !self.steps.is_empty() {
            self.unlock(done as u64, self.steps.len() as u64);
        }
    }
}

impl Oracle {
    pub(super) fn add_block(&mut self, name: &BlockId, capacity: Vec<i128>) -> Option<Vec<Record>> {
        let records = vec![Record::BlockAdded { block: name.clone() }];
        if let Some(block) = self.blocks.get_mut(name) {
            if block.written_off || !block.retired || block.capacity != capacity {
                return None;
            }
            block.retired = false;
            return Some(records);
        }
        if self.lost.contains(name) {
            return None;
        }
        let steps = match self.rules.unlocking {
            Unlocking::Arrivals(_) => Vec::new(),
            Unlocking::Immediate => vec![self.now],
            Unlocking::Lifetime { lifetime, tick } => {
                let mut at = 0;
                while at < self.now {
                    at += tick.micros();
                }
                let mut steps = vec![at];
                while at + tick.micros() <= self.now + lifetime.micros() {
                    at += tick.micros();
                    steps.push(at);
                }
                steps
            }
        };
        let nothing = vec![0; capacity.len()];
        let mut block = Block {
            capacity,
            unlocked_in_all: nothing.clone(),
            allocated: nothing.clone(),
            consumed: nothing.clone(),
            arrivals: 0,
            retired: false,
            written_off: false,
            steps,
            closed: vec![false; nothing.len()],
            divided: nothing,
            all_steps_taken: false,
        };
        block.take_clock_steps(self.now);
        self.blocks.insert(name.clone(), block);
        self.added.push(name.clone());
        Some(records)
    }

    pub(super) fn write_off(&mut self, unknown: &[BlockId]) -> Vec<Record> {
        for name in unknown {
            if !self.blocks.contains_key(name) {
                self.lost.insert(name.clone());
            }
        }
        let mut records = Vec::new();
        for name in self.added.clone() {
            let block = self.blocks.get_mut(&name).unwrap();
            if block.written_off {
                continue;
            }
            block.retired = true;
            block.written_off = true;
            for at in 0..block.capacity.len() {
                block.unlocked_in_all[at] = block.capacity[at];
                let rest = block.capacity[at] - block.allocated[at] - block.consumed[at];
                if rest > 0 {
                    block.consumed[at] += rest;
                }
            }
            records.push(Record::WrittenOff { block: name.clone() });
        }
        for at in 0..self.claims.len() {
            let claim = &self.claims[at];
            if waits(claim) {
                let block = claim.parts[0].block.clone();
                self.deny(at, Denial::BlockRetired { block }, &mut records);
            }
        }
        self.divide_again(&mut records);
        records
    }

    pub(super) fn retire_block(&mut self, name: &BlockId) -> Option<Vec<Record>> {
        let block = self.blocks.get_mut(name)?;
        if block.retired {
            return Some(Vec::new());
        }
        block.retired = true;
        let mut records = vec![Record::BlockRetired { block: name.clone() }];
        for at in 0..self.claims.len() {
            let claim = &self.claims[at];
            if waits(claim) && claim.parts.iter().any(|part| part.block == *name) {
                let block = name.clone();
                self.deny(at, Denial::BlockRetired { block }, &mut records);
            }
        }
        self.divide_again(&mut records);
        Some(records)
    }
}
