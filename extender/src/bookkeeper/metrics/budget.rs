//! What is measured of budget: of blocks, as many as may have series of their own, and of whole datasets.

use std::{collections::BTreeMap, sync::Arc};

use privatekube_api::DatasetKey;
use privatekube_view::{BlockView, STATES, ShownBudget, StateAmounts};
use prometheus::{Gauge, GaugeVec, IntGaugeVec};

use super::series::{forget, labels};
use crate::metrics::{DATASET, Declarations, Label};

/// Units of epsilon and of delta.
const EPSILON: f64 = 1e12;
const DELTA: f64 = 1e18;

/// The label of what is beyond a bound. No object can have this name.
pub(super) const OTHER: &str = "_other";

/// The metrics of budget.
#[derive(Clone, Debug)]
pub(super) struct BudgetMetrics {
    block_epsilon: GaugeVec,
    block_delta: GaugeVec,
    order_epsilon: GaugeVec,
    dataset_epsilon: GaugeVec,
    dataset_delta: GaugeVec,
    consumed_ratio: GaugeVec,
    blocks: IntGaugeVec,
    beyond_bound: IntGaugeVec,
}

impl BudgetMetrics {
    pub(super) fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        const BLOCK: Label = (
            "block",
            "the block's name, or _other for the sum of those beyond the bound",
        );
        const STATE: Label = ("state", "locked, available, allocated, consumed, total");
        let [namespace, dataset] = DATASET;
        let of_block = [namespace, dataset, BLOCK, STATE];
        let of_dataset = [namespace, dataset, STATE];
        declare.room("Budget");
        Ok(Self {
            block_epsilon: declare.float_gauge(
                "block_epsilon",
                "Epsilon of a block by state; for Renyi blocks at the order that kubectl get pb -o wide shows.",
                &of_block,
            )?,
            block_delta: declare.float_gauge(
                "block_delta",
                "Delta of a block by state; Basic composition only.",
                &of_block,
            )?,
            order_epsilon: declare.float_gauge(
                "block_order_epsilon",
                "Epsilon of a block at each Renyi order by state; with --metrics-orders, and only for blocks with series of their own.",
                &[namespace, dataset, BLOCK, STATE, ("order", "the Renyi order")],
            )?,
            dataset_epsilon: declare.float_gauge(
                "dataset_epsilon",
                "Sum of the epsilon of all blocks of a dataset by state.",
                &of_dataset,
            )?,
            dataset_delta: declare.float_gauge(
                "dataset_delta",
                "Sum of the delta of all blocks of a dataset by state; Basic composition only.",
                &of_dataset,
            )?,
            consumed_ratio: declare.float_gauge(
                "dataset_consumed_ratio",
                "The part of the epsilon of all blocks of a dataset that is consumed, from 0 to 1; absent while it has none.",
                &DATASET,
            )?,
            blocks: declare.gauge("blocks", "Blocks of a dataset that exist.", &DATASET)?,
            beyond_bound: declare.gauge(
                "blocks_beyond_bound",
                "Blocks of a dataset that have no series of their own and are summed in block=\"_other\".",
                &DATASET,
            )?,
        })
    }
}

/// The budget of one dataset's blocks, as it is measured. A change of a block costs its own series, and those of the
/// dataset once for all changes together.
#[derive(Debug)]
pub(super) struct Budgets {
    metrics: BudgetMetrics,
    dataset: DatasetKey,
    most: usize,
    /// Whether blocks have series for each order.
    orders: bool,
    blocks: BTreeMap<String, Measured>,
    /// How many of them have series of their own.
    with_series: usize,
    all: Sums,
    /// Those without series of their own.
    beyond: Sums,
    has_changed: bool,
}

#[derive(Debug)]
struct Measured {
    budget: ShownBudget,
    series: Option<Series>,
}

/// The gauges of one block, so that a change needs no search for them.
#[derive(Debug)]
struct Series {
    epsilon: [Gauge; 5],
    delta: Option<[Gauge; 5]>,
    /// By the order.
    orders: Vec<(String, [Gauge; 5])>,
}

