//! [`Restart`]: when an extender that ended by itself is started again.

use std::time::Duration;

use tokio::time::Instant;

use crate::part::Part;

/// When the extender is started again that ended by itself: as a Deployment would, after a pause that grows. The cluster
/// of a test ends instead.
pub(crate) struct Restart {
    is_on: bool,
    at: Option<Instant>,
    began: Option<Instant>,
    pause: Duration,
}

impl Restart {
    /// The pause after the first end, and the longest one.
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// Nothing is planned; nothing ever will be unless it `is_on`.
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            at: None,
            began: None,
            pause: Self::FIRST,
        }
    }

    /// Plans to start a part that has ended; `false` if it isn't started again.
    pub(crate) fn plan(&mut self, part: Part) -> bool {
        if part != Part::Extender || !self.is_on {
            return false;
        }
        let now = Instant::now();
        if self.began.is_none_or(|began| now - began > Self::LONGEST) {
            self.pause = Self::FIRST;
        }
        self.at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(Self::LONGEST);
        true
    }

    /// Waits until it is time; for ever if nothing is planned.
    pub(crate) async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// The extender is started now.
    pub(crate) fn begin(&mut self) {
        self.at = None;
        self.began = Some(Instant::now());
    }

    /// Forgets what is planned: a request decides what happens to the extender.
    pub(crate) fn cancel(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_grows_while_the_extender_ends_soon_and_only_the_extender_is_started_again() {
        let mut restart = Restart::new(true);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(restart.plan(Part::Extender));
            let before = Instant::now();
            restart.due().await;
            pauses.push(before.elapsed().as_secs());
            restart.begin();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(restart.plan(Part::Extender));
        let before = Instant::now();
        restart.due().await;
        assert_eq!(before.elapsed().as_secs(), 1);

        assert!(!restart.plan(Part::KubeScheduler));
        assert!(!Restart::new(false).plan(Part::Extender));
    }
}
