//! What the end-to-end tests share. [`TestEnvironment`] is a cluster with PrivateKube installed, [`dataset`],
//! [`block`], [`claim`] and [`pod`] build objects for it, [`WatchedCluster`] follows all of its objects, and
//! [`VerifiedLedger`] is a dataset's ledger, read and verified as an auditor would.
//!
//! Nothing here waits for time to pass: every wait is for a condition, and its error says what was last
//! observed.
#![forbid(unsafe_code)]

mod conditions;
mod environment;
mod extender;
mod objects;
mod polling;
mod refusals;
mod replicas;
mod verified_ledger;
mod watchdog;
mod watched_cluster;

pub use environment::{TestEnvironment, create_as, create_with_retries, manifests, pod_claim_name};
pub use objects::{
    BlockBuilder, ClaimBuilder, DatasetBuilder, ObjectBuilder, PodBuilder, block, claim, dataset, pod,
};
pub use polling::{Observed, eventually};
pub use refusals::{Refusal, refused};
pub use replicas::{Replica, Replicas};
pub use verified_ledger::VerifiedLedger;
pub use watched_cluster::{Placement, WatchedCluster, WatchedObjects, revision};
