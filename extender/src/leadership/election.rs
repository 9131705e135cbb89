//! The election: a candidate waits until the lease is free, takes it, renews it, and releases it at the end.
//!
//! No crate that is at hand does this for our version of `kube`: `kube-leader-election` and `kubert` depend on earlier ones, and
//! neither takes a lease that was released as soon as a watch tells of it. What is needed here beside that is what the leader's
//! time means to the rest of the process ([`Leadership`]).

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Error,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use parking_lot::Mutex;
use privatekube_kubernetes::{plain, post_params};
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::{
    Leadership, LeadershipMetrics, Replica,
    lease::{LeaseTimes, Seen, holder, released, renewed, taken, term},
};

/// Another replica has the lease: this one has been the leader, and may not be any more.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the lease was lost to {0}: this process ends, and starts again as a follower")]
pub struct LeaseLost(String);

/// A candidate for one lease.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    leadership: Leadership,
    metrics: LeadershipMetrics,
    /// The lease as this process wrote it last, while it holds it.
    held: Mutex<Option<Lease>>,
}

/// How an attempt to take the lease, or to renew it, ended.
enum Attempt {
    /// The lease is as this process wrote it.
    Written(Box<Lease>),
    /// Somebody else has written it.
    Conflict,
    /// It is unknown whether it was written.
    Unknown(String),
}

