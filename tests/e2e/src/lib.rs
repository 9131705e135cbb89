//! What end-to-end tests share: a cluster with PrivateKube in it, objects to put there, conditions to wait for, and
//! the ledger read and verified as an auditor would.
//!
//! Nothing here waits for time to pass: every wait is for a condition, and says what it last saw when it gives up.
#![forbid(unsafe_code)]

mod attempts;
mod limit;
mod objects;
mod scene;
mod world;

pub use attempts::{Refusal, eventually, refused};
pub use objects::{
    BlockBuilder, ClaimBuilder, DatasetBuilder, ObjectBuilder, PodBuilder, block, claim, dataset, pod,
};
pub use scene::{Followed, Placed, Scene, Seen, revision};
pub use world::{Books, World, create_as, inline_claim, insist, manifests};
