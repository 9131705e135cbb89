//! The API server's clock, which the writer of a ledger compares its own with.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client};
use privatekube_policy::Time;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::post_params;

/// How often the clock is read.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The API server's clock, as it was read last. Between two readings this machine's monotonic clock goes on, which no change
/// of the wall clock moves.
#[derive(Debug)]
pub struct ServerClock(watch::Sender<Option<(Time, Instant)>>);

impl Default for ServerClock {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl ServerClock {
    /// What the clock shows now; `None` if it was never read.
    #[must_use]
    pub fn now(&self) -> Option<Time> {
        let (read, at) = (*self.0.borrow())?;
        let since = u64::try_from(at.elapsed().as_micros()).ok()?;
        Some(Time::from_micros(read.micros().checked_add(since)?))
    }

    /// Sets what the clock shows now.
    pub fn set(&self, time: Time) {
        self.0.send_replace(Some((time, Instant::now())));
    }

    /// Reads the clock once. The server dates the answer to the question who we are, which every user may ask, and which stores
    /// nothing.
    ///
    /// # Errors
    /// The request failed; what was read before stays.
    pub async fn read(&self, client: &Client) -> Result<(), kube::Error> {
        let api: Api<SelfSubjectReview> = Api::all(client.clone());
        let answer = api.create(&post_params(), &SelfSubjectReview::default()).await?;
        let created = answer.metadata.creation_timestamp;
        let micros = created.map(|time| time.0.as_microsecond());
        if let Some(micros) = micros.and_then(|micros| u64::try_from(micros).ok()) {
            self.set(Time::from_micros(micros));
        }
        Ok(())
    }

    /// Reads the clock for ever.
    pub async fn follow(&self, client: Client) {
        loop {
            if let Err(error) = self.read(&client).await {
                debug!(%error, "the API server's clock can't be read");
            }
            sleep(READ_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_goes_on_between_two_readings() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        clock.set(Time::from_micros(1_000_000));
        sleep(Duration::from_secs(5)).await;
        let seconds = clock.now().map(|time| time.micros() / 1_000_000);
        assert_eq!(seconds, Some(6));
    }
}
