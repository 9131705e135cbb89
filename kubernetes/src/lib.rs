//! PrivateKube's access to the API server, for the extender and for any tool.
//!
//! These live here: a [`client`](connect) whose requests all end, the [objects of a dataset](DatasetReader) and the
//! [list of datasets that have a ledger](datasets_with_ledger), the API server's [clock](ServerClock), and the [store](KubernetesStore) that keeps a ledger's
//! entries as PrivacyLedgerEntry objects. Nothing here decides, caches or watches anything.
#![forbid(unsafe_code)]

mod checkpoints;
mod client;
mod field_manager;
mod observe;
mod plain;
mod reader;
mod server_clock;
mod store;

pub use client::{ConnectError, connect, connect_as, connect_in, connect_observed, with_time_limits};
pub use field_manager::{FIELD_MANAGER, patch_params, post_params};
pub use observe::{ObservedRequest, RequestObserver};
pub use plain::{plain, unreachable_webhook};
pub use reader::{
    CurrentObjects, DatasetReader, NamespaceIdentity, count_blocks, datasets_with_ledger, each_block,
    refuses_streamed_lists,
};
pub use server_clock::ServerClock;
pub use store::KubernetesStore;
