//! The description of a sweep that lies beside its results.

use std::{fs, io::Write as _, path::Path};

use privatekube_policy::Revision;
use serde::{Deserialize, Serialize};

use super::{RunFilter, Shard, SweepError};
use crate::{experiment::Experiment, results::write_atomically};

/// The description of a sweep. It is the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The simulator's version.
    pub version: String,
    /// The command that repeats the sweep, without the directory.
    pub command: String,
    /// The experiments.
    pub experiments: Vec<Experiment>,
    /// The seeds; each grid is made once with each.
    pub seeds: Vec<u64>,
    /// The revisions of the engine's rules; each grid is made once with each.
    #[serde(default = "first_revision")]
    pub revisions: Vec<Revision>,
    /// The filters on the grids.
    pub only: Vec<RunFilter>,
    /// The shard; `None` for the whole.
    pub shard: Option<Shard>,
    /// Number of runs of all shards together.
    pub grid_runs: usize,
    /// Number of runs of this shard.
    pub runs: usize,
}

/// Manifests of versions without this choice leave it out.
fn first_revision() -> Vec<Revision> {
    vec![Revision::First]
}

impl Manifest {
    pub(super) fn write(&self, path: &Path) -> Result<(), SweepError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| SweepError::io(path)(error.into()))?;
        write_atomically(path, |to| writeln!(to, "{text}")).map_err(SweepError::io(path))
    }

    pub(super) fn read(path: &Path) -> Result<Self, SweepError> {
        let refused = |what: String| SweepError::Manifest {
            path: path.to_owned(),
            what,
        };
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
    }

    /// Errors unless the manifest at `path` describes the same sweep.
    pub(super) fn check(&self, path: &Path) -> Result<(), SweepError> {
        let existing = Self::read(path)?;
        let differs = |field, existing: &str, requested: &str| {
            let is_same = existing == requested;
            (!is_same).then(|| SweepError::Another {
                path: path.to_owned(),
                field,
                existing: existing.to_owned(),
                requested: requested.to_owned(),
            })
        };
        let size = |manifest: &Self| format!("{} of {} runs", manifest.runs, manifest.grid_runs);
        let difference = differs("version", &existing.version, &self.version)
            .or_else(|| differs("command", &existing.command, &self.command))
            .or_else(|| differs("size", &size(&existing), &size(self)));
        difference.map_or(Ok(()), Err)
    }
}
