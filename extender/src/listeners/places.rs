//! The places of one port: how many connections it has at most, how much memory their bodies take at most, and which
//! connection has to go when somebody else needs its place.
//!
//! A connection that waits for its client (for a handshake, a request, a body, or between two requests) is quiet. When there
//! is no place, or no memory, the one that has been quiet for longest is closed, so that nobody can hold a port by being
//! slow. A connection whose request is being answered is never closed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::Limits;

/// How much memory a permit of [`Places::memory`] stands for. Each body takes one at least, which bounds their number, too.
pub(super) const UNIT: usize = 128 << 10;

/// The places of one port.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    connections: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    quiet: Mutex<BTreeMap<Rank, Arc<Notify>>>,
    next: AtomicU64,
}

/// The order in which quiet connections are closed: those whose client has proven itself come last, and otherwise the one
/// that has been quiet for longest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_proven: bool,
    since: Instant,
    id: u64,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            memory: Arc::new(Semaphore::new(limits.bodies_bytes.div_ceil(UNIT))),
            quiet: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// The limits of the port.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A place for a new connection. Waits while all are taken by connections that can't be closed yet.
    pub(super) async fn enter(self: &Arc<Self>) -> Result<Place, AcquireError> {
        let permit = self.take(&self.connections, 1).await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            places: Arc::clone(self),
            closed: Arc::default(),
            state: Mutex::new(State {
                rank: Rank {
                    is_proven: false,
                    since: Instant::now(),
                    id,
                },
                has_requested: false,
                requests: 0,
            }),
            _permit: permit,
        };
        place.rank(&place.state());
        Ok(place)
    }

    /// Takes permits, at the cost of the connections that have been quiet for longest if there are none.
    async fn take(&self, from: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        loop {
            if let Ok(permit) = Arc::clone(from).try_acquire_many_owned(count) {
                return Ok(permit);
            }
            let patience = self.close_quietest().unwrap_or(self.limits.patience);
            let permit = timeout(patience, Arc::clone(from).acquire_many_owned(count));
            if let Ok(permit) = permit.await {
                return permit;
            }
        }
    }

    /// Closes the connection that has been quiet for longest, if that is long enough; returns how long it is until then if it
    /// isn't.
    fn close_quietest(&self) -> Option<Duration> {
        let mut quiet = self.quiet();
        let (rank, _) = quiet.first_key_value()?;
        let remaining = self.limits.patience.saturating_sub(rank.since.elapsed());
        if !remaining.is_zero() {
            return Some(remaining);
        }
        let (_, closed) = quiet.pop_first()?;
        closed.notify_one();
        None
    }

    fn quiet(&self) -> MutexGuard<'_, BTreeMap<Rank, Arc<Notify>>> {
        self.quiet.lock()
    }
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    closed: Arc<Notify>,
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct State {
    rank: Rank,
    /// Whether the head of a request has arrived.
    has_requested: bool,
    /// The number of requests that are being answered.
    requests: usize,
}

impl Place {
    /// The limits of the port.
    pub(super) fn limits(&self) -> &Limits {
        self.places.limits()
    }

    /// Notes that the client has proven itself by its certificate.
    pub(super) fn proven(&self) {
        self.change(|state| state.rank.is_proven = true);
    }

    /// Notes that the head of a request has arrived.
    pub(super) fn requested(&self) {
        self.change(|state| {
            state.has_requested = true;
            state.rank.since = Instant::now();
        });
    }

    /// Notes that a request is being answered, until the guard is dropped.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.change(|state| state.requests += 1);
        Answering(self)
    }

    /// Memory for so many more bytes of a body.
    pub(super) async fn memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        self.places.take(&self.places.memory, units).await
    }

    /// Waits until the connection has to be closed: somebody else needs its place, or it has been quiet for too long.
    pub(super) async fn is_over(&self) {
        tokio::select! {
            () = self.closed.notified() => {}
            () = self.is_quiet_for_too_long() => {}
        }
    }

    async fn is_quiet_for_too_long(&self) {
        let limits = self.limits();
        // What it is allowed changes with what it does meanwhile, so the deadline may come earlier than it seemed.
        let step = limits.first_request.min(limits.idle);
        loop {
            let now = Instant::now();
            let deadline = {
                let state = self.state();
                match (state.requests, state.has_requested) {
                    (0, false) => state.rank.since + limits.first_request,
                    (0, true) => state.rank.since + limits.idle,
                    (_, _) => now + step,
                }
            };
            if deadline <= now {
                return;
            }
            sleep_until(deadline.min(now + step)).await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let was_listed = self.places.quiet().remove(&state.rank).is_some();
        let was_quiet = state.requests == 0;
        change(&mut state);
        // A connection that was closed is not listed again.
        if was_listed || !was_quiet {
            self.rank(&state);
        }
    }

    /// Lists the connection if it is quiet.
    fn rank(&self, state: &State) {
        if state.requests == 0 {
            self.places.quiet().insert(state.rank, Arc::clone(&self.closed));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let rank = self.state.get_mut().rank;
        self.places.quiet().remove(&rank);
    }
}

/// Says that a request is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Place);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.requests = state.requests.saturating_sub(1);
            state.rank.since = Instant::now();
        });
    }
}
