//! Handles to what all parts of the extender share: the API server, the view, the managed pods, the writers, the metrics.

use std::{fmt, path::PathBuf, sync::Arc};

use kube::Client;
use privatekube_api::DatasetKey;
use privatekube_kubernetes::ServerClock;
use privatekube_policy::DatasetRules;
use privatekube_view::View;
use tokio::{runtime, sync::mpsc::UnboundedSender};

use crate::{
    bookkeeper::CheckpointSettings,
    known_blocks::KnownBlocks,
    leadership::Leadership,
    metrics::Metrics,
    pods::Pods,
    status_page::Decisions,
    writers::{Events, Gates, Statuses},
};

/// Which blocks have metrics of their own.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredBlocks {
    /// How many of a dataset at most; the others are summed.
    pub most_blocks: usize,
    /// Whether each has its epsilon at every Renyi order, too.
    pub orders: bool,
}

/// Handles to what all parts share. Cheap to clone.
#[derive(Clone)]
pub struct Handles {
    /// The API server.
    pub client: Client,
    /// What is committed.
    pub view: Arc<View>,
    /// The API server's clock.
    pub server_clock: Arc<ServerClock>,
    /// The managed pods.
    pub pods: Arc<Pods>,
    /// How many blocks the bookkeepers know.
    pub known_blocks: Arc<KnownBlocks>,
    /// The recent decisions, if a status page shows them.
    pub decisions: Arc<Decisions>,
    /// The runtime that bookkeepers run on: it has threads of its own, since matching and deciding take longer than answering
    /// requests.
    pub bookkeepers: runtime::Handle,
    /// Writes statuses.
    pub statuses: Statuses,
    /// Removes scheduling gates.
    pub gates: Gates,
    /// Writes Events.
    pub events: Events,
    /// Receives datasets of which all claims are to be requested again: their ledgers were deleted, or opened again. `None`
    /// stands for all datasets: this process has become the leader.
    pub requeue: UnboundedSender<Option<DatasetKey>>,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// The metrics.
    pub metrics: Metrics,
    /// The rules of datasets without a PrivateDataset; `None` if a ledger begins only with one.
    pub defaults: Option<DatasetRules>,
    /// This process's name in ledger entries.
    pub writer: String,
    /// The version of the format of ledger entries: this program's own, but in tests that play a later version of it.
    pub entry_version: u32,
    /// What has metrics of its own.
    pub measured: MeasuredBlocks,
    /// When checkpoints are published and entries removed.
    pub checkpoints: CheckpointSettings,
    /// The directory that ledgers are exported to, if they are.
    pub export: Option<PathBuf>,
}

impl Handles {
    /// Lets all claims on a dataset be requested again.
    pub fn request_again(&self, dataset: DatasetKey) {
        // The receiver is dropped only when the process ends.
        let _ = self.requeue.send(Some(dataset));
    }

    /// Lets all claims on all datasets be requested again.
    pub fn request_all_again(&self) {
        let _ = self.requeue.send(None);
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}
