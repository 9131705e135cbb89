//! A proxy between a program and the API server that lets go wrong what can go wrong between them.
//!
//! It speaks TLS on both sides and acts on whole requests, so that a fault is exact: a request is lost before the API server
//! has seen it ([`Fault::RequestLost`]), or its answer is lost after the API server has carried it out
//! ([`Fault::ReplyLost`]). Which request has which fault is chosen by a generator with a seed; how often, by [`FaultRates`],
//! which may change at any time. Every fault is counted and logged.
//!
//! The program gets a kubeconfig that names the proxy ([`FaultProxy::kubeconfig`]). The proxy sends its requests on with the
//! credentials of the client that it was started with. It serves HTTP/1.1 only, so that a connection that is cut carries
//! one request.
//!
//! Begin reading at [`FaultProxy`]; `answer.rs` carries the faults out, `fault.rs` chooses them, `tls.rs` makes the
//! certificates.
#![forbid(unsafe_code)]

mod answer;
mod fault;
mod proxy;
mod random;
mod tls;

pub use fault::{Fault, FaultRates};
pub use proxy::{FaultCounts, FaultProxy};
