//! The general case, with several blocks or unequal weights: a mixed-integer program, solved by branch and
//! bound.
//!
//! A binary variable for each task is 1 if the task is granted. A binary variable for each order of a block
//! is 1 if the block uses that order; each block uses one. At the order that a block uses, the sum of demands
//! is at most the capacity. At any other order, it is at most what tasks could demand there while they fit at
//! the order in use: the smallest valid "big M", computed for each pair of orders as a fractional knapsack.
//! (EuroSys'25 states the program with one large constant.) A further constraint for each block bounds the
//! number of its tasks by the number that fits at the order in use.
//!
//! The solver computes in doubles. Right-hand sides are slightly enlarged, so that rounding excludes no set
//! that fits, and each set that it finds is checked in integers. A set that does not fit is excluded by a
//! cut, and the solver runs again.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions, SolveOutcome, Variable};

use super::{
    Solved,
    knapsack::{Block, Knapsack, Order},
};

/// Relative enlargement of right-hand sides and bounds.
const SLACK: f64 = 1e-9;
/// Absolute enlargement of bounds.
const DOUBT: f64 = 1e-6;

/// The variables of one block's orders.
type Counts = Vec<Variable>;

/// Searches for a heavier set than `start`, which fits, for at most `nodes` nodes.
pub(super) fn search(knapsack: &Knapsack, start: &[bool], nodes: u32) -> Solved {
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let mut variables: Vec<Option<Variable>> = vec![None; knapsack.weights.len()];
    for task in &knapsack.candidates {
        variables[*task] = Some(problem.add_binary_var(f64::from(knapsack.weights[*task])));
    }
    let counts: Vec<Counts> = knapsack
        .blocks
        .iter()
        .map(|block| add_block(&mut problem, block, &variables))
        .collect();
    let mut everything = vec![false; knapsack.weights.len()];
    for task in &knapsack.candidates {
        everything[*task] = true;
    }
    let mut solved = Solved {
        worth: knapsack.worth(start),
        granted: start.to_vec(),
        bound: knapsack.worth(&everything),
        nodes: 0,
    };
    let mut left = u64::from(nodes);
    loop {
        let mut options = SolveOptions::default();
        options.node_limit = Some(left);
        options.warm_start = Some(hint(knapsack, &solved.granted, &variables, &counts));
        // If the solver fails, the best set so far remains.
        let Ok(outcome) = problem.solve_with(options) else {
            return solved;
        };
        let stats = outcome.stats();
        solved.nodes += stats.nodes_solved;
        // A solver that visits a node more than allowed leaves none.
        left = left.saturating_sub(stats.nodes_solved);
        if let Some(bound) = stats.best_bound.filter(|bound| !bound.is_nan()) {
            solved.bound = solved.bound.min(whole(bound));
        }
        let is_optimal = outcome.is_optimal();
        let SolveOutcome::Solution(solution) = outcome else {
            return solved;
        };
        let set: Vec<bool> = variables
            .iter()
            .map(|variable| variable.is_some_and(|variable| solution.var_value(variable) > 0.5))
            .collect();
        if knapsack.fits(&set) {
            if knapsack.worth(&set) > solved.worth {
                solved.worth = knapsack.worth(&set);
                solved.granted = set;
            }
            return solved;
        }
        let cuts = knapsack.blocks.iter().filter(|block| !block.has_room(&set));
        for block in cuts {
            add_cover(&mut problem, block, &set, &variables);
        }
        if left == 0 && !is_optimal {
            return solved;
        }
    }
}

/// Rounds a bound down to a whole number, since weights are whole numbers.
fn whole(bound: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sums of weights; what is beyond becomes the most or the least there is"
    )]
    let whole = (bound + DOUBT + bound.abs() * SLACK).floor() as u64;
    whole
}

/// Returns the unit of a constraint: the capacity, or 1 if that is 0.
#[expect(clippy::cast_precision_loss, reason = "right-hand sides have slack")]
fn unit(order: &Order) -> f64 {
    order.capacity.max(1) as f64
}

/// Returns the members' demands in that unit.
#[expect(clippy::cast_precision_loss, reason = "right-hand sides have slack")]
fn shares(order: &Order) -> impl Iterator<Item = f64> {
    let unit = unit(order);
    order.demands.iter().map(move |demand| *demand as f64 / unit)
}

