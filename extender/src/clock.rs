//! The wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use privatekube_policy::Time;

/// The time now.
#[must_use]
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // 64 bits of microseconds last for 584,000 years.
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How long it is until `time`; zero if that is past.
#[must_use]
pub fn until(time: Time) -> Duration {
    Duration::from_micros(time.micros().saturating_sub(now().micros()))
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
