//! [`Arrivals`]: when each object of a namespace reached a state, as a watch shows it.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// The longest time in which nothing arrives.
const STALL: Duration = Duration::from_secs(120);

/// Follows the objects of one kind in a namespace.
pub(crate) struct Arrivals {
    receiver: mpsc::UnboundedReceiver<(String, Instant)>,
    seen: HashMap<String, Instant>,
    watch: JoinHandle<()>,
}

/// The watch ends with the measurement.
impl Drop for Arrivals {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Arrivals {
    /// Begins to follow, and waits until the watch shows what exists.
    pub(crate) async fn follow(api: Api<DynamicObject>, reached: fn(&DynamicObject) -> bool) -> Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (listed, is_listed) = tokio::sync::oneshot::channel();
        let watch = tokio::spawn(async move {
            let mut events = pin!(watcher(api, watcher::Config::default()));
            let mut listed = Some(listed);
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) if reached(&object) => {
                        let name = object.metadata.name.unwrap_or_default();
                        if sender.send((name, Instant::now())).is_err() {
                            return;
                        }
                    }
                    Ok(Event::InitDone) => drop(listed.take().map(|listed| listed.send(()))),
                    // The watcher begins again after an error.
                    Ok(_) | Err(_) => {}
                }
            }
        });
        let arrivals = Self {
            receiver,
            seen: HashMap::new(),
            watch,
        };
        timeout(STALL, is_listed)
            .await
            .context("the watch shows nothing")??;
        Ok(arrivals)
    }

    /// Waits until `count` objects have reached the state, and returns when each did.
    pub(crate) async fn wait(&mut self, count: usize) -> Result<&HashMap<String, Instant>> {
        while self.seen.len() < count {
            let Ok(Some((name, at))) = timeout(STALL, self.receiver.recv()).await else {
                bail!(
                    "{} of {count} objects were in the expected state, and no other within {STALL:?}",
                    self.seen.len()
                );
            };
            self.seen.entry(name).or_insert(at);
        }
        Ok(&self.seen)
    }
}
