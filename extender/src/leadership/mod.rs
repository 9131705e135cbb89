//! Leadership: which of several replicas writes and answers the scheduler.
//!
//! All replicas serve the webhooks and follow every ledger. One of them leads: it holds a [`lease`], which it renews, and its pod
//! has a [`label`] that the scheduler's Service selects. Safety doesn't rest on any of that, since an entry of a ledger can be
//! created once; the lease only keeps replicas from wasting work and from taking turns. `docs/DESIGN.md` has the time lines.
//!
//! [`Leadership`] is what the other parts ask: whether this process may act now.

mod election;
mod label;
mod lease;
mod metrics;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, watch},
    time::{Instant, timeout},
};

pub use self::{
    election::Election,
    label::{Label, OwnPod},
    lease::LeaseTimes,
    metrics::LeadershipMetrics,
};

/// One of several processes, of which one leads.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The namespace of the lease.
    pub namespace: String,
    /// The name of the lease.
    pub lease: String,
    /// This process's name in the lease, which no other one has, and which it has again after a restart.
    pub identity: String,
    /// The times of the lease.
    pub times: LeaseTimes,
    /// The pod that this process runs in, if it does: while it leads, the pod has a label that the scheduler's Service selects.
    pub pod: Option<OwnPod>,
    /// How long the webhooks are served at the end, until the API server calls another replica.
    pub drain: Duration,
}

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It follows: it writes nothing, and grants nothing.
    Following,
    /// It leads until then, unless it renews its lease before.
    Leading(Instant),
    /// It has led, or has followed, and does neither again.
    Ended,
}

/// Whether this process may act, for all parts of it. Cheap to clone.
#[derive(Clone)]
pub struct Leadership(Arc<Shared>);

struct Shared {
    standing: watch::Sender<Standing>,
    /// Whether everything that the former leader has written was read, so that the scheduler can be answered.
    took_over: watch::Sender<bool>,
    /// Whether this process has read everything for the first time, so that it may be elected.
    caught_up: watch::Sender<bool>,
    /// Whether there is a lease at all.
    is_elected: bool,
    /// Held for reading while something is written to a ledger.
    acting: Arc<RwLock<()>>,
}

/// Something is being written: nobody else leads before this is dropped, unless that takes too long.
#[derive(Debug)]
pub struct Acting(#[expect(dead_code, reason = "it is held")] OwnedRwLockReadGuard<()>);

/// Why the scheduler isn't answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeading {
    /// Another replica leads, or none.
    #[error(
        "this replica of the extender doesn't lead: the pod is tried again, and then another one should answer"
    )]
    Follows,
    /// It has just become the leader.
    #[error("this replica of the extender is just becoming the leader: the pod is tried again")]
    TakesOver,
    /// It could not renew its lease.
    #[error("the extender can't renew its lease, so that another replica may lead: the pod is tried again")]
    Expired,
}

impl NotLeading {
    /// The label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Follows => "follows",
            Self::TakesOver => "takes_over",
            Self::Expired => "no_lease",
        }
    }
}

impl Leadership {
    /// That of a process which is alone, and leads without a lease.
    pub fn alone() -> Self {
        // As long as no clock that counts nanoseconds in 64 bits overflows.
        let for_ever = Instant::now() + Duration::from_secs(30 * 365 * 86400);
        Self::new(Standing::Leading(for_ever), false)
    }

    /// That of a process which follows until it is elected.
    pub fn candidate() -> Self {
        Self::new(Standing::Following, true)
    }

    fn new(standing: Standing, is_elected: bool) -> Self {
        Self(Arc::new(Shared {
            standing: watch::Sender::new(standing),
            took_over: watch::Sender::new(!is_elected),
            caught_up: watch::Sender::new(false),
            is_elected,
            acting: Arc::default(),
        }))
    }

    /// Whether there are elections: if not, this process leads, whatever others do.
    pub fn is_elected(&self) -> bool {
        self.0.is_elected
    }

    /// Whether this process is the leader, also while it can't renew its lease.
    pub fn leads(&self) -> bool {
        matches!(*self.0.standing.borrow(), Standing::Leading(_))
    }

    /// Whether this process is the leader and has a lease that is surely valid.
    pub fn may_act(&self) -> bool {
        self.why_not().is_none()
    }

    /// Whether this process has ended what it did.
    pub fn has_ended(&self) -> bool {
        *self.0.standing.borrow() == Standing::Ended
    }

    fn why_not(&self) -> Option<NotLeading> {
        match *self.0.standing.borrow() {
            Standing::Leading(until) if Instant::now() < until => None,
            Standing::Leading(_) => Some(NotLeading::Expired),
            Standing::Following | Standing::Ended => Some(NotLeading::Follows),
        }
    }

    /// Whether the scheduler may be answered from the view; if not, why.
    pub fn check(&self) -> Result<(), NotLeading> {
        match self.why_not() {
            Some(why) => Err(why),
            None if !*self.0.took_over.borrow() => Err(NotLeading::TakesOver),
            None => Ok(()),
        }
    }

    /// Waits until this process leads, for the first time.
    pub async fn until_leading(&self) {
        let mut standing = self.0.standing.subscribe();
        let leads = |standing: &Standing| matches!(standing, Standing::Leading(_));
        // The sender lives as long as this.
        let _ = standing.wait_for(leads).await;
    }

    /// Waits until this process may act; for ever if it has ended. What is done until the returned value is dropped is done before
    /// the lease is released.
    pub async fn act(&self) -> Acting {
        let mut standing = self.0.standing.subscribe();
        loop {
            let guard = Arc::clone(&self.0.acting).read_owned().await;
            if self.may_act() {
                return Acting(guard);
            }
            drop(guard);
            // It changes with each renewal, and the sender lives as long as this.
            let _ = standing.changed().await;
        }
    }

    /// Everything was read for the first time.
    pub fn caught_up(&self) {
        self.0.caught_up.send_replace(true);
    }

    /// Waits until everything was read for the first time.
    pub async fn until_caught_up(&self) {
        let _ = self
            .0
            .caught_up
            .subscribe()
            .wait_for(|caught_up| *caught_up)
            .await;
    }

    /// The scheduler is answered from now on.
    pub fn took_over(&self) {
        self.0.took_over.send_replace(true);
    }

    /// Waits until the scheduler is answered.
    pub async fn until_took_over(&self) {
        let _ = self
            .0
            .took_over
            .subscribe()
            .wait_for(|took_over| *took_over)
            .await;
    }

    /// The lease was acquired or renewed: it is surely valid until then.
    pub fn lead_until(&self, until: Instant) {
        self.0.standing.send_if_modified(|standing| {
            let ended = *standing == Standing::Ended;
            if !ended {
                *standing = Standing::Leading(until);
            }
            !ended
        });
    }

    /// Nothing is begun any more. Waits until what has begun is done, for at most `most`, and returns whether it is.
    pub async fn end(&self, most: Duration) -> bool {
        self.0.standing.send_replace(Standing::Ended);
        timeout(most, self.0.acting.write()).await.is_ok()
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("standing", &*self.0.standing.borrow())
            .finish_non_exhaustive()
    }
}
