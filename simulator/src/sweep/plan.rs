//! Chooses the runs that a sweep makes.

use std::{collections::BTreeSet, fmt::Write as _};

use privatekube_policy::Revision;
use thiserror::Error;

use super::{Manifest, RunFilter, Shard, run_filter::is_same};
use crate::experiment::{Experiment, Parameters, REFERENCE_SEED};

/// Chooses the runs that a sweep makes.
#[derive(Clone, Debug)]
pub struct Plan {
    manifest: Manifest,
    runs: Vec<Parameters>,
}

/// The reason why a plan has no runs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// A filter on a parameter that no run has.
    #[error("only {only}: no run has a {key}: accepted are {accepted}")]
    Key {
        /// The filter.
        only: String,
        /// The filter's key.
        key: String,
        /// The existing keys.
        accepted: String,
    },
    /// A filter for a value that no run has.
    #[error("only {only}: no run has {key} {value}: accepted are {accepted}")]
    Value {
        /// The filter.
        only: String,
        /// The filter's key.
        key: String,
        /// The filter's value.
        value: String,
        /// The existing values.
        accepted: String,
    },
    /// No run matches all filters.
    #[error("no run has all of {0}: leave one out")]
    Nothing(String),
}

impl Plan {
    /// Plans the grids of `experiments`, once for each of `seeds` (the released simulator's if empty) with each of
    /// `revisions` of the engine's rules (the first, that of the papers, if empty). Keeps the runs that match all of `only`, and of these the `shard`, if one is given.
    pub fn new(
        experiments: &[Experiment],
        seeds: &[u64],
        revisions: &[Revision],
        only: &[RunFilter],
        shard: Option<Shard>,
    ) -> Result<Self, PlanError> {
        let mut experiments = distinct(experiments);
        experiments.sort();
        let seeds = distinct(if seeds.is_empty() {
            &[REFERENCE_SEED]
        } else {
            seeds
        });
        let mut revisions = distinct(if revisions.is_empty() {
            &[Revision::First]
        } else {
            revisions
        });
        revisions.sort();
        let revisions = &revisions;
        let grids = experiments.iter().flat_map(|experiment| {
            let experiment = *experiment;
            let with_seeds = seeds.iter().flat_map(move |seed| experiment.grid(*seed));
            with_seeds.flat_map(move |run| {
                let at = move |revision: &Revision| run.clone().at_revision(*revision);
                revisions.iter().map(at)
            })
        });
        let grid: Vec<Parameters> = grids.collect();
        for condition in only {
            check(condition, &grid)?;
        }
        let mut runs: Vec<Parameters> = grid
            .into_iter()
            .filter(|run| only.iter().all(|condition| condition.admits(run)))
            .collect();
        if runs.is_empty() {
            let conditions: Vec<String> = only.iter().map(RunFilter::to_string).collect();
            return Err(PlanError::Nothing(conditions.join(" and ")));
        }
        let grid_runs = runs.len();
        if let Some(shard) = shard {
            let costs: Vec<f64> = runs.iter().map(Parameters::cost).collect();
            let mut selected = shard.select(&costs).into_iter();
            // `select` answers once for each run.
            runs.retain(|_| selected.next().unwrap_or_default());
        }
        let mut command = "privatekube-simulator sweep".to_owned();
        for experiment in &experiments {
            let _ = write!(command, " {experiment}");
        }
        for condition in only {
            let _ = write!(command, " --only {condition}");
        }
        for seed in &seeds {
            let _ = write!(command, " --seed {seed}");
        }
        if revisions.as_slice() != [Revision::First] {
            for revision in revisions {
                let _ = write!(command, " --revision {}", u32::from(*revision));
            }
        }
        if let Some(shard) = shard {
            let _ = write!(command, " --shard {shard}");
        }
        Ok(Self {
            manifest: Manifest {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                command,
                experiments,
                seeds,
                revisions: revisions.clone(),
                only: only.to_vec(),
                shard,
                grid_runs,
                runs: runs.len(),
            },
            runs,
        })
    }

    /// Returns the description of the sweep.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the runs, in the grids' order.
    #[must_use]
    pub fn runs(&self) -> &[Parameters] {
        &self.runs
    }

    /// Returns the shard, if it is one.
    #[must_use]
    pub const fn shard(&self) -> Option<Shard> {
        self.manifest.shard
    }
}

fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct: Vec<T> = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(*value);
        }
    }
    distinct
}

