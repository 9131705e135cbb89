//! A block's budget as numbers: what its status shows, for whoever counts or draws it.

use privatekube_policy::{BlockState, Composition, Order};

use crate::{BlockView, status};

/// The states of a block's budget, in the order of [`Amounts`](StateAmounts), with their total.
pub const STATES: [&str; 5] = ["locked", "available", "allocated", "consumed", "total"];

/// An amount for each of [`STATES`], in the unit of the coordinate: 1e-12 of epsilon, 1e-18 of delta. Each is the sum of
/// exact integers, or the largest or smallest number if it is beyond 128 bits.
pub type StateAmounts = [i128; 5];

/// A block's budget in the ledger, at what its status shows first: epsilon and delta, or the epsilon at one Renyi order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownBudget {
    /// Epsilon; for Renyi composition, at the order that `kubectl get pb -o wide` shows.
    pub epsilon: StateAmounts,
    /// Delta; `None` for Renyi composition.
    pub delta: Option<StateAmounts>,
}

impl BlockView {
    /// Its budget, as its status shows it; `None` if it isn't in the ledger.
    #[must_use]
    pub fn shown_budget(&self) -> Option<ShownBudget> {
        let block = self.committed.as_ref()?;
        let composition = self.composition.as_ref()?;
        let at = status::shown_coordinate(block, composition);
        Some(ShownBudget {
            epsilon: amounts(block, at),
            delta: matches!(composition, Composition::Basic).then(|| amounts(block, 1)),
        })
    }

    /// Its budget at each Renyi order; nothing if it isn't in the ledger, or for Basic composition.
    pub fn at_orders(&self) -> impl Iterator<Item = (Order, StateAmounts)> + '_ {
        let orders = match &self.composition {
            Some(Composition::Renyi(orders)) => Some(orders.iter().enumerate()),
            Some(Composition::Basic) | None => None,
        };
        let block = self.committed.as_ref();
        orders
            .into_iter()
            .flatten()
            .filter_map(move |(at, order)| Some((order, amounts(block?, at))))
    }
}

fn amounts(block: &BlockState, at: usize) -> StateAmounts {
    let of = |list: &[i128]| list.get(at).copied().unwrap_or(0);
    let total = block.capacity.units().get(at).copied().map_or(0, i128::from);
    [
        of(&block.locked),
        of(&block.available),
        of(&block.allocated),
        of(&block.consumed),
        total,
    ]
}
