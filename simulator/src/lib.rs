//! Privacy budget scheduling over virtual time: the very engine that a cluster runs, driven by workloads instead of
//! pods.
//!
//! A [`Workload`] says which blocks and tasks come when; [`PolicySettings`] say how is decided; [`run`] lets it happen and gives
//! an [`Outcome`]. Workloads come from [`trace`] files or from the [`experiment`]s of the field's papers. This crate
//! contains no policy (that is `privatekube-policy`) and nothing of Kubernetes.
//!
//! Begin reading at [`Workload`], then [`run`], then [`experiment`].
#![forbid(unsafe_code)]

pub mod compare;
pub mod experiment;
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