/// Sums over blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    epsilon: StateAmounts,
    delta: StateAmounts,
    /// How many of the blocks have a delta.
    with_delta: usize,
    count: usize,
}

impl Sums {
    fn add(&mut self, budget: &ShownBudget) {
        add(&mut self.epsilon, &budget.epsilon);
        if let Some(delta) = &budget.delta {
            add(&mut self.delta, delta);
            self.with_delta += 1;
        }
        self.count += 1;
    }

    fn subtract(&mut self, budget: &ShownBudget) {
        add(&mut self.epsilon, &budget.epsilon.map(i128::saturating_neg));
        if let Some(delta) = &budget.delta {
            add(&mut self.delta, &delta.map(i128::saturating_neg));
            self.with_delta -= 1;
        }
        self.count -= 1;
    }
}

fn add(sums: &mut StateAmounts, amounts: &StateAmounts) {
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum = sum.saturating_add(*amount);
    }
}

impl Budgets {
    pub(super) fn new(metrics: BudgetMetrics, dataset: DatasetKey, most: usize, orders: bool) -> Self {
        Self {
            metrics,
            dataset,
            most,
            orders,
            blocks: BTreeMap::new(),
            with_series: 0,
            all: Sums::default(),
            beyond: Sums::default(),
            has_changed: false,
        }
    }

    /// Measures a block.
    pub(super) fn measure(&mut self, name: &str, view: &BlockView) {
        let Some(budget) = view.shown_budget() else {
            self.forget(name);
            return;
        };
        self.has_changed = true;
        self.all.add(&budget);
        if let Some(measured) = self.blocks.get_mut(name) {
            self.all.subtract(&measured.budget);
            if measured.series.is_none() {
                self.beyond.subtract(&measured.budget);
                self.beyond.add(&budget);
            }
            measured.budget = budget;
        } else {
            let has_series = self.with_series < self.most;
            let series = has_series.then(|| self.series(name, view));
            match series {
                Some(_) => self.with_series += 1,
                None => self.beyond.add(&budget),
            }
            self.blocks.insert(name.to_owned(), Measured { budget, series });
        }
        if let Some(series) = self.blocks.get(name).and_then(|block| block.series.as_ref()) {
            series.set(&budget, view);
        }
    }

    /// Forgets a block that is gone. `view` has the others, of which one may get the place.
    pub(super) fn forget_and_replace(&mut self, name: &str, view: impl Fn(&str) -> Option<Arc<BlockView>>) {
        self.forget(name);
        if self.with_series >= self.most || self.beyond.count == 0 {
            return;
        }
        let next = self.blocks.iter().find(|(_, block)| block.series.is_none());
        let Some((next, view)) = next.and_then(|(name, _)| Some((name.clone(), view(name)?))) else {
            return;
        };
        let series = self.series(&next, &view);
        if let Some(block) = self.blocks.get_mut(&next) {
            series.set(&block.budget, &view);
            self.beyond.subtract(&block.budget);
            block.series = Some(series);
            self.with_series += 1;
        }
    }

    fn forget(&mut self, name: &str) {
        let Some(block) = self.blocks.remove(name) else {
            return;
        };
        self.has_changed = true;
        self.all.subtract(&block.budget);
        let Some(series) = block.series else {
            self.beyond.subtract(&block.budget);
            return;
        };
        self.with_series -= 1;
        let [namespace, dataset] = labels(&self.dataset);
        for state in STATES {
            for metric in [&self.metrics.block_epsilon, &self.metrics.block_delta] {
                // Renyi blocks have no delta.
                let _ = metric.remove_label_values(&[namespace, dataset, name, state]);
            }
        }
        for (order, _) in series.orders {
            for state in STATES {
                let labels = [namespace, dataset, name, state, &order];
                let _ = self.metrics.order_epsilon.remove_label_values(&labels);
            }
        }
    }

