//! A work queue of keys. Each key is worked on by one worker at a time: a key that is added again while it waits is worked on
//! once; one that is added while it is worked on is worked on again. Failed work is repeated, after a longer wait each time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    hash::Hash,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use prometheus::IntGauge;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};

use crate::leadership::Leadership;

/// The first wait after a failure, doubled with each one more.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long work waits at first for the lease to be renewed.
const LEASE_WAIT: Duration = Duration::from_millis(500);

/// Adds keys to a work queue.
#[derive(Debug)]
pub struct Sender<K>(UnboundedSender<Added<K>>);

impl<K> Clone for Sender<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The keys that were added to a work queue.
#[derive(Debug)]
pub struct Receiver<K>(UnboundedReceiver<Added<K>>);

/// A key that was added, how long it waits, and whether it goes before all others.
#[derive(Debug)]
struct Added<K> {
    key: K,
    wait: Duration,
    first: bool,
}

/// The two ends of a work queue.
pub fn work_queue<K>() -> (Sender<K>, Receiver<K>) {
    let (sender, receiver) = unbounded_channel();
    (Sender(sender), Receiver(receiver))
}

impl<K> Sender<K> {
    /// Adds a key: there is work to do for it.
    pub fn add(&self, key: K) {
        // The receiver is dropped only when the process ends.
        let _ = self.0.send(Added {
            key,
            wait: Duration::ZERO,
            first: false,
        });
    }

    /// Adds a key that goes before all others, also if it waits already: somebody needs its work to be done.
    pub fn add_first(&self, key: K) {
        let _ = self.0.send(Added {
            key,
            wait: Duration::ZERO,
            first: true,
        });
    }

    /// Adds a key that waits this long, unless it is added without a wait before.
    pub fn add_after(&self, key: K, wait: Duration) {
        let _ = self.0.send(Added {
            key,
            wait,
            first: false,
        });
    }
}

/// The outcome of one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done. The next for this key may begin at once.
    Done,
    /// Done. The next for this key may begin after this long, which merges frequent changes.
    DoneUntil(Duration),
    /// Failed, to be repeated.
    Failed,
    /// Failed, to be repeated after this long, or later if it has failed often.
    FailedFor(Duration),
}

/// The outcome of work in a process that may not do it now; `None` if it may. What a follower leaves undone is for the leader, and
/// a process that becomes the leader looks at everything once more. A leader whose lease has run out tries again.
pub fn unless_leading(leadership: &Leadership) -> Option<Outcome> {
    if leadership.may_act() {
        None
    } else if leadership.leads() {
        Some(Outcome::FailedFor(LEASE_WAIT))
    } else {
        Some(Outcome::Done)
    }
}

