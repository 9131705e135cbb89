//! A real Kubernetes control plane (etcd, API server, controller manager, scheduler) with fake nodes, in a
//! directory of its own on free ports of 127.0.0.1, ready in seconds; several run side by side.
//!
//! Whatever happens to the caller, no process is left behind: every cluster has one owner process (`serve`), which
//! ends when its standard input closes or its caller asks for it, and whose parts the kernel kills when it dies.
//!
//! [`Cluster`] is the handle of a test; the binary `privatekube-cluster` is the same for people. What is *not* here:
//! containers, networking between pods, and anything that knows how PrivateKube decides. The only thing known about
//! PrivateKube is how its extender is started and how the scheduler is told to call it.
//!
//! Begin reading at [`Cluster`] (the caller's side) and `owner` (the side that owns the processes).
#![forbid(unsafe_code)]

mod binaries;
mod certificates;
#[doc(hidden)]
pub mod cli;
mod cluster;
mod config;
mod control_plane;
mod description;
mod extender;
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
mod ports;
mod process;
mod protocol;
mod scheduler_config;
mod supervisor;

mod tie;
mod users;

pub use cluster::Cluster;
pub use config::Config;
pub use description::Description;
pub use extender::{Extender, ExtenderOptions};
pub use kubelet::{AFTER_ANNOTATION, OUTCOME_ANNOTATION};
pub use part::Part;
pub use ports::ExtenderPorts;
pub use users::User;
