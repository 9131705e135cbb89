//! The end-to-end tests, against a real API server and the real kube-scheduler. Each module is one concern.
//!
//! `workload.rs` creates many random pods and `audit/` checks what became of them; the other modules are
//! tests.

mod admission;
mod audit;
mod bypass;
mod checkpoints;
mod cli;
mod crash;
mod examples;
mod grants;
mod install;
mod lifecycle;
mod monitoring;
mod namespaces;
mod outage;
mod paper;
mod policies;
mod real_node;
mod renyi;
mod replicas;
mod restore;
mod soak;
mod stream;
mod workload;
