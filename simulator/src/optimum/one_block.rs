//! One block, whose tasks are worth the same: exact at any size.

use super::knapsack::{Block, Knapsack};

/// As many tasks as fit, where at most one block has no room for all and those who ask for it are worth the same; none
/// elsewhere.
pub(super) fn most(knapsack: &Knapsack) -> Option<Vec<bool>> {
    let mut set = vec![false; knapsack.weights.len()];
    for task in &knapsack.candidates {
        set[*task] = true;
    }
    match knapsack.blocks.as_slice() {
        [] => {}
        [block]
            if block
                .members
                .windows(2)
                .all(|pair| knapsack.weights[pair[0]] == knapsack.weights[pair[1]]) =>
        {
            for task in &block.members {
                set[*task] = false;
            }
            for task in most_of(block) {
                set[task] = true;
            }
        }
        _ => return None,
    }
    Some(set)
}

/// A set fits if it fits at any one order, so the largest is the largest of those that fit at an order; and at an order,
/// no k tasks ask less together than those that ask the least, so k fit if and only if these do (EuroSys'25, section 3).
fn most_of(block: &Block) -> Vec<usize> {
    let at_orders = block.orders.iter().map(|order| {
        let pairs = order.demands.iter().copied().zip(block.members.iter().copied());
        let mut pairs: Vec<(i64, usize)> = pairs.collect();
        pairs.sort_unstable();
        let mut left = order.capacity;
        let fitting = pairs.into_iter().take_while(|(demand, _)| {
            // Never saturates: a demand is not negative, and nothing follows a negative rest.
            left = left.saturating_sub(*demand);
            left >= 0
        });
        fitting.map(|(_, task)| task).collect::<Vec<usize>>()
    });
    at_orders.max_by_key(Vec::len).unwrap_or_default()
}
