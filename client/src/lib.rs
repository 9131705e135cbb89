//! The extension module `privatekube._native`: what Python knows of mechanisms, curves and capacities, computed by
//! `privatekube-policy`, the crate that charges for them in a cluster.
//!
//! Amounts cross the border as texts or as integers in the ledger's unit (1e-12 of epsilon, 1e-18 of delta), never as
//! floats. Whatever is wrong is a `ValueError` with the words of the crate; the package turns it into its own classes.

use privatekube_policy::{
    Budget, Composition, Conversion, Delta, Epsilon, Order, Orders, Proven, adaptive_delta as adaptive,
};
use pyo3::{exceptions::PyValueError, prelude::*};

#[expect(clippy::needless_pass_by_value, reason = "it is the function of `map_err`")]
fn wrong(problem: impl ToString) -> PyErr {
    PyValueError::new_err(problem.to_string())
}

fn read_orders(texts: &[String]) -> PyResult<Orders> {
    let orders: Result<Vec<Order>, _> = texts.iter().map(|text| text.parse()).collect();
    orders.and_then(Orders::new).map_err(wrong)
}

fn read_conversion(name: &str) -> PyResult<Conversion> {
    match name {
        "basic" => Ok(Conversion::Basic),
        "improved" => Ok(Conversion::Improved),
        _ => Err(wrong(format_args!(
            "{name:?} is not a conversion: write basic or improved"
        ))),
    }
}

/// A curve with an amount at each of the orders, which are ascending.
fn read_curve(orders: &[String], units: Vec<i64>) -> PyResult<(Orders, Budget)> {
    let orders = read_orders(orders)?;
    if orders.iter().len() != units.len() {
        return Err(wrong(format_args!(
            "there are {} orders and {} amounts: give an amount at each order",
            orders.iter().len(),
            units.len()
        )));
    }
    Ok((orders, Budget::new(units).map_err(wrong)?))
}

/// Functions and classes for Python.
#[pymodule]
mod _native {
    use std::collections::HashMap;

    use privatekube_policy::{BlockId, BlockState, DatasetRules, Engine, Event, Restoring, StatePart, Time};

    use super::{
        Budget, Composition, Conversion, Delta, Epsilon, Order, Orders, Proven, PyErr, PyResult, Python,
        adaptive, pyclass, pyfunction, pymethods, read_conversion, read_curve, read_orders, wrong,
    };

    /// The amount of a cost that is more than 64 bits count.
    #[pymodule_export]
    const BEYOND: i64 = i64::MAX;

    /// A mechanism of `privatekube-policy`.
    #[pyclass(frozen, eq, module = "privatekube._native")]
    #[derive(Clone, Debug, PartialEq)]
    struct Mechanism(privatekube_policy::Mechanism);

    #[pymethods]
    impl Mechanism {
        #[staticmethod]
        fn parse(text: &str) -> PyResult<Self> {
            text.parse().map(Self).map_err(wrong)
        }

        #[staticmethod]
        fn for_guarantee(epsilon: &str, delta: &str) -> PyResult<Self> {
            let epsilon: Epsilon = epsilon.parse().map_err(wrong)?;
            let delta: Delta = delta.parse().map_err(wrong)?;
            privatekube_policy::Mechanism::for_guarantee(epsilon, delta)
                .map(Self)
                .map_err(wrong)
        }

        fn on_records(&self, records: u64) -> Self {
            Self(self.0.on_records(records))
        }

        fn has_sample_rate(&self) -> bool {
            self.0.has_sample_rate()
        }

        fn has_batch_size(&self) -> bool {
            self.0.has_batch_size()
        }

        /// The cost at each order, ascending, in units of 1e-12; `BEYOND` where it is more than 64 bits count.
        #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
        fn curve(&self, py: Python<'_>, orders: Vec<String>) -> PyResult<Vec<i64>> {
            let composition = Composition::Renyi(read_orders(&orders)?);
            py.detach(|| self.cost(&composition))
        }

