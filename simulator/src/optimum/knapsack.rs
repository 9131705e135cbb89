//! The privacy knapsack (EuroSys'25, section 3) in exact integers: which tasks can be granted together.

use privatekube_policy::Composition;

use crate::Workload;

/// The tasks of a workload and the blocks' constraints. A set of tasks fits if each block has room for it.
#[derive(Clone, Debug)]
pub(super) struct Knapsack {
    /// Each task's weight.
    pub(super) weights: Vec<u32>,
    /// Numbers of the tasks that fit alone. Only these are members of blocks.
    pub(super) candidates: Vec<usize>,
    pub(super) blocks: Vec<Block>,
}

/// A block. It has room for a set of tasks if at one of its orders the sum of their demands is at most the
/// capacity. Under basic composition, where every coordinate must hold, each coordinate becomes a block with
/// one order.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Numbers of the tasks that request the block, in ascending order.
    pub(super) members: Vec<usize>,
    pub(super) orders: Vec<Order>,
}

/// One Renyi order of a block, or one coordinate under basic composition.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Each member's demand.
    pub(super) demands: Vec<i64>,
    pub(super) capacity: i64,
}

impl Knapsack {
    /// Makes the knapsack of a workload, as if all tasks arrived at once and all budget was unlocked.
    pub(super) fn of(workload: &Workload) -> Self {
        let tasks = &workload.tasks;
        let blocks = workload.blocks.iter().enumerate().flat_map(|(number, block)| {
            let names_block = |task: &&usize| {
                let mut blocks = tasks[**task].blocks.iter();
                blocks.any(|block| usize::try_from(*block) == Ok(number))
            };
            let all: Vec<usize> = (0..tasks.len()).collect();
            let members: Vec<usize> = all.iter().filter(names_block).copied().collect();
            let order = |at: usize, capacity: i64| Order {
                demands: members
                    .iter()
                    .map(|task| tasks[*task].demand.units()[at])
                    .collect(),
                capacity,
            };
            let units = block.capacity.units().iter().copied().enumerate();
            let block = |orders: Vec<Order>| Block {
                members: members.clone(),
                orders,
            };
            let blocks: Vec<Block> = match workload.composition {
                Composition::Basic => units
                    .map(|(at, capacity)| block(vec![order(at, capacity)]))
                    .collect(),
                // No demand fits at an order without capacity.
                Composition::Renyi(_) => vec![block(
                    units
                        .filter(|(_, capacity)| *capacity > 0)
                        .map(|(at, capacity)| order(at, capacity))
                        .collect(),
                )],
            };
            blocks
        });
        let mut knapsack = Self {
            weights: tasks.iter().map(|task| task.weight.get()).collect(),
            candidates: Vec::new(),
            blocks: blocks.collect(),
        };
        let mut is_candidate: Vec<bool> = tasks.iter().map(|task| !task.blocks.is_empty()).collect();
        for block in &knapsack.blocks {
            for (place, task) in block.members.iter().enumerate() {
                let mut orders = block.orders.iter();
                is_candidate[*task] &= orders.any(|order| order.demands[place] <= order.capacity);
            }
        }
        for block in &mut knapsack.blocks {
            block.keep(|task| is_candidate[task]);
        }
        // A block without capacity at any order has no order, and no members: it constrains nothing.
        knapsack.blocks.retain(|block| !block.members.is_empty());
        knapsack.candidates = (0..tasks.len()).filter(|task| is_candidate[*task]).collect();
        knapsack
    }

    /// Returns the weight of a set of tasks.
    pub(super) fn worth(&self, set: &[bool]) -> u64 {
        let pairs = self.weights.iter().zip(set);
        pairs
            .filter(|(_, is_in)| **is_in)
            .map(|(weight, _)| u64::from(*weight))
            .sum()
    }

    /// Whether a set fits.
    pub(super) fn fits(&self, set: &[bool]) -> bool {
        let mut is_other = set.to_vec();
        is_other.resize(self.weights.len(), false);
        for task in &self.candidates {
            is_other[*task] = false;
        }
        set.len() == self.weights.len()
            && !is_other.contains(&true)
            && self.blocks.iter().all(|block| block.has_room(set))
    }

    /// Removes redundant orders and blocks, and divides by common factors. The same sets fit.
    pub(super) fn reduced(mut self) -> Self {
        for block in &mut self.blocks {
            block.drop_dominated();
            for order in &mut block.orders {
                order.divide();
            }
        }
        // A block with room for all tasks constrains nothing.
        self.blocks
            .retain(|block| !block.has_room(&vec![true; self.weights.len()]));
        self
    }
}

impl Block {
    fn keep(&mut self, is_kept: impl Fn(usize) -> bool) {
        for order in &mut self.orders {
            let mut members = self.members.iter();
            order
                .demands
                .retain(|_| members.next().is_some_and(|task| is_kept(*task)));
        }
        self.members.retain(|task| is_kept(*task));
    }

    /// Returns the sum of a set's demands at each order.
    fn sums(&self, set: &[bool]) -> Vec<i128> {
        let sum = |order: &Order| {
            let demanded = self.members.iter().zip(&order.demands);
            demanded
                .filter(|(task, _)| set[**task])
                .map(|(_, demand)| i128::from(*demand))
                .sum()
        };
        self.orders.iter().map(sum).collect()
    }

    /// Returns the place of the first order at which the set's demands fit the capacity.
    pub(super) fn order_with_room(&self, set: &[bool]) -> Option<usize> {
        let mut sums = self.orders.iter().zip(self.sums(set));
        sums.position(|(order, sum)| sum <= order.capacity.into())
    }

    pub(super) fn has_room(&self, set: &[bool]) -> bool {
        self.order_with_room(set).is_some()
    }

    /// Removes orders at which every member demands at least as large a part of the capacity as at another
    /// order. What fits at the removed order fits at the other, since parts add up.
    fn drop_dominated(&mut self) {
        let mut at = 0;
        while at < self.orders.len() {
            let order = &self.orders[at];
            let mut others = self.orders.iter().enumerate();
            if others.any(|(other, better)| other != at && better.dominates(order)) {
                self.orders.remove(at);
            } else {
                at += 1;
            }
        }
    }
}

impl Order {
    fn dominates(&self, other: &Self) -> bool {
        let product = |one: i64, capacity: i64| i128::from(one) * i128::from(capacity);
        let mut pairs = self.demands.iter().zip(&other.demands);
        pairs.all(|(own, others)| product(*own, other.capacity) <= product(*others, self.capacity))
    }

    /// Divides demands and capacity by the greatest common divisor of the demands. Sums of demands are
    /// multiples of it, so the remainder of the capacity is useless.
    fn divide(&mut self) {
        let common = self.demands.iter().copied().fold(0, greatest_common_divisor);
        if common > 1 {
            for demand in &mut self.demands {
                *demand /= common;
            }
            self.capacity /= common;
        }
    }
}

fn greatest_common_divisor(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
