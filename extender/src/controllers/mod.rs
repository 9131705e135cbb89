//! Controllers: what exists in the cluster, told to the bookkeepers. They decide nothing.

mod again;
mod blocks;
mod claims;
mod datasets;
mod follow;
mod pods;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use privatekube_api::LABEL_MANAGED;
use tokio::sync::{mpsc::unbounded_channel, oneshot};

use crate::registry::Registry;

/// Follows everything for ever. `seen` is told when all that exists was sent to the bookkeepers.
pub async fn run(registry: Arc<Registry>, seen: oneshot::Sender<()>) {
    let client = registry.desk().client.clone();
    let (blocks, blocks_listed) = follow::listed();
    let (datasets, datasets_listed) = follow::listed();
    let (claims, claims_listed) = follow::listed();
    let (pods, pods_listed) = follow::listed();
    let (claims_again, claims_lost) = unbounded_channel();
    let (pods_again, pods_lost) = unbounded_channel();
    // Datasets and blocks are looked for when somebody asks.
    let never = || unbounded_channel().1;
    let all_listed = async {
        blocks_listed.wait().await;
        datasets_listed.wait().await;
        claims_listed.wait().await;
        pods_listed.wait().await;
        // Nobody waits only if the process is ending.
        let _ = seen.send(());
    };
    tokio::join!(
        follow::follow(
            client.clone(),
            "",
            datasets,
            never(),
            datasets::Datasets::new(Arc::clone(&registry))
        ),
        follow::follow(
            client.clone(),
            "",
            blocks,
            never(),
            blocks::Blocks::new(Arc::clone(&registry))
        ),
        async {
            // Datasets and blocks first, so that claims are matched with them and not before them.
            datasets_listed.wait().await;
            blocks_listed.wait().await;
            let managed = format!("{LABEL_MANAGED}=true");
            tokio::join!(
                follow::follow(
                    client.clone(),
                    &managed,
                    pods,
                    pods_lost,
                    pods::ManagedPods::new(Arc::clone(&registry))
                ),
                follow::follow(
                    client.clone(),
                    "",
                    claims,
                    claims_lost,
                    claims::Claims::new(Arc::clone(&registry))
                ),
            )
        },
        all_listed,
        again::ask_again(client.clone(), registry.lost(), [claims_again, pods_again]),
    );
}

/// Looks at every managed pod once more, when everything that is committed is known.
pub fn look_at_all(registry: &Arc<Registry>) {
    pods::look_at_all(registry);
}