        /// The cost with Basic composition: units of epsilon (1e-12), and of delta (1e-18).
        fn guarantee(&self, py: Python<'_>) -> PyResult<Vec<i64>> {
            py.detach(|| self.cost(&Composition::Basic))
        }

        fn __str__(&self) -> String {
            self.0.to_string()
        }
    }

    impl Mechanism {
        fn cost(&self, composition: &Composition) -> PyResult<Vec<i64>> {
            let demand = self.0.demand(composition).map_err(wrong)?;
            Ok(demand.units().to_vec())
        }
    }

    /// The orders of a dataset that names none.
    #[pyfunction]
    fn default_orders() -> Vec<String> {
        Orders::default().iter().map(|order| order.to_string()).collect()
    }

    /// `orders` as they are counted: ascending, in their shortest form.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn sorted_orders(orders: Vec<String>) -> PyResult<Vec<String>> {
        let orders = read_orders(&orders)?;
        Ok(orders.iter().map(|order| order.to_string()).collect())
    }

    /// An epsilon in units of 1e-12.
    #[pyfunction]
    fn epsilon_units(text: &str) -> PyResult<i128> {
        text.parse().map(Epsilon::units).map_err(wrong)
    }

    /// A delta in units of 1e-18.
    #[pyfunction]
    fn delta_units(text: &str) -> PyResult<i128> {
        text.parse().map(Delta::units).map_err(wrong)
    }

    /// The sum of two amounts; `BEYOND` if it is more than 64 bits count.
    #[pyfunction]
    fn add_units(one: i64, other: i64) -> i64 {
        one.saturating_add(other)
    }

    /// The epsilon that a curve proves for a delta, in units, and the order that proves it.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn epsilon(
        orders: Vec<String>,
        curve: Vec<i64>,
        delta: &str,
        conversion: &str,
    ) -> PyResult<Option<(i128, String)>> {
        let delta: Delta = delta.parse().map_err(wrong)?;
        let conversion: Conversion = read_conversion(conversion)?;
        let (orders, curve): (Orders, Budget) = read_curve(&orders, curve)?;
        let proven: Option<Proven<Epsilon>> = conversion.epsilon(&orders, &curve, delta);
        Ok(proven.map(|proven| (proven.value.units(), proven.order.to_string())))
    }

    /// The delta that a curve proves for an epsilon, in units, and the order that proves it.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn delta(
        orders: Vec<String>,
        curve: Vec<i64>,
        epsilon: &str,
        conversion: &str,
    ) -> PyResult<Option<(i128, String)>> {
        let epsilon: Epsilon = epsilon.parse().map_err(wrong)?;
        let (orders, curve) = read_curve(&orders, curve)?;
        let proven: Option<Proven<Delta>> = read_conversion(conversion)?.delta(&orders, &curve, epsilon);
        Ok(proven.map(|proven| (proven.value.units(), proven.order.to_string())))
    }

    /// The capacity at each order, in units, of a block that guarantees (epsilon, delta).
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn capacity(orders: Vec<String>, epsilon: &str, delta: &str) -> PyResult<Vec<i64>> {
        let epsilon: Epsilon = epsilon.parse().map_err(wrong)?;
        let delta: Delta = delta.parse().map_err(wrong)?;
        let composition = Composition::Renyi(read_orders(&orders)?);
        let capacity: Result<Budget, PyErr> = composition.capacity(epsilon, delta).map_err(wrong);
        capacity.map(|capacity| capacity.units().to_vec())
    }

    /// The largest delta, in units, that everything granted on a block of this capacity can have for an epsilon.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn adaptive_delta(orders: Vec<String>, capacity: Vec<i64>, epsilon: &str) -> PyResult<i128> {
        let epsilon: Epsilon = epsilon.parse().map_err(wrong)?;
        let (orders, capacity) = read_curve(&orders, capacity)?;
        Ok(adaptive(&orders, &capacity, epsilon).units())
    }

    /// A block's budget: its name, and capacity, locked, available, allocated, consumed, at each coordinate in its unit.
    type Account = (String, [Vec<i128>; 5]);

    /// Decides a dataset's ledger again, with the engine that decided it. `entries` are the time in microseconds and the
    /// events, as JSON, of each entry from the first. Returns for each entry the blocks whose budget it changed.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn replay(py: Python<'_>, rules: &str, entries: Vec<(u64, String)>) -> PyResult<Vec<Vec<Account>>> {
        py.detach(|| decide_again(rules, &entries))
    }

    /// The Renyi orders, if any, and the blocks that each entry changed.
    type OrdersAndAccounts = (Option<Vec<String>>, Vec<Vec<Account>>);

    /// As [`replay`], from a checkpoint on: `state` are the lines of its content, and `entries` come after it. Returns the
    /// Renyi orders, if any, and the blocks in the checkpoint before those that each entry changed.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is copied to it")]
    fn replay_from(py: Python<'_>, state: &str, entries: Vec<(u64, String)>) -> PyResult<OrdersAndAccounts> {
        py.detach(|| {
            let mut restored = Restoring::new();
            for line in state.lines() {
                let part: StatePart = serde_json::from_str(line).map_err(wrong)?;
                restored.push(part).map_err(wrong)?;
            }
            let mut replayed = Replayed::of(restored.finish().map_err(wrong)?);
            let orders = orders(&replayed.engine.rules().composition);
            let mut accounts = vec![replayed.changed()];
            for entry in &entries {
                accounts.push(replayed.decide_again(entry)?);
            }
            Ok((orders, accounts))
        })
    }

    fn decide_again(rules: &str, entries: &[(u64, String)]) -> PyResult<Vec<Vec<Account>>> {
        let rules: DatasetRules = serde_json::from_str(rules).map_err(wrong)?;
        let mut replayed = Replayed::of(Engine::new(rules).map_err(wrong)?);
        entries.iter().map(|entry| replayed.decide_again(entry)).collect()
    }

    /// An engine, and the blocks as they were shown last.
    struct Replayed {
        engine: Engine,
        shown: HashMap<BlockId, BlockState>,
    }

    impl Replayed {
        fn of(engine: Engine) -> Self {
            Self {
                engine,
                shown: HashMap::new(),
            }
        }

        /// Decides an entry again: its time in microseconds, and its events as JSON.
        fn decide_again(&mut self, (micros, events): &(u64, String)) -> PyResult<Vec<Account>> {
            let events: Vec<Event> = serde_json::from_str(events).map_err(wrong)?;
            self.engine.advance(Time::from_micros(*micros));
            for event in &events {
                self.engine
                    .apply(event)
                    .map_err(|refusal| wrong(format_args!("the entry of {micros} us: {refusal}")))?;
            }
            Ok(self.changed())
        }

        /// The blocks whose budget has changed since they were shown last.
        fn changed(&mut self) -> Vec<Account> {
            let mut changed = Vec::new();
            for block in self.engine.blocks() {
                let Some(state) = self.engine.block(block) else {
                    continue;
                };
                if self.shown.get(block) == Some(&state) {
                    continue;
                }
                let capacity = state.capacity.units().iter().map(|units| i128::from(*units));
                changed.push((
                    block.to_string(),
                    [
                        capacity.collect(),
                        state.locked.clone(),
                        state.available.clone(),
                        state.allocated.clone(),
                        state.consumed.clone(),
                    ],
                ));
                self.shown.insert(block.clone(), state);
            }
            changed
        }
    }

    fn orders(composition: &Composition) -> Option<Vec<String>> {
        match composition {
            Composition::Basic => None,
            Composition::Renyi(orders) => Some(orders.iter().map(|order| order.to_string()).collect()),
        }
    }

    /// The Renyi orders of a dataset's rules, as JSON; none with Basic composition.
    #[pyfunction]
    fn orders_of(rules: &str) -> PyResult<Option<Vec<String>>> {
        let rules: DatasetRules = serde_json::from_str(rules).map_err(wrong)?;
        Ok(orders(&rules.composition))
    }

    /// Whether a text is a Renyi order.
    #[pyfunction]
    fn order(text: &str) -> PyResult<String> {
        let order: Order = text.parse().map_err(wrong)?;
        Ok(order.to_string())
    }
}
