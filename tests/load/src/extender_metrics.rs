//! [`ExtenderMetrics`]: what the extender counts about itself.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::prometheus_text::{series, sum};

/// The extender's metrics at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExtenderMetrics(String);

impl ExtenderMetrics {
    /// Reads the metrics of the extender that serves them at a port of 127.0.0.1.
    pub(crate) async fn read(port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, text) = answer
            .split_once("\r\n\r\n")
            .context("the extender's answer is not HTTP")?;
        Ok(Self(text.to_owned()))
    }

    /// Writes of statuses, claims, gates and Events.
    pub(crate) fn writes(&self) -> f64 {
        sum(&self.0, "privatekube_writes_total")
    }

    /// What waits in all queues.
    pub(crate) fn queued(&self) -> f64 {
        sum(&self.0, "privatekube_queue_length")
    }

    /// The scheduler's requests of a verb.
    pub(crate) fn durations(&self, verb: &str) -> Durations {
        let of_verb = |suffix: &str| {
            let name = format!("privatekube_scheduler_request_duration_seconds_{suffix}");
            let mut all = series(&self.0, &name);
            all.retain(|series| series.label("verb") == verb);
            all
        };
        let first = |suffix: &str| of_verb(suffix).first().map_or(0.0, |series| series.value);
        let buckets = of_verb("bucket").into_iter().map(|series| {
            let bound = series.label("le").parse().unwrap_or(f64::INFINITY);
            (bound, series.value)
        });
        Durations {
            count: first("count"),
            seconds: first("sum"),
            buckets: buckets.collect(),
        }
    }
}

/// How long requests took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Durations {
    count: f64,
    seconds: f64,
    /// An upper bound in seconds, and the number of requests that took no longer.
    buckets: Vec<(f64, f64)>,
}

impl Durations {
    /// The requests since `before`; `None` if there were none.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        let earlier = |bound: f64| {
            let found = before
                .buckets
                .iter()
                .find(|(other, _)| other.total_cmp(&bound).is_eq());
            found.map_or(0.0, |(_, count)| *count)
        };
        let difference = Self {
            count: self.count - before.count,
            seconds: self.seconds - before.seconds,
            buckets: self
                .buckets
                .iter()
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
        };
        (difference.count > 0.0).then_some(difference)
    }

    /// The mean, in milliseconds.
    pub(crate) fn mean_ms(&self) -> f64 {
        self.seconds / self.count * 1000.0
    }

    /// The upper bound of the bucket that 99 of 100 requests are within, in milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        let enough = self.count * 0.99;
        let bucket = self.buckets.iter().find(|(_, count)| *count >= enough);
        bucket.map_or(f64::INFINITY, |(bound, _)| bound * 1000.0)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::ExtenderMetrics;

    fn metrics(count: u32, slow: u32) -> ExtenderMetrics {
        let name = "privatekube_scheduler_request_duration_seconds";
        let fast = count - slow;
        ExtenderMetrics(format!(
            "{name}_bucket{{verb=\"bind\",le=\"0.5\"}} {fast}\n{name}_bucket{{verb=\"bind\",le=\"1\"}} {count}\n\
             {name}_bucket{{verb=\"bind\",le=\"+Inf\"}} {count}\n{name}_sum{{verb=\"bind\"}} {count}\n\
             {name}_count{{verb=\"bind\"}} {count}\n{name}_count{{verb=\"filter\"}} 3\n"
        ))
    }

    #[test]
    fn durations_are_of_one_verb_and_one_span() {
        let before = metrics(50, 50).durations("bind");
        let after = metrics(150, 51).durations("bind");
        let between = after.since(&before).expect("there are requests");
        assert_eq!(between.mean_ms(), 1000.0);
        assert_eq!(between.p99_ms(), 500.0);
        assert_eq!(after.p99_ms(), 1000.0);
        assert_eq!(after.since(&after), None);
    }
}
