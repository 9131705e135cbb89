//! Requests claims again after their dataset's ledger was deleted with its namespace (pods and claim objects in other
//! namespaces still exist and wait for the dataset), or was opened again after the dataset was stopped; or claims on all datasets,
//! when this process has become the leader.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use privatekube_api::DatasetKey;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};
use tracing::{info, warn};

/// How often a namespace that is being deleted is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Asks a follower to request the claims on a dataset again, or on all.
#[derive(Debug)]
pub(super) struct RequestAgain {
    pub(super) dataset: Option<DatasetKey>,
    /// Notified when that is done.
    pub(super) done: oneshot::Sender<()>,
}

/// Sends each of the `datasets` to the followers, unless its namespace is being deleted, and else once it is gone: to one
/// follower after the other, so that claims arrive in the same order whichever task runs first.
pub(super) async fn requeue(
    client: Client,
    mut datasets: UnboundedReceiver<Option<DatasetKey>>,
    followers: [UnboundedSender<RequestAgain>; 2],
) {
    while let Some(dataset) = datasets.recv().await {
        let (client, followers) = (client.clone(), followers.clone());
        tokio::spawn(async move {
            if let Some(dataset) = &dataset {
                // No ledger can begin in a namespace that is being deleted.
                until_gone(client, &dataset.namespace).await;
                info!(%dataset, "claims are requested again");
            }
            for follower in followers {
                let (done, is_done) = oneshot::channel();
                let dataset = dataset.clone();
                // A follower ends only with the process.
                let _ = follower.send(RequestAgain { dataset, done });
                let _ = is_done.await;
            }
        });
    }
}

/// Waits until a namespace is gone, or was created again.
async fn until_gone(client: Client, namespace: &str) {
    let api: Api<Namespace> = Api::all(client);
    loop {
        match api.get_opt(namespace).await {
            Ok(found)
                if found
                    .as_ref()
                    .is_none_or(|found| found.metadata.deletion_timestamp.is_none()) =>
            {
                return;
            }
            Ok(_) => {}
            Err(error) => warn!(namespace, %error, "the namespace can't be read, trying again"),
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
