//! The case of one block whose tasks have equal weights, which is solved exactly at any size.

use super::knapsack::{Block, Knapsack};

/// Returns a largest set that fits, if at most one block lacks room for all tasks and the tasks on it have
/// equal weights; otherwise `None`.
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

/// Returns a largest set that fits one block. A set fits if it fits at one order, so the largest set is the
/// largest of those over all orders. At one order, the k tasks with the smallest demands have the smallest
/// sum of any k tasks, so k tasks fit if and only if these do (EuroSys'25, section 3).
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