/// Errors if no run of the grid has the filter's key, or one of its values.
fn check(only: &RunFilter, grid: &[Parameters]) -> Result<(), PlanError> {
    let values: Vec<(&str, String)> = grid.iter().flat_map(Parameters::values).collect();
    let of_key = values.iter().filter(|(key, _)| *key == only.key());
    let existing: Vec<&String> = of_key.map(|(_, value)| value).collect();
    if existing.is_empty() {
        let keys: BTreeSet<&str> = values.iter().map(|(key, _)| *key).collect();
        return Err(PlanError::Key {
            only: only.to_string(),
            key: only.key().to_owned(),
            accepted: keys.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    let unknown = |value: &&String| !existing.iter().any(|other| is_same(value, other));
    if let Some(value) = only.values().iter().find(unknown) {
        let mut accepted: Vec<&String> = existing
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        accepted.sort_by(|one, other| {
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
            number(one).total_cmp(&number(other)).then_with(|| one.cmp(other))
        });
        let accepted: Vec<&str> = accepted.into_iter().map(String::as_str).collect();
        return Err(PlanError::Value {
            only: only.to_string(),
            key: only.key().to_owned(),
            value: value.clone(),
            accepted: accepted.join(", "),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::VisitOrder;

    fn plan(only: &[&str], shard: Option<&str>) -> Result<Plan, PlanError> {
        let only: Vec<RunFilter> = only.iter().map(|only| only.parse().unwrap()).collect();
        let shard = shard.map(|shard| shard.parse().unwrap());
        Plan::new(
            &[Experiment::MicroMulti, Experiment::MicroSingle],
            &[],
            &[],
            &only,
            shard,
        )
    }

    #[test]
    fn shards_are_a_partition_of_the_grid() {
        let names = |plan: Plan| plan.runs().iter().map(Parameters::name).collect::<BTreeSet<_>>();
        let whole = names(plan(&[], None).unwrap());
        assert_eq!(whole.len(), 770);
        let shards: Vec<BTreeSet<String>> = ["1/3", "2/3", "3/3"]
            .map(|shard| names(plan(&[], Some(shard)).unwrap()))
            .to_vec();
        assert_eq!(shards.iter().map(BTreeSet::len).sum::<usize>(), 770);
        assert_eq!(shards.into_iter().flatten().collect::<BTreeSet<_>>(), whole);
    }

    #[test]
    fn a_plan_keeps_runs_that_match_all_filters() {
        let plan = plan(&["mice=75,100", "composition=basic", "policy=dpf-n,fcfs"], None).unwrap();
        // 11 and 17 values of N, and first come, first served.
        assert_eq!(plan.runs().len(), 2 * (12 + 18));
        assert_eq!(
            plan.manifest().command,
            "privatekube-simulator sweep micro-single micro-multi --only mice=75,100 --only composition=basic \
             --only policy=dpf-n,fcfs --seed 3345"
        );
    }

    #[test]
    fn a_grid_is_made_with_each_revision_of_the_rules() {
        let revisions = [Revision::Third, Revision::First, Revision::Third];
        let only = ["mice=75".parse().unwrap(), "policy=dpf-n".parse().unwrap()];
        let plan = Plan::new(&[Experiment::MicroSingle], &[], &revisions, &only, None).unwrap();
        assert_eq!(plan.runs().len(), 2 * (11 + 11));
        assert!(
            plan.manifest()
                .command
                .ends_with(" --seed 3345 --revision 1 --revision 3")
        );
        let orders = |revision| {
            let runs = plan.runs().iter().filter(move |run| run.revision == revision);
            runs.map(|run| run.order).collect::<BTreeSet<_>>()
        };
        // The released simulator's order of visits is known of its own rules only.
        assert_eq!(orders(None).len(), 2);
        assert_eq!(orders(Some(Revision::Third)), [Some(VisitOrder::Share)].into());
        let only = ["revision=3".parse().unwrap()];
        let plan = Plan::new(&[Experiment::Macro], &[], &revisions, &only, None).unwrap();
        assert_eq!(plan.runs().len(), 16);
    }

    #[test]
    fn a_filter_that_no_run_matches_is_refused_with_the_accepted_values() {
        for (only, says) in [
            (
                &["mice=75,33"][..],
                "only mice=75,33: no run has mice 33: accepted are 0, 25, 50, 75, 100",
            ),
            (
                &["policy=dpack"],
                "only policy=dpack: no run has policy dpack: accepted are dpf-n, dpf-t, fcfs, rr-n, rr-t",
            ),
            (
                &["cats=3"],
                "no run has a cats: accepted are composition, experiment, lifetime, mice, n, order, policy, seed",
            ),
            (
                &["policy=rr-n", "composition=renyi"],
                "no run has all of policy=rr-n and composition=renyi",
            ),
        ] {
            let error = plan(only, None).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
