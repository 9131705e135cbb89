//! An in-process Kubernetes API server for tests: [`FakeApiServer`].
//!
//! It serves a [`kube::Client`] without a socket, from objects in memory. Use it to test code that reads,
//! writes and watches objects, where a real control plane (`tests/cluster`) would be too slow or couldn't be
//! made to fail at the right moment.
//!
//! # What is served
//! - Every resource of the core group (`/api/v1/…`) and of named groups (`/apis/GROUP/VERSION/…`), namespaced
//!   and cluster-wide. Resources need no registration. An object is identified by its resource's plural name,
//!   its namespace and its name: groups and versions that share a plural name share its objects (as `events`
//!   do).
//! - get, list (label and field selectors, `limit` and `continue`), create, replace, merge patch, JSON patch,
//!   delete, watch, the subresources `status` and `binding`; full objects or metadata only.
//! - UIDs, generations, creation times, resource versions and their conflicts, UID preconditions, finalizers,
//!   the graceful deletion of pods that have a node.
//! - `status` is only written through the subresource `status`, the rest only through the object itself.
//! - Writes that change nothing leave the resource version as it is and cause no watch event.
//!
//! # What is not
//! Schemas and defaults, admission, access rights, server-side apply, strategic merge patches, dry runs, the
//! deletion of collections, garbage collection by owner, discovery. A namespace needs no object: things can
//! be created in it until an object `namespaces/NAME` says that it is being deleted. When a namespace's
//! object is removed, so is everything inside.
//!
//! # Use
//! ```
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::{Api, api::PostParams};
//! use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = FakeApiServer::default();
//! // Objects can be put and removed without a request; watches see that too.
//! server.put("configmaps", &json!({
//!     "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "data", "name": "first"},
//! }));
//! let api: Api<ConfigMap> = Api::namespaced(server.client(), "data");
//! assert!(api.get_opt("first").await?.is_some());
//!
//! // The next write is refused with 503.
//! let writes = RequestFilter::writes().resource("configmaps");
//! server.inject(&writes, 1, Fault::Refuse(503));
//! let mut second = ConfigMap::default();
//! second.metadata.name = Some("second".into());
//! assert!(api.create(&PostParams::default(), &second).await.is_err());
//! api.create(&PostParams::default(), &second).await?;
//!
//! // How many writes did this take?
//! assert_eq!(server.count(&writes), 2);
//! assert_eq!(server.all("configmaps").len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! Begin reading with [`FakeApiServer`]; `service.rs` dispatches requests, `writes.rs` has the rules of each
//! kind of write, `store.rs` the objects and the history that `watch.rs` streams.

mod answer;
mod faults;
mod request;
mod selector;
mod server;
mod service;
mod store;
mod watch;
mod writes;

pub use faults::{Fault, Hold};
pub use request::{LoggedRequest, RequestFilter};
pub use server::{FakeApiServer, StoreCopy};
