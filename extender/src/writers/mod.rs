//! Writes to the cluster what the view says: statuses, scheduling gates and Events. None of it decides anything, and all of
//! it can be written again from what is committed.

mod events;
mod gates;
mod metrics;
mod statuses;
mod work_queue;

#[cfg(test)]
pub use events::QueuedEvent;
pub use events::{ClaimObject, Events};
pub use gates::Gates;
pub use metrics::WriterMetrics;
pub use statuses::{StatusKey, Statuses};