/// Works on added keys, `most` at a time, until all senders are dropped. Reports the number of waiting keys to `depth` when
/// it changes.
pub async fn work<K, W, F>(queue: Receiver<K>, most: usize, depth: IntGauge, mut worker: W)
where
    K: Clone + Eq + Hash,
    W: FnMut(K) -> F,
    F: Future<Output = Outcome>,
{
    let mut added = queue.0;
    let mut ready: VecDeque<K> = VecDeque::new();
    let mut waiting: HashSet<K> = HashSet::new();
    let mut busy: HashSet<K> = HashSet::new();
    let mut failures: HashMap<K, u32> = HashMap::new();
    let mut running = FuturesUnordered::new();
    let mut resting = FuturesUnordered::new();
    // Keys that were added with a wait, and their ends. A key that is no longer among the first was added without one.
    let mut postponed: HashSet<K> = HashSet::new();
    let mut postponing = FuturesUnordered::new();
    let mut open = true;
    loop {
        depth.set(i64::try_from(ready.len()).unwrap_or(i64::MAX));
        while running.len() < most {
            let Some(at) = ready.iter().position(|key| !busy.contains(key)) else {
                break;
            };
            let Some(key) = ready.remove(at) else { break };
            waiting.remove(&key);
            busy.insert(key.clone());
            let work = worker(key.clone());
            running.push(async move { (key, work.await) });
        }
        if !open && running.is_empty() && ready.is_empty() && postponing.is_empty() {
            return;
        }
        tokio::select! {
            added = added.recv(), if open => match added {
                Some(Added { key, first: true, .. }) => {
                    postponed.remove(&key);
                    if !waiting.insert(key.clone()) { ready.retain(|waiting| *waiting != key) }
                    ready.push_front(key);
                }
                Some(Added { key, wait, .. }) if wait.is_zero() => {
                    postponed.remove(&key);
                    if waiting.insert(key.clone()) { ready.push_back(key) }
                }
                Some(Added { key, wait, .. }) => if postponed.insert(key.clone()) {
                    let end = Instant::now() + wait;
                    postponing.push(async move { sleep_until(end).await; key });
                },
                None => open = false,
            },
            Some(key) = postponing.next() => if postponed.remove(&key) && waiting.insert(key.clone()) {
                ready.push_back(key);
            },
            Some((key, done)) = running.next() => {
                let shortest = if let Outcome::FailedFor(shortest) = done { shortest } else { Duration::ZERO };
                let rest = match done {
                    Outcome::Done => { failures.remove(&key); Duration::ZERO }
                    Outcome::DoneUntil(rest) => { failures.remove(&key); rest }
                    Outcome::Failed | Outcome::FailedFor(_) => {
                        let failed = failures.entry(key.clone()).or_insert(0);
                        *failed += 1;
                        if waiting.insert(key.clone()) {
                            ready.push_back(key.clone());
                        }
                        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow((*failed - 1).min(16)));
                        wait.min(LONGEST_WAIT).max(shortest)
                    }
                };
                if rest.is_zero() {
                    busy.remove(&key);
                } else {
                    let end = Instant::now() + rest;
                    resting.push(async move { sleep_until(end).await; key });
                }
            },
            Some(key) = resting.next() => { busy.remove(&key); },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    fn depth() -> IntGauge {
        IntGauge::new("depth", "how many keys wait").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_often_is_worked_on_once_and_failed_work_is_repeated() {
        let (sender, receiver) = work_queue();
        for key in ["a", "a", "b", "a"] {
            sender.add(key);
        }
        drop(sender);
        let worked = Rc::new(RefCell::new(Vec::new()));
        work(receiver, 1, depth(), |key| {
            let worked = Rc::clone(&worked);
            async move {
                worked.borrow_mut().push(key);
                // Long enough for every added key to be received.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let failed = key == "b" && worked.borrow().iter().filter(|key| **key == "b").count() < 3;
                if failed { Outcome::Failed } else { Outcome::Done }
            }
        })
        .await;
        let count = |key| worked.borrow().iter().filter(|worked| **worked == key).count();
        assert_eq!(count("b"), 3);
        assert_eq!(count("a"), 2, "{worked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn failed_work_rests_as_long_as_it_says_at_least() {
        let (sender, receiver) = work_queue();
        sender.add("a");
        drop(sender);
        let began = Instant::now();
        let worked = Rc::new(RefCell::new(Vec::new()));
        work(receiver, 1, depth(), |_| {
            worked.borrow_mut().push(began.elapsed().as_secs());
            let outcome = if worked.borrow().len() < 3 {
                Outcome::FailedFor(Duration::from_secs(100))
            } else {
                Outcome::Done
            };
            async move { outcome }
        })
        .await;
        assert_eq!(*worked.borrow(), [0, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_is_never_worked_on_twice_at_once() {
        let (sender, receiver) = work_queue();
        let at_work = Rc::new(RefCell::new(0_u32));
        sender.add("a");
        let again = Rc::new(RefCell::new(Some(sender)));
        work(receiver, 4, depth(), |_| {
            let (at_work, again) = (Rc::clone(&at_work), Rc::clone(&again));
            async move {
                if let Some(sender) = again.borrow_mut().take() {
                    sender.add("a");
                }
                *at_work.borrow_mut() += 1;
                assert_eq!(*at_work.borrow(), 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                *at_work.borrow_mut() -= 1;
                Outcome::DoneUntil(Duration::from_secs(1))
            }
        })
        .await;
        assert_eq!(*at_work.borrow(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_waits_is_worked_on_once_and_earlier_if_it_is_added_again() {
        let (sender, receiver) = work_queue();
        for key in ["late", "early"] {
            sender.add_after(key, Duration::from_secs(1));
        }
        sender.add("early");
        drop(sender);
        let began = Instant::now();
        let worked = Rc::new(RefCell::new(Vec::new()));
        work(receiver, 1, depth(), |key| {
            worked.borrow_mut().push((key, began.elapsed()));
            async { Outcome::Done }
        })
        .await;
        assert_eq!(
            *worked.borrow(),
            [("early", Duration::ZERO), ("late", Duration::from_secs(1))]
        );
    }
}
