//! Finds the runs that a directory of results lacks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Manifest, Plan, SweepError};
use crate::{experiment::Parameters, results::Tables};

/// How many of its sweeps' runs a directory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Number of runs of all sweeps that have a manifest in the directory, over all shards.
    pub expected: usize,
    /// Names of the runs that are not in the tables, in the grids' order.
    pub missing: Vec<String>,
}

impl Coverage {
    /// Compares the tables in `directory` with the manifests there. Without manifests, no run is expected.
    pub fn of(directory: &Path) -> Result<Self, SweepError> {
        let tables = Tables::read(directory)?;
        let made: BTreeSet<&str> = tables.runs.iter().map(|run| run.run.as_str()).collect();
        let mut coverage = Self {
            expected: 0,
            missing: Vec::new(),
        };
        let mut known = BTreeSet::new();
        for (path, manifest) in manifests(directory)? {
            // All shards of a sweep share one grid.
            let plan = Plan::new(
                &manifest.experiments,
                &manifest.seeds,
                &manifest.revisions,
                &manifest.only,
                None,
            );
            let plan = plan.map_err(|error| SweepError::Manifest {
                path,
                what: error.to_string(),
            })?;
            for name in plan.runs().iter().map(Parameters::name) {
                if known.insert(name.clone()) {
                    coverage.expected += 1;
                    if !made.contains(name.as_str()) {
                        coverage.missing.push(name);
                    }
                }
            }
        }
        Ok(coverage)
    }
}

/// Reads the manifests of all sweeps and shards in a directory, in the order of their file names.
pub(crate) fn manifests(directory: &Path) -> Result<Vec<(PathBuf, Manifest)>, SweepError> {
    let mut manifests = Vec::new();
    for entry in fs::read_dir(directory).map_err(SweepError::io(directory))? {
        let path = entry.map_err(SweepError::io(directory))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        if is_json && stem.is_some_and(|stem| stem.starts_with("manifest")) {
            let manifest = Manifest::read(&path)?;
            manifests.push((path, manifest));
        }
    }
    manifests.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::{experiment::Experiment, sweep::Sweep};

    #[test]
    fn the_runs_of_a_missing_shard_are_missing() {
        let directory = tempfile::tempdir().unwrap();
        let only = ["mice=75", "composition=basic", "policy=dpf-n"].map(|only| only.parse().unwrap());
        let plan =
            |shard: &str| Plan::new(&[Experiment::MicroSingle], &[], &[], &only, shard.parse().ok()).unwrap();
        let make = |plan: &Plan| {
            let sweep = Sweep::open(plan, directory.path(), false).unwrap();
            sweep.run(NonZeroUsize::MIN, |_| ()).unwrap();
        };
        let (first, second) = (plan("1/2"), plan("2/2"));
        make(&first);
        let coverage = Coverage::of(directory.path()).unwrap();
        assert_eq!(coverage.expected, 11);
        let names: Vec<String> = second.runs().iter().map(Parameters::name).collect();
        assert_eq!(coverage.missing, names);
        make(&second);
        assert_eq!(
            Coverage::of(directory.path()).unwrap().missing,
            Vec::<String>::new()
        );
    }
}