    fn series(&self, name: &str, view: &BlockView) -> Series {
        let [namespace, dataset] = labels(&self.dataset);
        let of = |metric: &GaugeVec| {
            STATES.map(|state| metric.with_label_values(&[namespace, dataset, name, state]))
        };
        let has_delta = view.shown_budget().is_some_and(|budget| budget.delta.is_some());
        let orders = view.at_orders().filter(|_| self.orders).map(|(order, _)| {
            let order = order.to_string();
            let metric = &self.metrics.order_epsilon;
            let gauges =
                STATES.map(|state| metric.with_label_values(&[namespace, dataset, name, state, &order]));
            (order, gauges)
        });
        Series {
            epsilon: of(&self.metrics.block_epsilon),
            delta: has_delta.then(|| of(&self.metrics.block_delta)),
            orders: orders.collect(),
        }
    }

    /// Sets the series of the dataset, if a block has changed.
    pub(super) fn publish(&mut self, block_objects: usize) {
        let labels = labels(&self.dataset);
        let set = |metric: &IntGaugeVec, count: usize| {
            metric
                .with_label_values(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.metrics.blocks, block_objects);
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        set(&self.metrics.beyond_bound, self.beyond.count);
        let [namespace, dataset] = labels;
        let has_delta = self.all.with_delta > 0;
        for (at, state) in STATES.into_iter().enumerate() {
            let metrics = &self.metrics;
            let of_dataset = [namespace, dataset, state];
            let of_beyond = [namespace, dataset, OTHER, state];
            let epsilon = metrics.dataset_epsilon.with_label_values(&of_dataset);
            epsilon.set(number(self.all.epsilon[at], EPSILON));
            if has_delta {
                let delta = metrics.dataset_delta.with_label_values(&of_dataset);
                delta.set(number(self.all.delta[at], DELTA));
            }
            if self.beyond.count == 0 {
                let _ = metrics.block_epsilon.remove_label_values(&of_beyond);
                let _ = metrics.block_delta.remove_label_values(&of_beyond);
                continue;
            }
            let epsilon = metrics.block_epsilon.with_label_values(&of_beyond);
            epsilon.set(number(self.beyond.epsilon[at], EPSILON));
            if has_delta {
                let delta = metrics.block_delta.with_label_values(&of_beyond);
                delta.set(number(self.beyond.delta[at], DELTA));
            }
        }
        let [.., consumed, total] = self.all.epsilon;
        if total > 0 {
            let ratio = number(consumed, EPSILON) / number(total, EPSILON);
            self.metrics.consumed_ratio.with_label_values(&labels).set(ratio);
        } else {
            let _ = self.metrics.consumed_ratio.remove_label_values(&labels);
        }
    }

    /// Removes everything that was measured: the ledger is gone, or is about to be read anew.
    pub(super) fn forget_all(&mut self) {
        let metrics = &self.metrics;
        for metric in [
            &metrics.block_epsilon,
            &metrics.block_delta,
            &metrics.order_epsilon,
            &metrics.dataset_epsilon,
            &metrics.dataset_delta,
            &metrics.consumed_ratio,
        ] {
            forget(metric, &self.dataset);
        }
        for metric in [&metrics.blocks, &metrics.beyond_bound] {
            forget(metric, &self.dataset);
        }
        *self = Self::new(metrics.clone(), self.dataset.clone(), self.most, self.orders);
    }
}

impl Series {
    fn set(&self, budget: &ShownBudget, view: &BlockView) {
        set(&self.epsilon, &budget.epsilon, EPSILON);
        if let (Some(gauges), Some(delta)) = (&self.delta, &budget.delta) {
            set(gauges, delta, DELTA);
        }
        for ((_, gauges), (_, amounts)) in self.orders.iter().zip(view.at_orders()) {
            set(gauges, &amounts, EPSILON);
        }
    }
}

fn set(gauges: &[Gauge; 5], amounts: &StateAmounts, unit: f64) {
    for (gauge, amount) in gauges.iter().zip(amounts) {
        gauge.set(number(*amount, unit));
    }
}

/// An amount in whole epsilons or deltas.
#[expect(clippy::cast_precision_loss, reason = "a gauge has no more digits")]
fn number(units: i128, unit: f64) -> f64 {
    units as f64 / unit
}
