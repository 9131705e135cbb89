//! Asking again: a ledger that goes with its namespace takes along all that was asked of it, but who asked from other
//! namespaces is still there.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use privatekube_api::DatasetKey;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{info, warn};

/// How often a namespace that is being deleted is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells the followers of each dataset that was lost, once its namespace has gone.
pub(super) async fn ask_again(
    client: Client,
    mut lost: UnboundedReceiver<DatasetKey>,
    followers: [UnboundedSender<DatasetKey>; 2],
) {
    while let Some(dataset) = lost.recv().await {
        let (client, followers) = (client.clone(), followers.clone());
        tokio::spawn(async move {
            // Until then no ledger can begin there, and blocks that are still there would only make it try.
            until_gone(client, &dataset.namespace).await;
            info!(%dataset, "who asked from other namespaces asks again");
            for follower in followers {
                // It ends with the process.
                let _ = follower.send(dataset.clone());
            }
        });
    }
}

/// Waits until a namespace is gone, or there again.
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
            Err(error) => warn!(namespace, %error, "the namespace can't be read, asking again"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
