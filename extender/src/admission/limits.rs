//! Limits on the claims of a namespace on a dataset: how many may wait, and how many may arrive within a minute. They keep a
//! namespace from filling a dataset's ledger, which everybody who claims on it shares.
//!
//! A rate limiter from a library would not do: a claim that was admitted and isn't in the view yet counts as waiting, so each
//! admission of the last minute is remembered anyway, and that states the rate, too.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use privatekube_api::{DatasetKey, counted};
use privatekube_view::ClaimCount;
use tokio::time::Instant;

/// How long an admission is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// How long the API server may take to send a pod to the webhook a second time, because another webhook has changed it.
const AGAIN: Duration = Duration::from_secs(10);
/// The most admissions that are remembered, of all namespaces and datasets. One takes 32 bytes, and as the only one of its
/// namespace some 300: 30 MB at most.
const MOST_REMEMBERED: usize = 100_000;

/// The limits, for each namespace and dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimLimits {
    /// How many claims may wait.
    pub waiting: u32,
    /// How many claims, those of pods included, may arrive within a minute.
    pub arrivals: u32,
}

/// Far above what people and controllers do, and far below what fills a ledger within a day.
impl Default for ClaimLimits {
    fn default() -> Self {
        Self {
            waiting: 10_000,
            arrivals: 600,
        }
    }
}

/// A limit that is reached. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    /// Too many claims wait.
    #[error(
        "{} of namespace {namespace} {} for budget of dataset {dataset}, or {} just been made, and more than {most} may not: \
         try again when some of them are decided, or delete some",
        counted(*waiting, "claim", "claims"),
        if *waiting == 1 { "waits" } else { "wait" },
        if *waiting == 1 { "has" } else { "have" }
    )]
    Waiting {
        namespace: String,
        dataset: DatasetKey,
        waiting: u64,
        most: u32,
    },
    /// Too many have arrived.
    #[error(
        "{} of namespace {namespace} on dataset {dataset}, those of pods included, {} made within a minute, and more may not \
         be: try again in {seconds} s",
        counted(*most, "claim", "claims"),
        if *most == 1 { "was" } else { "were" }
    )]
    Arrivals {
        namespace: String,
        dataset: DatasetKey,
        most: u32,
        seconds: u64,
    },
    /// The extender remembers as many admissions as it can.
    #[error("too many claims are made in the whole cluster: try again in {seconds} s")]
    Everywhere { seconds: u64 },
}

impl LimitReached {
    /// Every label of metrics.
    pub(crate) const LABELS: [&str; 3] = ["waiting", "arrivals", "everywhere"];

    /// The label of metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Arrivals { .. } => "arrivals",
            Self::Everywhere { .. } => "everywhere",
        }
    }
}

/// How a claim is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The claim is made if it is admitted.
    New,
    /// The claim may be one that was admitted a moment ago: the API server sends a pod again that another webhook changed.
    Perhaps,
    /// Nothing is made: a dry run.
    Dry,
}

/// An admission of the last minute.
#[derive(Debug)]
struct Admitted {
    at: Instant,
    /// How many claims of the namespace on the dataset the view had seen.
    seen: u64,
    /// Whether the API server has sent it again.
    again: bool,
}

/// Remembers what was admitted within the last minute, and refuses what goes beyond the limits.
#[derive(Debug)]
pub struct ClaimLimiter {
    limits: ClaimLimits,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    by_key: HashMap<(DatasetKey, String), VecDeque<Admitted>>,
    /// How many admissions `by_key` has.
    remembered: usize,
    swept: Instant,
}

impl ClaimLimiter {
    /// A limiter that has admitted nothing yet.
    #[must_use]
    pub fn new(limits: ClaimLimits) -> Self {
        Self {
            limits,
            recent: Mutex::new(Recent {
                by_key: HashMap::new(),
                remembered: 0,
                swept: Instant::now(),
            }),
        }
    }

    /// Admits a claim of a namespace on a dataset, and remembers that if it is made, or refuses it. `count` is how many the
    /// view has.
    pub(crate) fn admit(
        &self,
        dataset: &DatasetKey,
        namespace: &str,
        count: ClaimCount,
        attempt: Attempt,
        now: Instant,
    ) -> Result<(), LimitReached> {
        let mut recent = self.recent.lock();
        recent.sweep(now);
        let key = (dataset.clone(), namespace.to_owned());
        let dropped = recent
            .by_key
            .get_mut(&key)
            .map_or(0, |of_key| drop_old(of_key, now));
        recent.remembered -= dropped;
        if let Some(of_key) = recent.by_key.get_mut(&key) {
            let just_now = |one: &&mut Admitted| !one.again && now.duration_since(one.at) < AGAIN;
            if attempt == Attempt::Perhaps
                && let Some(first) = of_key.iter_mut().find(just_now)
            {
                first.again = true;
                return Ok(());
            }
            if of_key.len() >= self.limits.arrivals as usize
                && let Some(oldest) = of_key.front()
            {
                return Err(LimitReached::Arrivals {
                    namespace: namespace.to_owned(),
                    dataset: dataset.clone(),
                    most: self.limits.arrivals,
                    seconds: seconds_left(oldest.at, now),
                });
            }
        }
        let of_key = recent.by_key.get(&key);
        // Those that the view has seen since the first of them was admitted are in its count.
        let unseen = of_key.map_or(0, |of_key| {
            let before = of_key.front().map_or(count.seen, |first| first.seen);
            let before = if before > count.seen { 0 } else { before };
            (of_key.len() as u64).saturating_sub(count.seen - before)
        });
        let waiting = count.waiting + unseen;
        if waiting >= u64::from(self.limits.waiting) {
            return Err(LimitReached::Waiting {
                namespace: namespace.to_owned(),
                dataset: dataset.clone(),
                waiting,
                most: self.limits.waiting,
            });
        }
        if attempt == Attempt::Dry {
            return Ok(());
        }
        if recent.remembered >= MOST_REMEMBERED {
            let seconds = seconds_left(recent.swept, now);
            return Err(LimitReached::Everywhere { seconds });
        }
        recent.remembered += 1;
        recent.by_key.entry(key).or_default().push_back(Admitted {
            at: now,
            seen: count.seen,
            again: false,
        });
        Ok(())
    }
}

