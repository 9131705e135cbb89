//! PrivateKube end to end: each module is one concern, each test one scenario against a real API server and the real
//! kube-scheduler.

mod bypass;
mod lifecycle;
mod paper;
mod renyi;
