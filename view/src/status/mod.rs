//! The statuses of claims, blocks and datasets, made from what is committed and from the dataset's objects.

mod amounts;
mod block;
mod claim;
mod condition;
mod dataset;

pub(crate) use amounts::granted_budget;
pub use block::shown_coordinate;
pub(crate) use block::{WRITTEN_OFF, block_status, block_view, block_without_ledger, budget_status};
pub(crate) use claim::{ClaimPosition, claim_grant, claim_status, claim_view, not_in_ledger};
pub use condition::condition;
pub(crate) use dataset::{Readiness, dataset_status};
