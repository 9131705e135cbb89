//! The runs of a sweep, by their parameters.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
};

use crate::{
    PolicyChoice, PolicyKind, Unlock,
    experiment::{CompositionKind, Experiment, REFERENCE_SEED, VisitOrder},
    results::{ClassRow, DelayRow, RunRow, Tables},
};

/// The tables of a sweep, by run.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rows: Vec<&'a RunRow>,
    classes: HashMap<&'a str, Vec<&'a ClassRow>>,
    delays: HashMap<&'a str, Vec<&'a DelayRow>>,
}

impl<'a> Runs<'a> {
    /// Of a sweep's tables.
    #[must_use]
    pub fn new(tables: &'a Tables) -> Self {
        let mut by_run = Self {
            rows: tables.runs.iter().collect(),
            classes: HashMap::new(),
            delays: HashMap::new(),
        };
        for class in &tables.classes {
            by_run.classes.entry(&class.run).or_default().push(class);
        }
        for delay in &tables.delays {
            by_run.delays.entry(&delay.run).or_default().push(delay);
        }
        by_run
    }

    /// All runs of an experiment.
    pub(super) fn of(&self, experiment: Experiment) -> impl Iterator<Item = &'a RunRow> {
        self.rows
            .iter()
            .copied()
            .filter(move |run| run.experiment == experiment)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// How long all of them took together, in seconds on one core of the machine that made each.
    #[must_use]
    pub fn wall(&self) -> f64 {
        self.rows.iter().map(|run| run.wall).sum()
    }

    /// A run's classes.
    pub(super) fn classes(&self, run: &RunRow) -> &[&'a ClassRow] {
        self.classes.get(run.run.as_str()).map_or(&[], Vec::as_slice)
    }

    /// A run's delay distribution, the shortest delay first.
    pub(super) fn delays(&self, run: &RunRow) -> &[&'a DelayRow] {
        self.delays.get(run.run.as_str()).map_or(&[], Vec::as_slice)
    }
}

/// Which lines runs belong to: one for each policy and each setting of it, but not for each N or T.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PolicyKey {
    /// Where it stands among others.
    rank: usize,
    pub(super) policy: String,
    /// The one that works its costs out most often is drawn last, over its likes.
    recompute_after: Reverse<Option<u32>>,
    fairness: Option<u16>,
    /// Whether DPF visits waiting tasks by share where the grid has the released simulator's order.
    by_share: bool,
}

impl PolicyKey {
    pub(super) fn of(run: &RunRow) -> Self {
        let order = ["fcfs", "fcfs-wait", "dpf", "rr", "dpack", "blend", "optimum"];
        let kind = run.policy.trim_end_matches("-n").trim_end_matches("-t");
        Self {
            rank: order
                .iter()
                .position(|known| *known == kind)
                .unwrap_or(order.len()),
            policy: run.policy.clone(),
            recompute_after: Reverse(run.recompute_after),
            fairness: run.fairness,
            by_share: (run.composition, run.order) == (CompositionKind::Basic, Some(VisitOrder::Share)),
        }
    }

    /// What a legend calls it.
    pub(super) fn label(&self) -> String {
        let mut label = policy_label(&self.policy);
        if let Some(fairness) = self.fairness {
            label = format!("{label}, {}% DPF", f64::from(fairness) / 10.0);
        }
        if self.by_share {
            label.push_str(", by share");
        }
        match self.recompute_after.0 {
            None | Some(1) => label,
            Some(u32::MAX) => format!("{label}, costs once"),
            Some(grants) => format!("{label}, costs every {grants} grants"),
        }
    }
}

/// A policy's name as papers write it.
pub(super) fn policy_label(policy: &str) -> String {
    let Ok(PolicyChoice { kind, unlock }) = policy.parse() else {
        return policy.to_owned();
    };
    let name = match kind {
        PolicyKind::Fcfs => "FCFS",
        PolicyKind::FcfsWait => "DelayFigures FCFS",
        PolicyKind::Dpf => "DPF",
        PolicyKind::RoundRobin => "RR",
        PolicyKind::Dpack => "DPack",
        PolicyKind::Blend => "Blend",
        PolicyKind::Optimum => "Optimum",
    };
    match unlock {
        Some(Unlock::Arrivals) => format!("{name}-N"),
        Some(Unlock::Lifetime) => format!("{name}-T"),
        None => name.to_owned(),
    }
}

/// What unlocks a block, on one scale: N, or the lifetime T in mean intervals between two arrivals if those are known,
/// else in seconds.
pub(super) fn unlocking(run: &RunRow) -> Option<f64> {
    let by_time = |lifetime: f64| lifetime / run.experiment.interval(run.composition).unwrap_or(1.0);
    run.n.map(f64::from).or_else(|| run.lifetime.map(by_time))
}

/// Whether numbers that were worked out in different ways are meant to be the same.
pub(super) fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-4 * one.abs().max(other.abs())
}

/// Of runs that differ in their seeds or orders only, the reference's, or the one of the least seed.
pub(super) fn reference<'a>(runs: impl Iterator<Item = &'a RunRow>) -> Option<&'a RunRow> {
    runs.min_by_key(|run| {
        (
            run.seed != REFERENCE_SEED,
            run.seed,
            run.order == Some(VisitOrder::Share),
        )
    })
}

/// A count as a number to draw or divide.
#[expect(clippy::cast_precision_loss, reason = "counts of tasks are below 2^53")]
pub(super) const fn count(tasks: u64) -> f64 {
    tasks as f64
}

/// The distinct ones of numbers, the least first.
pub(super) fn distinct(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup_by(|one, other| same(*one, *other));
    numbers
}

/// How a composition is called in titles.
pub(super) const fn composition_label(composition: CompositionKind) -> &'static str {
    match composition {
        CompositionKind::Basic => "basic composition",
        CompositionKind::Renyi => "Rényi composition",
    }
}

/// Sorts what may be unordered as f64 are.
pub(super) fn by_number(one: f64, other: f64) -> Ordering {
    one.total_cmp(&other)
}
