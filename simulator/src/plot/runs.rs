//! Access to the runs of a sweep by their parameters, and names of policies for legends.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
};

use crate::{
    PolicyChoice, PolicyKind, Unlock,
    experiment::{CompositionKind, Experiment, REFERENCE_SEED, VisitOrder},
    results::{ClassRow, DelayRow, RunRow, Tables},
};

/// The tables of a sweep, indexed by run.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rows: Vec<&'a RunRow>,
    classes: HashMap<&'a str, Vec<&'a ClassRow>>,
    delays: HashMap<&'a str, Vec<&'a DelayRow>>,
}

impl<'a> Runs<'a> {
    /// Indexes a sweep's tables.
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

    /// Returns the runs of an experiment at one revision of the rules: the first of those that it was run at, which is
    /// that of the papers if there is a choice.
    pub(super) fn of(&self, experiment: Experiment) -> impl Iterator<Item = &'a RunRow> {
        let first = self.of_all_revisions(experiment).map(revision).min();
        self.of_all_revisions(experiment)
            .filter(move |run| Some(revision(run)) == first)
    }

    /// Returns the runs of an experiment at all revisions of the rules.
    pub(super) fn of_all_revisions(&self, experiment: Experiment) -> impl Iterator<Item = &'a RunRow> {
        let rows = self.rows.iter().copied();
        rows.filter(move |run| run.experiment == experiment)
    }

    /// Returns the number of runs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the total wall-clock time of all runs, in seconds on one core of the machine that made each.
    #[must_use]
    pub fn wall(&self) -> f64 {
        self.rows.iter().map(|run| run.wall).sum()
    }

    /// Returns a run's classes.
    pub(super) fn classes(&self, run: &RunRow) -> &[&'a ClassRow] {
        self.classes.get(run.run.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Returns a run's distribution of delays, in ascending order.
    pub(super) fn delays(&self, run: &RunRow) -> &[&'a DelayRow] {
        self.delays.get(run.run.as_str()).map_or(&[], Vec::as_slice)
    }
}

/// Returns the revision of a run's rules. Tables without that column are of runs at the first.
pub(super) fn revision(run: &RunRow) -> u32 {
    run.revision.unwrap_or(1)
}

/// The key that groups runs into lines: the policy and its numbers, without N and T.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PolicyKey {
    /// The policy's place among the policies.
    rank: usize,
    pub(super) policy: String,
    /// Reversed, so that the line with the most frequent recomputation is drawn last, on top.
    recompute_after: Reverse<Option<u32>>,
    fairness: Option<u16>,
    /// Whether DPF visits waiting tasks by share where the grid uses the released simulator's order.
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

    /// Returns its name in legends.
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

/// Returns a policy's name as papers write it.
pub(super) fn policy_label(policy: &str) -> String {
    let Ok(PolicyChoice { kind, unlock }) = policy.parse() else {
        return policy.to_owned();
    };
    let name = match kind {
        PolicyKind::Fcfs => "FCFS",
        PolicyKind::FcfsWait => "Waiting FCFS",
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

/// Returns N, or the lifetime T in mean intervals between two arrivals (in seconds if that interval is
/// unknown), so that both fit on one axis.
pub(super) fn unlocking(run: &RunRow) -> Option<f64> {
    let by_time = |lifetime: f64| lifetime / run.experiment.interval(run.composition).unwrap_or(1.0);
    run.n.map(f64::from).or_else(|| run.lifetime.map(by_time))
}

/// Whether two numbers are equal up to rounding.
pub(super) fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-4 * one.abs().max(other.abs())
}

/// Of runs that differ only in seed or order, returns that with the released simulator's seed, or with the
/// least seed.
pub(super) fn reference<'a>(runs: impl Iterator<Item = &'a RunRow>) -> Option<&'a RunRow> {
    runs.min_by_key(|run| {
        (
            run.seed != REFERENCE_SEED,
            run.seed,
            run.order == Some(VisitOrder::Share),
        )
    })
}

/// Converts a count to a double.
#[expect(clippy::cast_precision_loss, reason = "counts of tasks are below 2^53")]
pub(super) const fn count(tasks: u64) -> f64 {
    tasks as f64
}

/// Returns the distinct numbers in ascending order.
pub(super) fn distinct(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup_by(|one, other| same(*one, *other));
    numbers
}

/// Returns a composition's name in titles.
pub(super) const fn composition_label(composition: CompositionKind) -> &'static str {
    match composition {
        CompositionKind::Basic => "basic composition",
        CompositionKind::Renyi => "Rényi composition",
    }
}

/// Compares two doubles in a total order.
pub(super) fn by_number(one: f64, other: f64) -> Ordering {
    one.total_cmp(&other)
}