impl Election {
    /// The candidate that `replica` describes.
    pub fn new(
        client: Client,
        replica: &Replica,
        leadership: Leadership,
        metrics: LeadershipMetrics,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &replica.namespace),
            name: replica.lease.clone(),
            identity: replica.identity.clone(),
            times: replica.times,
            leadership,
            metrics,
            held: Mutex::default(),
        }
    }

    /// Waits for the lease, and keeps it. Returns only once it was lost to another process.
    pub async fn run(self: Arc<Self>) -> Result<(), LeaseLost> {
        info!(
            lease = self.name,
            identity = self.identity,
            "follows until it is elected"
        );
        self.acquire().await;
        info!(lease = self.name, identity = self.identity, "leads");
        self.metrics.leads(true);
        let lost = self.keep().await;
        self.metrics.leads(false);
        // What it has of the lease is another's.
        *self.held.lock() = None;
        Err(lost)
    }

    /// Waits until the lease is free, and takes it. A watch tells when it is released; who holds it and doesn't renew it any more
    /// is waited for.
    async fn acquire(&self) {
        let mut changes = watch_object(self.api.clone(), &self.name)
            .default_backoff()
            .boxed();
        let mut seen: Option<Seen> = None;
        let mut watches = true;
        let mut told = None;
        loop {
            let free_at = seen.as_ref().map(|seen| seen.free_at(&self.identity));
            let due = async {
                match free_at {
                    // Nothing is known, or it is free, and the last attempt failed.
                    None | Some(None) => sleep(self.times.renew_every).await,
                    Some(Some(at)) => sleep_until(at).await,
                }
            };
            if seen.is_some() || !watches {
                tokio::select! {
                    () = due => {}
                    change = changes.next(), if watches => match change {
                        Some(Ok(lease)) => {
                            let now = Instant::now();
                            let after = Seen::after(seen.take(), lease, now);
                            let is_free = after.free_at(&self.identity).is_none_or(|at| at <= now);
                            seen = Some(after);
                            if !is_free {
                                continue;
                            }
                        }
                        Some(Err(error)) => {
                            debug!(%error, "the watch of the lease was interrupted");
                            continue;
                        }
                        None => {
                            watches = false;
                            continue;
                        }
                    },
                }
            }
            // The watch may be behind, and an attempt on what is outdated would only fail.
            let current = match timeout(self.patience(), self.api.get_opt(&self.name)).await {
                Ok(Ok(current)) => current,
                Ok(Err(error)) => {
                    self.say_if_new(&mut told, plain(&error));
                    sleep(self.times.renew_every).await;
                    continue;
                }
                Err(_) => {
                    self.say_if_new(&mut told, "no answer".to_owned());
                    continue;
                }
            };
            told = None;
            let after = Seen::after(seen.take(), current, Instant::now());
            let is_free = after
                .free_at(&self.identity)
                .is_none_or(|at| at <= Instant::now());
            if is_free {
                let sent = Instant::now();
                let lease = taken(after.lease(), &self.name, &self.identity, self.times);
                match self.write(lease, after.lease().is_none()).await {
                    Attempt::Written(lease) => {
                        *self.held.lock() = Some(*lease);
                        self.leadership.lead_until(sent + self.times.renew_deadline);
                        return;
                    }
                    Attempt::Conflict => debug!("another candidate was faster"),
                    Attempt::Unknown(why) => {
                        self.say_if_new(&mut told, why);
                        sleep(self.times.renew_every).await;
                    }
                }
            }
            seen = Some(after);
        }
    }

    /// Logs why the lease can't be read or written, unless that was told just before.
    fn say_if_new(&self, told: &mut Option<String>, why: String) {
        if told.as_ref() != Some(&why) {
            warn!(
                lease = self.name,
                why, "the lease can't be read or taken, which is tried again"
            );
            *told = Some(why);
        }
    }

    /// Renews the lease until another process has it. While it can't be renewed, the leadership rests, and goes on if nobody has
    /// had the lease meanwhile.
    async fn keep(&self) -> LeaseLost {
        let mut renewed_at = Instant::now();
        let mut is_late = false;
        loop {
            let Some(lease) = self.held.lock().clone() else {
                // It was released, and this process ends.
                return std::future::pending().await;
            };
            let due = if is_late {
                Instant::now()
            } else {
                renewed_at + self.times.renew_every
            };
            sleep_until(due).await;
            let sent = Instant::now();
            let mut pause = Duration::ZERO;
            match self.write(renewed(lease.clone()), false).await {
                Attempt::Written(lease) => {
                    self.hold(*lease);
                    self.leadership.lead_until(sent + self.times.renew_deadline);
                    if std::mem::take(&mut is_late) {
                        info!("the lease is renewed again, and nobody had it meanwhile");
                    }
                    renewed_at = sent;
                    continue;
                }
                // By an attempt of this process whose answer was lost, by an administrator, or by another process.
                Attempt::Conflict => {}
                Attempt::Unknown(why) => {
                    // A server whose store is full answers reads at once, and refuses each write at once.
                    pause = self.times.renew_every / 4;
                    if !is_late
                        && sent.duration_since(renewed_at) + self.patience() >= self.times.renew_deadline
                    {
                        warn!(
                            why,
                            "the lease can't be renewed: nothing is granted until it is, or another replica leads"
                        );
                        is_late = true;
                    }
                }
            }
            match timeout(self.patience(), self.api.get_opt(&self.name)).await {
                Ok(Ok(Some(current))) if self.is_of_this_term(&current, &lease) => {
                    self.hold(current);
                    sleep(pause).await;
                }
                Ok(Ok(Some(current))) => {
                    return LeaseLost(holder(&current).unwrap_or("nobody").to_owned());
                }
                // Somebody deleted it, as with its namespace. Whoever creates it next has it.
                Ok(Ok(None)) => {
                    let sent = Instant::now();
                    let anew = taken(None, &self.name, &self.identity, self.times);
                    if let Attempt::Written(lease) = self.write(anew, true).await {
                        info!(lease = self.name, "the lease was deleted, and is made again");
                        self.hold(*lease);
                        self.leadership.lead_until(sent + self.times.renew_deadline);
                        (renewed_at, is_late) = (sent, false);
                    } else {
                        sleep(self.times.renew_every / 4).await;
                    }
                }
                Ok(Err(_)) | Err(_) => sleep(self.times.renew_every / 4).await,
            }
        }
    }

    /// Remembers the lease as it is, unless it was released meanwhile.
    fn hold(&self, lease: Lease) {
        if let Some(held) = &mut *self.held.lock() {
            *held = lease;
        }
    }

    /// Whether the lease is still that which this process has taken. In another term somebody else may have had it.
    fn is_of_this_term(&self, current: &Lease, mine: &Lease) -> bool {
        holder(current) == Some(&self.identity) && term(current) == term(mine)
    }

    /// How long an answer may take. An attempt that has no answer leaves time for another one before the deadline.
    fn patience(&self) -> Duration {
        self.times.renew_deadline / 2
    }

    /// Writes the lease, if nobody has written it since it was read.
    async fn write(&self, lease: Lease, is_new: bool) -> Attempt {
        let write = async {
            if is_new {
                self.api.create(&post_params(), &lease).await
            } else {
                self.api.replace(&self.name, &post_params(), &lease).await
            }
        };
        match timeout(self.patience(), write).await {
            Ok(Ok(lease)) => Attempt::Written(Box::new(lease)),
            // It was deleted, or created by another candidate.
            Ok(Err(Error::Api(status))) if status.code == 409 || status.code == 404 => Attempt::Conflict,
            Ok(Err(error)) => Attempt::Unknown(plain(&error)),
            Err(_) => Attempt::Unknown(format!("no answer within {:?}", self.patience())),
        }
    }

    /// Releases the lease, if this process holds it, so that another candidate takes it at once. Returns whether it did.
    pub async fn release(&self) -> bool {
        let Some(mine) = self.held.lock().take() else {
            return false;
        };
        for lease in [Some(mine.clone()), None] {
            let lease = match lease {
                Some(lease) => lease,
                // A renewal may have been on its way.
                None => match timeout(self.patience(), self.api.get_opt(&self.name)).await {
                    Ok(Ok(Some(current))) if self.is_of_this_term(&current, &mine) => current,
                    _ => break,
                },
            };
            if matches!(self.write(released(lease), false).await, Attempt::Written(_)) {
                info!(lease = self.name, "the lease is released");
                self.metrics.leads(false);
                return true;
            }
        }
        warn!(
            lease = self.name,
            "the lease could not be released: another replica takes it when it has run out"
        );
        false
    }
}
