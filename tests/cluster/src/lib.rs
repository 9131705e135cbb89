//! A real Kubernetes control plane (etcd, API server, controller manager, scheduler) with fake nodes, in a
//! directory of its own on free ports of 127.0.0.1, ready in seconds; several run side by side.
//!
//! Whatever happens to the caller, no process is left behind: every cluster has one owner process (`serve`),
//! which ends when its standard input closes or a signal requests it. When the owner dies, the kernel kills
//! its parts.
//!
//! Instead of fake nodes, a cluster can have one real node, where pods run as containers (`real_node.rs`), on machines
//! that allow it.
//!
//! Tests use [`Cluster`], people the program `privatekube-cluster`. What is *not* here: names and Services between pods,
//! and anything about how PrivateKube decides. This crate only knows how
//! PrivateKube's extender is started and how the scheduler is configured to call it.
//!
//! Begin reading at [`Cluster`] (the caller's side) and at `owner.rs` (the owner process), which runs a
//! `control_plane.rs`.
#![forbid(unsafe_code)]

mod binaries;
mod certificates;
#[doc(hidden)]
pub mod cli;
mod cluster;
mod config;
mod control_plane;
mod control_socket;
mod description;
mod extender;
mod go;
mod http_client;
mod kubectl;
mod kubelet;
mod layout;
mod logs;
mod metrics;
mod nodes;
mod owner;
mod owner_client;
mod part;
mod pod_status;
mod policies;
mod ports;
mod process;
mod prometheus;
mod protocol;
mod real_node;
mod restart;
mod scheduler_config;
mod service;
mod supervisor;
mod tie;
mod users;

pub use cluster::Cluster;
pub use config::{Config, RealNode};
pub use description::Description;
pub use extender::{Extender, ExtenderOptions};
pub use kubelet::{AFTER_ANNOTATION, OUTCOME_ANNOTATION, ROOT_VARIABLE, RUN_ANNOTATION};
pub use part::Part;
pub use ports::ExtenderPorts;
pub use prometheus::{Prometheus, operator_definitions, promtool};
pub use real_node::{CannotRunNodes, check_machine, tests_run_real_nodes};
pub use users::User;
