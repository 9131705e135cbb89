//! Simulates privacy budget scheduling over virtual time: workloads, instead of pods, drive the engine that a
//! cluster runs.
//!
//! A [`Workload`] lists the blocks and tasks and when each arrives; [`PolicySettings`] choose the policy;
//! [`run()`] feeds the workload to an engine and returns an [`Outcome`]. Workloads come from [`trace`] files or
//! from the [`experiment`]s of papers. This crate contains no policy (policies are in `privatekube-policy`)
//! and knows nothing of Kubernetes.
//!
//! Begin reading at [`Workload`], then [`run()`], then [`experiment`].
#![forbid(unsafe_code)]

pub mod compare;
pub mod experiment;
mod fairness;
mod instant;
pub mod optimum;
mod outcome;
pub mod plot;
mod policy_settings;
mod random;
pub mod released_simulator;
pub mod results;
mod run;
pub mod sweep;
pub mod trace;
mod workload;

pub use fairness::Fairness;
pub use instant::{TooLong, seconds, span, time};
pub use outcome::{ClassCount, Decision, Delays, Outcome, Summary};
pub use policy_settings::{
    PolicyChoice, PolicyError, PolicyKind, PolicySettings, PolicySettingsError, Unlock,
};
pub use random::Random;
pub use run::{RunError, run};
pub use workload::{
    BlockArrival, Blocks, CATALOGUE, Draw, Macro, Micro, Packing, Pipeline, StatisticDays, Submission,
    Submissions, Task, TraceCsvError, Workload, WorkloadError,
};