/// Returns the capacity in that unit: 1 or 0.
#[expect(clippy::cast_precision_loss, reason = "right-hand sides have slack")]
fn all(order: &Order) -> f64 {
    order.capacity as f64 / unit(order)
}

fn add_block(problem: &mut Problem, block: &Block, variables: &[Option<Variable>]) -> Counts {
    let counts: Counts = block.orders.iter().map(|_| problem.add_binary_var(0.0)).collect();
    let one: Vec<(Variable, f64)> = counts.iter().map(|count| (*count, 1.0)).collect();
    problem.add_constraint(one, ComparisonOp::Eq, 1.0);
    let members: Vec<Variable> = block.members.iter().filter_map(|task| variables[*task]).collect();
    for order in &block.orders {
        let demanded = members.iter().copied().zip(shares(order));
        let allowed = block.orders.iter().zip(&counts).map(|(other, count)| {
            let most = if std::ptr::eq(order, other) {
                all(order)
            } else {
                most(order, other)
            };
            (*count, -most * (1.0 + SLACK))
        });
        let row: Vec<(Variable, f64)> = demanded.chain(allowed).collect();
        problem.add_constraint(row, ComparisonOp::Le, 0.0);
    }
    let asking = members.iter().map(|variable| (*variable, 1.0));
    let fitting = block
        .orders
        .iter()
        .zip(&counts)
        .map(|(order, count)| (*count, -number_fitting(order)));
    let row: Vec<(Variable, f64)> = asking.chain(fitting).collect();
    problem.add_constraint(row, ComparisonOp::Le, 0.0);
    counts
}

/// Returns the largest sum of demands at `order` of fractions of tasks that fit at `other`: a fractional
/// knapsack, which takes tasks in descending order of the ratio of both demands.
fn most(order: &Order, other: &Order) -> f64 {
    let pairs = shares(order).zip(shares(other));
    let mut pairs: Vec<(f64, f64)> = pairs.filter(|(here, _)| *here > 0.0).collect();
    // A task without demand at `other` has an infinite ratio.
    pairs.sort_by(|one, two| (two.0 / two.1).total_cmp(&(one.0 / one.1)));
    let mut left = all(other);
    let mut sum = 0.0;
    for (here, there) in pairs {
        let part = if there > left { left / there } else { 1.0 };
        sum += part * here;
        left = (left - part * there).max(0.0);
    }
    sum
}

/// Returns the largest number of tasks that fit at an order.
fn number_fitting(order: &Order) -> f64 {
    let mut demands = order.demands.clone();
    demands.sort_unstable();
    let mut left = order.capacity;
    let mut fitting = 0.0;
    for demand in demands {
        // Never saturates: a demand is not negative, and nothing follows a negative rest.
        left = left.saturating_sub(demand);
        if left < 0 {
            break;
        }
        fitting += 1.0;
    }
    fitting
}

/// Adds a cover cut: of the members of `block` in `set`, which don't fit together, not all may be granted.
/// The cover is first reduced to a minimal one that still does not fit.
fn add_cover(problem: &mut Problem, block: &Block, set: &[bool], variables: &[Option<Variable>]) {
    let mut cover = set.to_vec();
    for task in block.members.iter().filter(|task| set[**task]) {
        cover[*task] = false;
        if block.has_room(&cover) {
            cover[*task] = true;
        }
    }
    let row: Vec<(Variable, f64)> = block
        .members
        .iter()
        .filter(|task| cover[**task])
        .filter_map(|task| Some((variables[*task]?, 1.0)))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a number of tasks")]
    let most = row.len() as f64 - 1.0;
    problem.add_constraint(row, ComparisonOp::Le, most);
}

/// Returns a set as a starting point for the solver: each block uses an order at which the set fits.
fn hint(
    knapsack: &Knapsack,
    set: &[bool],
    variables: &[Option<Variable>],
    counts: &[Counts],
) -> Vec<(Variable, f64)> {
    let number = |is_in: bool| if is_in { 1.0 } else { 0.0 };
    let tasks = variables
        .iter()
        .zip(set)
        .filter_map(|(variable, is_in)| Some(((*variable)?, number(*is_in))));
    let orders = knapsack.blocks.iter().zip(counts).flat_map(|(block, counts)| {
        let counted = block.order_with_room(set);
        let orders = counts.iter().enumerate();
        orders.map(move |(at, count)| (*count, number(Some(at) == counted)))
    });
    tasks.chain(orders).collect()
}
