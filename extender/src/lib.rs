//! PrivateKube's extender: makes the default kube-scheduler ask for privacy budget before it places a pod.
//!
//! It serves the scheduler's verbs ([`scheduler`]) and the API server's admission webhooks ([`admission`]), follows pods,
//! claims, blocks and datasets ([`controllers`]), keeps one ledger for each dataset ([`bookkeeper`]), and writes statuses,
//! gates and Events ([`writers`]). What other crates do: `privatekube-policy` decides, `privatekube-ledger` makes decisions
//! durable, `privatekube-api` parses, `privatekube-view` explains, `privatekube-kubernetes` talks to the API server.
//!
//! Begin reading at [`bookkeeper`] (what happens to a dataset), then [`scheduler`] (when a pod may run); [`service`] puts
//! everything together.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "modules are private here: pub says that other modules may use an item"
)]

mod admission;
mod api_requests;
mod bookkeeper;
mod certificates;
mod clock;
mod controllers;
mod handles;
mod health;
mod json_body;
mod known_blocks;
mod leadership;
mod listeners;
mod metrics;
mod pods;
mod registry;
mod scheduler;
mod service;
mod status_page;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod webhook_configuration;
mod writers;

pub use admission::{ClaimLimits, PodTemplate};
pub use bookkeeper::CheckpointSettings;
pub use certificates::{AuthorityChange, CertificateRequest};
pub use handles::MeasuredBlocks;
pub use leadership::{LeaseTimes, OwnPod, Replica};
pub use listeners::Addresses;
pub use metrics::page as metrics_page;
pub use service::{Options, serve};
pub use status_page::parse_address as parse_status_address;
