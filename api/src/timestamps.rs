//! Instants of the ledger as people and Kubernetes write them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_policy::Time;

/// A time as RFC 3339 in UTC with microseconds, like `2026-11-21T12:00:00.000000Z`. A time after the year 9999 is shown as
/// the last instant of that year: it only occurs in an entry that a faulty clock wrote.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    format!("{:.6}", timestamp(time))
}

/// A moment to the second, for people, like `2026-11-21T12:00:00Z`. A part of a second counts as a whole one, so that it has
/// come by then.
#[must_use]
pub fn moment(time: Time) -> String {
    let whole = Time::from_micros(time.micros().div_ceil(MICROS).saturating_mul(MICROS));
    format!("{:.0}", timestamp(whole))
}

/// When a moment is, for people who read it `now`: `in 6 min (2026-11-21T12:06:00Z)`, or `at 2026-11-21T12:00:00Z` if it has
/// come.
#[must_use]
pub fn when(time: Time, now: Time) -> String {
    let micros = time.micros().saturating_sub(now.micros());
    if micros == 0 {
        return format!("at {}", moment(time));
    }
    let seconds = micros.div_ceil(MICROS);
    let (unit, of) = COUNTDOWN_UNITS
        .into_iter()
        .find(|(_, of)| seconds >= LEAST_COUNT * of)
        .unwrap_or(SECONDS);
    let count = (seconds + of / 2) / of;
    format!("in {count} {unit} ({})", moment(time))
}

/// Whether two messages say the same but for what [`when`] counts down, of which at least half is left: whatever names a
/// moment is written again that seldom, however often it is looked at.
#[must_use]
pub fn differ_by_countdown_only(written: &str, current: &str) -> bool {
    let (mut written, mut current) = (written, current);
    loop {
        match (split_countdown(written), split_countdown(current)) {
            (None, None) => return written == current,
            (Some((before, seconds, after)), Some((now_before, now_seconds, now_after))) => {
                if before != now_before || now_seconds > seconds || now_seconds < seconds / 2 {
                    return false;
                }
                (written, current) = (after, now_after);
            }
            _ => return false,
        }
    }
}

/// The text before the first countdown, its seconds, and the text after it, which begins with the moment.
fn split_countdown(text: &str) -> Option<(&str, u64, &str)> {
    text.match_indices("in ").find_map(|(at, found)| {
        let (count, rest) = text[at + found.len()..].split_once(' ')?;
        let (unit, rest) = rest.split_once(" (")?;
        let units = COUNTDOWN_UNITS.into_iter().chain([SECONDS]);
        let (_, of) = units.into_iter().find(|(name, _)| *name == unit)?;
        let is_moment = parse_rfc3339(rest.split_once(')')?.0).is_some();
        let seconds = count.parse::<u64>().ok()?.checked_mul(of)?;
        is_moment.then_some((&text[..at], seconds, rest))
    })
}

const MICROS: u64 = 1_000_000;
/// The units of countdowns with their seconds, the longest first.
const COUNTDOWN_UNITS: [(&str, u64); 3] = [("days", 86_400), ("h", 3600), ("min", 60)];
const SECONDS: (&str, u64) = ("s", 1);
/// Less of a unit is counted in the next shorter one.
const LEAST_COUNT: u64 = 2;

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

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * MICROS)
    }

    #[test]
    fn people_read_how_long_it_takes_and_the_moment() {
        for (seconds, said) in [
            (0, "at 1970-01-01T00:00:00Z"),
            (1, "in 1 s (1970-01-01T00:00:01Z)"),
            (119, "in 119 s (1970-01-01T00:01:59Z)"),
            (120, "in 2 min (1970-01-01T00:02:00Z)"),
            (359, "in 6 min (1970-01-01T00:05:59Z)"),
            (7199, "in 120 min (1970-01-01T01:59:59Z)"),
            (7200, "in 2 h (1970-01-01T02:00:00Z)"),
            (172_800, "in 2 days (1970-01-03T00:00:00Z)"),
        ] {
            assert_eq!(when(at(seconds), at(0)), said);
        }
        assert_eq!(when(at(5), at(6)), "at 1970-01-01T00:00:05Z");
        assert_eq!(
            when(Time::from_micros(1_500_001), at(0)),
            "in 2 s (1970-01-01T00:00:02Z)"
        );
        let end_of_time = when(Time::from_micros(u64::MAX), at(0));
        assert!(end_of_time.contains("days (9999-12-30"), "{end_of_time}");
    }

    #[test]
    fn a_message_is_written_again_once_half_of_its_countdown_is_over() {
        let said = |now: u64| {
            let (first, second) = (when(at(7200), at(now)), when(at(7_200_000), at(now)));
            format!("opened in 2 steps (of 3); unlocked {first}; it expires {second}")
        };
        assert!(differ_by_countdown_only(&said(0), &said(0)));
        assert!(differ_by_countdown_only(&said(0), &said(3600)));
        assert!(!differ_by_countdown_only(&said(0), &said(3700)));
        assert!(!differ_by_countdown_only(&said(3600), &said(0)));
        assert!(!differ_by_countdown_only(&said(0), &said(7200)));
        assert!(!differ_by_countdown_only(
            &said(0),
            &said(0).replace("steps", "step")
        ));
        // Another moment.
        let other = said(0).replace("02:00:00", "02:00:01");
        assert!(!differ_by_countdown_only(&said(0), &other));
    }
}
