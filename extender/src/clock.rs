//! The wall clock, and instants as people and Kubernetes write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_policy::Time;

/// Now.
#[must_use]
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How long until `time`; nothing if it is over.
#[must_use]
pub fn until(time: Time) -> Duration {
    Duration::from_micros(time.micros().saturating_sub(now().micros()))
}

fn timestamp(time: Time) -> jiff::Timestamp {
    i64::try_from(time.micros())
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}

/// RFC 3339 with microseconds.
#[must_use]
pub fn display(time: Time) -> String {
    format!("{:.6}", timestamp(time))
}

/// As Kubernetes has it in an object.
#[must_use]
pub fn meta_time(time: Time) -> v1::Time {
    v1::Time(timestamp(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_to_the_microsecond() {
        assert_eq!(
            display(Time::from_micros(1_500_000)),
            "1970-01-01T00:00:01.500000Z"
        );
        assert!(now().micros() > 1_700_000_000_000_000);
    }
}
