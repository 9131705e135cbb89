//! The rules of the lease, without I/O: when a candidate may take it, and how it is written.
//!
//! Clocks of two machines are never compared. A candidate counts from the moment at which it saw the lease change last, by its
//! own monotonic clock, as client-go's leader election does.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::ObjectMeta;
use thiserror::Error;
use tokio::time::Instant;

use crate::clock;

/// The longest lease: a holder that states more is not believed.
const LONGEST: Duration = Duration::from_secs(60);

/// The times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long others wait since they saw the lease change last, before one of them takes it.
    pub duration: Duration,
    /// How long the leader acts since it sent the last renewal that succeeded. Less than the duration, so that it has stopped
    /// before another one begins.
    pub renew_deadline: Duration,
    /// How often it is renewed.
    pub renew_every: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            renew_deadline: Duration::from_secs(3),
            renew_every: Duration::from_secs(1),
        }
    }
}

/// Times that make no sense together.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimesError {
    /// A lease's duration is stored in seconds.
    #[error("--lease-duration {0:?}: a lease lasts whole seconds, from 2s to 60s")]
    Duration(Duration),
    /// The leader would act when another one may, or nearly so.
    #[error(
        "--lease-renew-deadline {deadline:?}: it has to be at least 500ms less than --lease-duration, which is {duration:?}"
    )]
    Deadline {
        /// The deadline.
        deadline: Duration,
        /// The duration.
        duration: Duration,
    },
    /// One slow renewal would end the leader's time.
    #[error(
        "--lease-renew-every {every:?}: it has to be at least 100ms, and at most half of --lease-renew-deadline, which is \
         {deadline:?}"
    )]
    Every {
        /// How often it is renewed.
        every: Duration,
        /// The deadline.
        deadline: Duration,
    },
}

impl LeaseTimes {
    /// Checks that the times make sense.
    pub fn check(self) -> Result<Self, TimesError> {
        let Self {
            duration,
            renew_deadline: deadline,
            renew_every: every,
        } = self;
        if duration.subsec_nanos() > 0 || !(Duration::from_secs(2)..=LONGEST).contains(&duration) {
            return Err(TimesError::Duration(duration));
        }
        if deadline + Duration::from_millis(500) > duration {
            return Err(TimesError::Deadline { deadline, duration });
        }
        if every < Duration::from_millis(100) || every * 2 > deadline {
            return Err(TimesError::Every { every, deadline });
        }
        Ok(self)
    }
}

/// The lease as it was seen last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The object; `None` if there is none.
    lease: Option<Lease>,
    /// When its content was seen to change last.
    changed: Instant,
}

impl Seen {
    /// What is known after the lease was read, and before that (if it was read before).
    pub(super) fn after(before: Option<Self>, lease: Option<Lease>, now: Instant) -> Self {
        let spec = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.spec.clone());
        let changed = match before {
            Some(before) if spec(&before.lease) == spec(&lease) => before.changed,
            _ => now,
        };
        Self { lease, changed }
    }

    pub(super) const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When `candidate` may take the lease; `None` means now. A lease that was released is free. So is one that names the candidate
    /// itself: it held the lease before it was started again, and nobody else has its name.
    pub(super) fn free_at(&self, candidate: &str) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        let holder = holder(lease)?;
        if holder == candidate {
            return None;
        }
        let stated = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let stated = stated.and_then(|seconds| u64::try_from(seconds).ok());
        Some(self.changed + Duration::from_secs(stated.unwrap_or_default()).min(LONGEST))
    }
}

/// Who holds a lease; `None` if it was released.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}

/// How often a lease was acquired. With each time it is another term, also of the same holder.
pub(super) fn term(lease: &Lease) -> i32 {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    transitions.unwrap_or_default()
}

/// The lease as `holder` writes it when it takes it.
pub(super) fn taken(before: Option<&Lease>, name: &str, holder: &str, times: LeaseTimes) -> Lease {
    let now = MicroTime(clock::timestamp());
    let metadata = match before {
        // Its resource version makes the write fail if anybody has written meanwhile.
        Some(before) => before.metadata.clone(),
        None => ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
    };
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(times.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(before.map_or(0, |before| term(before).wrapping_add(1).max(0))),
            ..LeaseSpec::default()
        }),
    }
}

/// The lease as its holder writes it to renew it.
pub(super) fn renewed(mut lease: Lease) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(clock::timestamp()));
    lease
}

/// The lease as its holder writes it to release it.
pub(super) fn released(mut lease: Lease) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(clock::timestamp()));
    lease
}
