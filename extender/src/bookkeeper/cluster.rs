//! What is read from the API server, where what the watches told may be behind.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use privatekube_api::{PrivateDataBlock, PrivateDataset};
use tracing::warn;

use super::{Bookkeeper, BookkeeperError};

/// The first wait for an API server that does not answer, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Bookkeeper {
    /// What was there before somebody asked must be seen before it is matched and weighed: the watch may be behind.
    pub(super) async fn look(&mut self) -> Result<(), BookkeeperError> {
        let (object, blocks) = tokio::join!(self.read_object(), self.list_blocks());
        for block in blocks {
            self.know_block(Arc::new(block));
        }
        match object {
            None => self.object = None,
            Some(object) => self.know_dataset(Arc::new(object))?,
        }
        Ok(())
    }

    /// The dataset's object as it is now.
    pub(super) async fn read_object(&self) -> Option<PrivateDataset> {
        let api: Api<PrivateDataset> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        self.patiently("the dataset", || api.get_opt(&self.dataset.name))
            .await
    }

    /// Every block of the dataset as it is now.
    pub(super) async fn list_blocks(&self) -> Vec<PrivateDataBlock> {
        let api: Api<PrivateDataBlock> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        let params = ListParams::default().fields(&format!("spec.dataset={}", self.dataset.name));
        self.patiently("the blocks", || api.list(&params)).await.items
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
