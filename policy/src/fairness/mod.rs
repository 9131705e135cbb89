//! Measures of how fairly budget is divided: who was granted how much, and who waits beside whom.
//!
//! Each measure is a pure function, or a small state that is kept up to date from what happens to claims: the cost of
//! an event follows the claim that it is about, not how many claims there are or ever were. Nothing here decides
//! anything, and the engine doesn't use it. `docs/fairness.md` defines the measures and names their sources.
//!
//! | measure | type or function | kept up to date by |
//! |---|---|---|
//! | dominant share of a group | [`GroupShares`] | grants and releases |
//! | evenness of shares | [`jain`], of shares or of shares for their weights | is a function of [`GroupShares::all`] |
//! | disagreement of shares and weights | [`disagreement`] | is a function of [`GroupShares::all`] |
//! | sharing incentive | [`SharingIncentive`] | arrivals |
//! | envy | [`Envy`] | waits, ends and grants |
//! | budget that nobody uses | [`UnusedBudget`] | waits and ends |
//!
//! Groups are whatever a caller gives: namespaces in a cluster, classes of tasks in the simulator.

mod envy;
mod indices;
mod shares;
mod sharing_incentive;
mod unused;

pub use envy::{Envy, WaitingClaim};
pub use indices::{disagreement, jain};
pub use shares::{GroupShare, GroupShares, Share};
pub use sharing_incentive::{SharingIncentive, is_fair_demand};
pub use unused::{UnusedBudget, can_use, unused_part};
