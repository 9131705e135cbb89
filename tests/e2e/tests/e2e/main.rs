//! PrivateKube end to end: each module is one concern, each test one scenario against a real API server and the real
//! kube-scheduler.

mod admission;
mod audit;
mod bypass;
mod crash;
mod install;
mod lifecycle;
mod namespaces;
mod outage;
mod paper;
mod policies;
mod renyi;
mod stream;
mod workload;
