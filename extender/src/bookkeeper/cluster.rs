//! What is read from the API server, where what the watches told may be behind.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use privatekube_api::{PrivateDataBlock, PrivateDataset};
use tracing::warn;

use super::Bookkeeper;

/// The first wait for an API server that does not answer, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The dataset's objects as they are, whatever the watches have told so far.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) object: Option<Arc<PrivateDataset>>,
    pub(super) blocks: Vec<Arc<PrivateDataBlock>>,
}

impl Present {
    pub(super) const fn is_empty(&self) -> bool {
        self.object.is_none() && self.blocks.is_empty()
    }
}

impl Bookkeeper {
    /// Reads the dataset's objects.
    pub(super) async fn look(&self) -> Present {
        let (object, blocks) = tokio::join!(self.read_object(), self.list_blocks());
        Present { object, blocks }
    }

    /// The dataset's object as it is now.
    pub(super) async fn read_object(&self) -> Option<Arc<PrivateDataset>> {
        let api: Api<PrivateDataset> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        let object = self.patiently("the dataset", || api.get_opt(&self.dataset.name));
        object.await.map(Arc::new)
    }

    /// Every block of the dataset as it is now.
    pub(super) async fn list_blocks(&self) -> Vec<Arc<PrivateDataBlock>> {
        let api: Api<PrivateDataBlock> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        let params = ListParams::default().fields(&format!("spec.dataset={}", self.dataset.name));
        let blocks = self.patiently("the blocks", || api.list(&params)).await;
        blocks.items.into_iter().map(Arc::new).collect()
    }

    /// Whether the dataset's namespace is being deleted or gone, and the ledger with it.
    pub(super) async fn is_going(&self) -> bool {
        let api: Api<Namespace> = Api::all(self.desk.client.clone());
        let namespace = self
            .patiently("the namespace", || api.get_opt(&self.dataset.namespace))
            .await;
        namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Asks until the API server answers: nothing can be decided without it, and everything can wait.
    async fn patiently<T, F>(&self, what: &str, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    warn!(dataset = %self.dataset, %error, ?pause, "{what} can't be read, asking again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
