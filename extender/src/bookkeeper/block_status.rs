//! How a block's budget stands: its status and metrics.

use privatekube_api::{PrivateDataBlockStatus, conditions};
use privatekube_policy::{BlockId, BlockState, Composition};

use super::{Bookkeeper, BookkeeperError, amounts::amounts, condition::condition};
use crate::{clock, view::BlockView, writers::StatusKey};

/// The parts of a block's budget: the label of its metrics.
const STATES: [&str; 4] = ["locked", "available", "allocated", "consumed"];

impl Bookkeeper {
    /// Tells how a block's budget stands, or why the block can't be used.
    pub(super) fn tell_block(&mut self, block: &BlockId) -> Result<(), BookkeeperError> {
        let (Some(engine), Some(known)) = (self.engine()?, self.blocks.get(block.as_str())) else {
            return Ok(());
        };
        let books = engine.block(block);
        let mut status = books
            .as_ref()
            .map(|books| block_status(books, &engine.rules().composition))
            .unwrap_or_default();
        status.ledger_sequence = self.sequence();
        let (reason, message) = match &known.problem {
            None => ("InLedger", "its budget is in the ledger"),
            Some(problem) => ("Unusable", problem.as_str()),
        };
        let metadata = &known.object.metadata;
        let since = metadata.creation_timestamp.clone();
        let since = since.unwrap_or_else(|| clock::meta_time(clock::now()));
        let mut ready = condition(conditions::READY, known.problem.is_none(), reason, message, since);
        ready.observed_generation = metadata.generation;
        status.conditions = vec![ready];
        if known.measured {
            self.measure_block(block.as_str(), &status);
        }
        let view = BlockView {
            status,
            dimensions: known.dimensions.clone(),
        };
        if self.desk.view.put_block(self.block_key(block), view) {
            let key = StatusKey::Block(self.dataset.clone(), block.as_str().to_owned());
            self.desk.statuses.write(key);
        }
        Ok(())
    }

    fn measure_block(&self, block: &str, status: &PrivateDataBlockStatus) {
        let parts = [
            &status.locked,
            &status.available,
            &status.allocated,
            &status.consumed,
        ];
        for (state, amounts) in STATES.into_iter().zip(parts) {
            let Some(epsilon) = amounts.as_ref().and_then(|amounts| amounts.epsilon.parse().ok()) else {
                continue;
            };
            let measured = &self.desk.metrics.block_epsilon;
            measured
                .with_label_values(&self.block_labels(block, state))
                .set(epsilon);
        }
    }

    /// Measures a block no more.
    pub(super) fn unmeasure_block(&self, block: &str) {
        for state in STATES {
            // There is none of a block that had no metrics of its own, or was never in the ledger.
            let measured = &self.desk.metrics.block_epsilon;
            let _ = measured.remove_label_values(&self.block_labels(block, state));
        }
    }

    fn block_labels<'a>(&'a self, block: &'a str, state: &'a str) -> [&'a str; 4] {
        let [namespace, dataset] = self.labels();
        [namespace, dataset, block, state]
    }
}

/// A block's budget as its status shows it. For Renyi the one epsilon shown is that at the order at which most
/// Gaussians of one size fit, which is the same from the block's first day on; once nothing is left there, that at
/// the order with the largest part left.
pub(super) fn block_status(books: &BlockState, composition: &Composition) -> PrivateDataBlockStatus {
    let at = shown_coordinate(books, composition);
    let shown = |units: &dyn Fn(usize) -> i128| Some(amounts(composition, at, units));
    let of = |list: &[i128], at: usize| list.get(at).copied().unwrap_or(0);
    PrivateDataBlockStatus {
        order: match composition {
            Composition::Basic => None,
            Composition::Renyi(orders) => orders.iter().nth(at).map(|order| order.to_string()),
        },
        total: shown(&|at| books.capacity.units().get(at).copied().map_or(0, i128::from)),
        locked: shown(&|at| of(&books.locked, at)),
        available: shown(&|at| of(&books.available, at)),
        allocated: shown(&|at| of(&books.allocated, at)),
        consumed: shown(&|at| of(&books.consumed, at)),
        arrivals: Some(books.arrivals),
        ledger_sequence: None,
        conditions: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "only chooses what is shown")]
fn shown_coordinate(books: &BlockState, composition: &Composition) -> usize {
    let Composition::Renyi(orders) = composition else {
        return 0;
    };
    let capacity = |at: usize| books.capacity.units()[at] as f64;
    let left = |at: usize| (books.locked[at] + books.available[at]) as f64 / capacity(at);
    let usable = || {
        orders
            .iter()
            .enumerate()
            .filter(|(at, _)| books.capacity.units()[*at] > 0)
    };
    let best = |figures: &mut dyn Iterator<Item = (usize, f64)>| {
        figures
            .reduce(|best, other| if other.1 > best.1 { other } else { best })
            .map(|(at, _)| at)
    };
    // A Gaussian costs in proportion to the order.
    let usual = best(&mut usable().map(|(at, order)| (at, capacity(at) / order.value())));
    match usual.filter(|at| left(*at) > 0.0) {
        Some(at) => at,
        None => best(&mut usable().map(|(at, _)| (at, left(at)))).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Orders;

    use super::*;

    #[test]
    fn the_order_shown_stays_the_same_until_nothing_is_left_there() {
        let composition = Composition::Renyi(Orders::default());
        let capacity = composition
            .capacity("10".parse().unwrap(), "1e-7".parse().unwrap())
            .unwrap();
        let units: Vec<i128> = capacity.units().iter().map(|units| i128::from(*units)).collect();
        let mut books = BlockState {
            locked: units.clone(),
            available: vec![0; units.len()],
            allocated: vec![0; units.len()],
            consumed: vec![0; units.len()],
            arrivals: 0,
            retired: false,
            capacity,
        };
        let shown = |books: &BlockState| block_status(books, &composition).order.unwrap();
        assert_eq!(shown(&books), "5");
        books.locked[6] = 1;
        assert_eq!(shown(&books), "5");
        books.locked[6] = 0;
        assert_ne!(shown(&books), "5");
    }
}
