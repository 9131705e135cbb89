//! The wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;
use privatekube_policy::Time;

/// The time now.
#[must_use]
pub fn now() -> Time {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // 64 bits of microseconds last for 584,000 years.
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The time now, as Kubernetes' objects have it.
#[must_use]
pub fn timestamp() -> Timestamp {
    let micros = i64::try_from(now().micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// How long it is until `time`; zero if that is past.
#[must_use]
pub fn until(time: Time) -> Duration {
    Duration::from_micros(time.micros().saturating_sub(now().micros()))
}

/// The future, by the same clock as the task that calls this. There is one clock but in simulations.
#[cfg(not(test))]
pub const fn same_clock<F: Future>(future: F) -> F {
    future
}

#[cfg(test)]
pub use simulated::same_clock;

/// Clocks of simulated processes: they go on with Tokio's paused time, and may be wrong.
#[cfg(test)]
pub mod simulated {
    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    use privatekube_policy::Time;
    use tokio::time::Instant;

    /// By how many microseconds a process's clock is ahead.
    pub type Ahead = Arc<AtomicI64>;

    thread_local! {
        /// What the clock showed, and when, if this thread simulates.
        static BEGAN: Cell<Option<(Time, Instant)>> = const { Cell::new(None) };
    }

    tokio::task_local! {
        static AHEAD: Ahead;
    }

    /// Begins a simulation on this thread, at this time.
    pub fn begin(time: Time) {
        BEGAN.set(Some((time, Instant::now())));
    }

    /// The time in the simulation by a clock that is right. None if this thread doesn't simulate.
    pub fn right() -> Option<Time> {
        let (began, at) = BEGAN.get()?;
        Some(Time::from_micros(
            began.micros() + u64::try_from(at.elapsed().as_micros()).unwrap(),
        ))
    }

    /// The time in the simulation by this task's clock.
    pub(super) fn now() -> Option<Time> {
        let right = right()?;
        let ahead = AHEAD
            .try_with(|ahead| ahead.load(Ordering::Relaxed))
            .unwrap_or_default();
        Some(Time::from_micros(right.micros().saturating_add_signed(ahead)))
    }

    /// A future by a clock that is ahead.
    pub async fn by_clock<F: Future>(ahead: Ahead, future: F) -> F::Output {
        AHEAD.scope(ahead, future).await
    }

    /// The future, by the same clock as the task that calls this.
    pub fn same_clock<F: Future>(future: F) -> impl Future<Output = F::Output> {
        let ahead = AHEAD.try_with(Arc::clone).unwrap_or_default();
        by_clock(ahead, future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_2023_and_a_past_time_needs_no_wait() {
        assert!(now().micros() > 1_700_000_000_000_000);
        assert_eq!(until(Time::from_micros(1)), Duration::ZERO);
    }
}
