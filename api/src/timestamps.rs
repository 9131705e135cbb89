//! Instants of the ledger as people and Kubernetes write them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_policy::Time;

/// A time as RFC 3339 in UTC with microseconds, like `2026-11-21T12:00:00.000000Z`. A time after the year 9999 is shown as
/// the last instant of that year: it only occurs in an entry that a faulty clock wrote.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    format!("{:.6}", timestamp(time))
}

/// Reads a time of RFC 3339; none if the text is another one, or a time before 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Time> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_microsecond())
        .ok()
        .map(Time::from_micros)
}

/// A time as an object's metadata and conditions have it.
#[must_use]
pub fn meta_time(time: Time) -> v1::Time {
    v1::Time(timestamp(time))
}

fn timestamp(time: Time) -> jiff::Timestamp {
    i64::try_from(time.micros())
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_microsecond() {
        assert_eq!(
            rfc3339(Time::from_micros(1_500_000)),
            "1970-01-01T00:00:01.500000Z"
        );
        assert!(rfc3339(Time::from_micros(u64::MAX)).starts_with("9999-12-30"));
    }
}
