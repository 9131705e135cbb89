//! A queue of keys, each worked on by one worker at a time: a key that is marked again while it waits is worked on
//! once, one that is marked while it is worked on is worked on again. What fails is tried again, later each time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    hash::Hash,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};

/// The first wait after a failure, doubled with each one more.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Marks keys.
#[derive(Debug)]
pub struct Marker<K>(UnboundedSender<K>);

impl<K> Clone for Marker<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The other end of a [`Marker`].
#[derive(Debug)]
pub struct Marked<K>(UnboundedReceiver<K>);

/// A marker and its other end.
pub fn keyed<K>() -> (Marker<K>, Marked<K>) {
    let (sender, receiver) = unbounded_channel();
    (Marker(sender), Marked(receiver))
}

impl<K> Marker<K> {
    /// Says that there is something to do for `key`.
    pub fn mark(&self, key: K) {
        // The queue is gone only when the process ends.
        let _ = self.0.send(key);
    }
}

/// What became of one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done; the next for this key may begin at once.
    Well,
    /// It is done; the next for this key may begin after this long. Coalesces what changes often.
    Rest(Duration),
    /// It failed and is tried again.
    Failed,
}

/// Works on marked keys, `most` at a time, until all markers are gone.
pub async fn work<K, W, F>(marked: Marked<K>, most: usize, mut worker: W)
where
    K: Clone + Eq + Hash,
    W: FnMut(K) -> F,
    F: Future<Output = Done>,
{
    let mut marks = marked.0;
    let mut ready: VecDeque<K> = VecDeque::new();
    let mut waiting: HashSet<K> = HashSet::new();
    let mut busy: HashSet<K> = HashSet::new();
    let mut failures: HashMap<K, u32> = HashMap::new();
    let mut running = FuturesUnordered::new();
    let mut resting = FuturesUnordered::new();
    let mut open = true;
    loop {
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
        if !open && running.is_empty() && ready.is_empty() {
            return;
        }
        tokio::select! {
            mark = marks.recv(), if open => match mark {
                Some(key) => if waiting.insert(key.clone()) { ready.push_back(key) },
                None => open = false,
            },
            Some((key, done)) = running.next() => {
                let rest = match done {
                    Done::Well => { failures.remove(&key); Duration::ZERO }
                    Done::Rest(rest) => { failures.remove(&key); rest }
                    Done::Failed => {
                        let failed = failures.entry(key.clone()).or_insert(0);
                        *failed += 1;
                        if waiting.insert(key.clone()) {
                            ready.push_back(key.clone());
                        }
                        FIRST_WAIT.saturating_mul(2_u32.saturating_pow((*failed - 1).min(16))).min(LONGEST_WAIT)
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

    #[tokio::test(start_paused = true)]
    async fn a_key_marked_often_is_worked_on_once_and_a_failure_again() {
        let (marker, marks) = keyed();
        for key in ["a", "a", "b", "a"] {
            marker.mark(key);
        }
        drop(marker);
        let worked = Rc::new(RefCell::new(Vec::new()));
        work(marks, 1, |key| {
            let worked = Rc::clone(&worked);
            async move {
                worked.borrow_mut().push(key);
                // Long enough for every mark to be seen.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let failed = key == "b" && worked.borrow().iter().filter(|key| **key == "b").count() < 3;
                if failed { Done::Failed } else { Done::Well }
            }
        })
        .await;
        let count = |key| worked.borrow().iter().filter(|worked| **worked == key).count();
        assert_eq!(count("b"), 3);
        assert_eq!(count("a"), 2, "{worked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_is_never_worked_on_twice_at_once() {
        let (marker, marks) = keyed();
        let at_work = Rc::new(RefCell::new(0_u32));
        marker.mark("a");
        let again = Rc::new(RefCell::new(Some(marker)));
        work(marks, 4, |_| {
            let (at_work, again) = (Rc::clone(&at_work), Rc::clone(&again));
            async move {
                if let Some(marker) = again.borrow_mut().take() {
                    marker.mark("a");
                }
                *at_work.borrow_mut() += 1;
                assert_eq!(*at_work.borrow(), 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                *at_work.borrow_mut() -= 1;
                Done::Rest(Duration::from_secs(1))
            }
        })
        .await;
        assert_eq!(*at_work.borrow(), 0);
    }
}
