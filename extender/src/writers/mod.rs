//! What is told to the cluster after it is committed: statuses, gates and Events. None of it decides anything, and
//! all of it can be made again from what is committed.

mod announcer;
mod gates;
mod keyed;
mod statuses;

pub use announcer::Announcer;
pub use gates::{Gates, is_placed};
pub use statuses::{StatusKey, Statuses};
