//! Controllers: what exists in the cluster, told to the bookkeepers. They decide nothing.

mod blocks;
mod claims;
mod datasets;
mod entries;
mod follow;
mod known_objects;
mod metrics;
mod pods;
mod requesters;
mod requeue;
mod scheduled_blocks;
mod store_revision;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use privatekube_api::{DatasetKey, LABEL_MANAGED};
use privatekube_policy::ClaimId;
use tokio::sync::{
    mpsc::{UnboundedReceiver, unbounded_channel},
    oneshot,
};
use tokio::time::timeout;
use tracing::info;

pub use self::metrics::WatchMetrics;
use self::{requeue::RequestAgain, scheduled_blocks::ScheduledBlocks, store_revision::StoreRevision};
use crate::{bookkeeper::Message, handles::Handles, registry::Registry};

/// How long claims and pods are not listed yet after a start, in case this process is about to lead and the scheduler waits for it.
const LEAD_FIRST: Duration = Duration::from_secs(2);

/// Whom to notify of what was sent to the bookkeepers since the start.
#[derive(Debug)]
pub struct Sent {
    /// Notified when all datasets and blocks that exist were sent.
    pub blocks: oneshot::Sender<()>,
    /// Notified when all objects were.
    pub all: oneshot::Sender<()>,
}

/// Follows all objects for ever. All claims on datasets of `to_requeue` are requested again.
pub async fn run(registry: Arc<Registry>, sent: Sent, to_requeue: UnboundedReceiver<Option<DatasetKey>>) {
    let Handles {
        client,
        metrics,
        leadership,
        ..
    } = registry.handles();
    let api = || (client.clone(), metrics.clone());
    let (blocks, blocks_listed) = follow::listed();
    let (datasets, datasets_listed) = follow::listed();
    let (claims, claims_listed) = follow::listed();
    let (pods, pods_listed) = follow::listed();
    let (claims_again, claims_to_request) = unbounded_channel();
    let (pods_again, pods_to_request) = unbounded_channel();
    // A bookkeeper reads its dataset and blocks by itself when a claim is requested.
    let never = || unbounded_channel().1;
    let store = StoreRevision::new();
    let scheduled_blocks = Arc::new(ScheduledBlocks::default());
    let pods_requested = async {
        claims_listed.wait().await;
        pods_listed.wait().await;
        // Pods that were listed before all claims were have requested nothing.
        let (done, is_done) = oneshot::channel();
        let all = RequestAgain { dataset: None, done };
        // A follower ends only with the process.
        let _ = pods_again.send(all);
        let _ = is_done.await;
    };
    let all_listed = async {
        blocks_listed.wait().await;
        datasets_listed.wait().await;
        // The receivers are dropped only when the process ends.
        let _ = sent.blocks.send(());
        pods_requested.await;
        let _ = sent.all.send(());
    };
    let (relists, relisted) = oneshot::channel();
    let takes_over = async {
        if !leadership.is_elected() {
            drop(relists);
            return;
        }
        leadership.until_took_over().await;
        // What was requested while this process followed isn't kept.
        registry.handles().request_all_again();
        // A watch may be behind, so it can't tell that an object is gone which the ledger knows. The lists also show which
        // statuses the former leader has not written any more.
        let relist = store.relist();
        // The receiver may have waited for long enough.
        let _ = relists.send(());
        for listed in [&blocks_listed, &datasets_listed, &claims_listed, &pods_listed] {
            listed.wait_for(relist).await;
        }
        registry.send_all(|| Message::AllListed);
        registry.flush().await;
        check_all_pods(&registry);
        info!("all that the former leader may have left undone was looked at");
    };
    tokio::join!(
        follow::follow(
            api(),
            "",
            datasets,
            never(),
            &store,
            datasets::Datasets::new(Arc::clone(&registry), Arc::clone(&scheduled_blocks))
        ),
        follow::follow(
            api(),
            "",
            blocks,
            never(),
            &store,
            blocks::Blocks::new(Arc::clone(&registry))
        ),
        async {
            // Datasets and blocks first, so that claims are matched with them and not before them.
            datasets_listed.wait().await;
            blocks_listed.wait().await;
            // A process that is about to lead takes its ledgers over first: a list of many claims keeps the API server busy for
            // seconds, and would begin again once the process leads.
            let _ = timeout(LEAD_FIRST, relisted).await;
            let managed = format!("{LABEL_MANAGED}=true");
            tokio::join!(
                follow::follow(
                    api(),
                    &managed,
                    pods,
                    pods_to_request,
                    &store,
                    pods::ManagedPods::new(Arc::clone(&registry), claims_listed.clone()),
                ),
                follow::follow(
                    api(),
                    "",
                    claims,
                    claims_to_request,
                    &store,
                    claims::Claims::new(Arc::clone(&registry))
                ),
            )
        },
        all_listed,
        takes_over,
        entries::follow(&registry),
        store.follow(client.clone()),
        scheduled_blocks.keep(registry.handles()),
        requeue::requeue(client.clone(), to_requeue, [claims_again, pods_again.clone()]),
    );
}

/// Says of a claim that is in its ledger and needs no more blocks only that its object exists, and returns whether that is so.
/// After a start there may be a hundred thousand, whose requests would fill the bookkeeper's queue for nothing.
fn say_it_exists(registry: &Registry, dataset: &DatasetKey, claim: &ClaimId) -> bool {
    let published = registry.handles().view.claim(claim);
    let is_known = published.is_some_and(|claim| claim.is_in_ledger() && !claim.needs_blocks());
    if is_known {
        registry.send(dataset, Message::Exists(claim.clone()));
    }
    is_known
}

/// Checks every managed pod once more, when the view has become complete.
pub fn check_all_pods(registry: &Arc<Registry>) {
    pods::check_all(registry);
}