impl Recent {
    /// Forgets everything that is older than the window, once per window.
    fn sweep(&mut self, now: Instant) {
        if now.duration_since(self.swept) < WINDOW {
            return;
        }
        self.swept = now;
        self.by_key.retain(|_, of_key| {
            drop_old(of_key, now);
            of_key.shrink_to_fit();
            !of_key.is_empty()
        });
        self.by_key.shrink_to_fit();
        self.remembered = self.by_key.values().map(VecDeque::len).sum();
    }
}

/// Drops the admissions that are older than the window; returns how many.
fn drop_old(of_key: &mut VecDeque<Admitted>, now: Instant) -> usize {
    let old = of_key.partition_point(|one| now.duration_since(one.at) >= WINDOW);
    of_key.drain(..old).count()
}

/// The seconds, rounded up, until what happened at `at` is older than the window.
fn seconds_left(at: Instant, now: Instant) -> u64 {
    WINDOW
        .saturating_sub(now.duration_since(at))
        .as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> DatasetKey {
        DatasetKey {
            namespace: "data".to_owned(),
            name: "taxi".to_owned(),
        }
    }

    fn limiter(waiting: u32, arrivals: u32) -> ClaimLimiter {
        ClaimLimiter::new(ClaimLimits { waiting, arrivals })
    }

    const NONE: ClaimCount = ClaimCount {
        all: 0,
        waiting: 0,
        seen: 0,
    };

    #[test]
    fn arrivals_are_limited_within_a_minute_and_for_each_namespace() {
        let limiter = limiter(100, 3);
        let start = Instant::now();
        let admit = |namespace: &str, attempt, seconds| {
            let now = start + Duration::from_secs(seconds);
            limiter.admit(&dataset(), namespace, NONE, attempt, now)
        };
        for seconds in [0, 10, 20] {
            assert_eq!(admit("team", Attempt::Dry, seconds), Ok(()));
            assert_eq!(admit("team", Attempt::New, seconds), Ok(()));
        }
        let error = admit("team", Attempt::New, 25).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 claims of namespace team on dataset data/taxi, those of pods included, were made within a minute, and more may \
             not be: try again in 35 s"
        );
        assert!(admit("team", Attempt::Dry, 25).is_err());
        assert_eq!(admit("other", Attempt::New, 25), Ok(()));
        assert_eq!(admit("team", Attempt::New, 60), Ok(()));
        assert!(admit("team", Attempt::New, 61).is_err());
    }

    #[test]
    fn a_claim_that_was_admitted_counts_as_waiting_until_the_view_has_seen_it() {
        let limiter = limiter(2, 100);
        let now = Instant::now();
        let count = |waiting, seen| ClaimCount {
            all: seen,
            waiting,
            seen,
        };
        let admit = |count| limiter.admit(&dataset(), "team", count, Attempt::New, now);
        assert_eq!(admit(count(0, 7)), Ok(()));
        assert_eq!(admit(count(0, 7)), Ok(()));
        let error = admit(count(0, 7)).unwrap_err();
        assert!(
            error.to_string().starts_with("2 claims of namespace team wait"),
            "{error}"
        );
        // Both were seen and granted at once.
        assert_eq!(admit(count(0, 9)), Ok(()));
        // Both wait.
        assert!(admit(count(2, 10)).is_err());
        // All claims were forgotten meanwhile, so the view counts from the start.
        assert_eq!(admit(count(0, 3)), Ok(()));
    }

    #[test]
    fn a_pod_that_the_api_server_sends_again_is_counted_once() {
        let limiter = limiter(100, 2);
        let start = Instant::now();
        let admit = |attempt, seconds| {
            let now = start + Duration::from_secs(seconds);
            limiter.admit(&dataset(), "team", NONE, attempt, now)
        };
        assert_eq!(admit(Attempt::New, 0), Ok(()));
        assert_eq!(admit(Attempt::Perhaps, 0), Ok(()));
        // Written by hand as the webhook would have changed it.
        assert_eq!(admit(Attempt::Perhaps, 1), Ok(()));
        assert_eq!(
            admit(Attempt::Perhaps, 12),
            Err(LimitReached::Arrivals {
                namespace: "team".to_owned(),
                dataset: dataset(),
                most: 2,
                seconds: 48,
            })
        );
    }

    #[test]
    fn what_is_idle_is_forgotten_and_what_is_remembered_is_bounded() {
        let limiter = limiter(100, 2);
        let start = Instant::now();
        let admit = |number: usize, seconds| {
            let now = start + Duration::from_secs(seconds);
            limiter.admit(&dataset(), &format!("n{number}"), NONE, Attempt::New, now)
        };
        for number in 0..MOST_REMEMBERED {
            assert_eq!(admit(number, 1), Ok(()));
        }
        let error = admit(MOST_REMEMBERED, 20).unwrap_err();
        assert!(error.to_string().contains("in the whole cluster"), "{error}");
        assert_eq!(admit(0, 61), Ok(()));
        let recent = limiter.recent.lock();
        assert_eq!((recent.remembered, recent.by_key.len()), (1, 1));
    }
}
