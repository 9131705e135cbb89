//! PrivateKube's extender: makes the default kube-scheduler ask for privacy budget before it places a pod.
//!
//! The only part of PrivateKube that talks to a cluster. It serves the scheduler's verbs ([`scheduler`]) and the API
//! server's admission webhooks ([`admission`]), follows pods, claims, blocks and datasets ([`controllers`]), keeps
//! one ledger a dataset ([`bookkeeper`]) in the cluster ([`kubernetes_store`]), and writes what people see
//! ([`writers`]). How a policy decides is none of its affair: that is `privatekube-policy`'s, and what is durable is
//! `privatekube-ledger`'s.
//!
//! Begin reading at [`bookkeeper`] (what happens to a dataset), then at [`verdict`] (whether a pod may run); [`serve`]
//! puts everything together.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "modules are private here: pub says that a room may be used by the others"
)]

mod admission;
mod body;
mod bookkeeper;
mod certificates;
mod client;
mod clock;
mod controllers;
mod kubernetes_store;
mod metrics;
mod pods;
mod registry;
mod scheduler;
mod serve;
mod servers;
mod subject;
mod verdict;
mod view;
mod webhooks;
mod writers;

pub use certificates::generate as generate_certificates;
pub use kubernetes_store::KubernetesStore;
pub use serve::{Options, serve};
pub use servers::Addresses;
