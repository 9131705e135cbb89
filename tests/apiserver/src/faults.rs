//! Faults that a test injects, and requests that it holds back.

use std::{fmt, time::Duration};

use tokio::sync::watch;

use crate::request::{LoggedRequest, RequestFilter};

/// What happens to a request instead of the usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is answered with this HTTP status (400 to 599), and does nothing.
    Refuse(u16),
    /// The connection breaks before the request did anything.
    LoseRequest,
    /// The request is served, then the connection breaks: the client gets an error, not the answer.
    LoseReply,
    /// The request is served this much later. A client that gives up meanwhile doesn't stop it.
    Delay(Duration),
    /// The request is served, and answered this much later.
    DelayReply(Duration),
    /// The connection breaks, and the request is served this much later all the same.
    ServeLate(Duration),
    /// The request is served twice, as by a proxy that repeats what had no answer in time: the client gets the second answer.
    ServeTwice,
    /// The request is answered as if it were served, and changes nothing: a store that isn't durable.
    Forget,
    /// A creation replaces what has the name already: a store in which the last one wins.
    Overwrite,
}

/// Chooses what happens to a request; None if nothing but the usual.
pub(crate) type Chooser = Box<dyn FnMut(&LoggedRequest) -> Option<Fault> + Send>;

/// Requests of one kind wait, unserved, while this lives; see
/// [`FakeApiServer::hold`](crate::FakeApiServer::hold).
#[derive(Debug)]
#[must_use = "requests are held back only until this is dropped"]
pub struct Hold {
    /// Nothing is ever sent: the requests wait for the end of the sender.
    _open: watch::Sender<()>,
}

/// The faults and holds that were set up.
#[derive(Default)]
pub(crate) struct Faults {
    chooser: Option<Chooser>,
    injected: Vec<(RequestFilter, usize, Fault)>,
    held: Vec<(RequestFilter, watch::Receiver<()>)>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("injected", &self.injected)
            .finish_non_exhaustive()
    }
}

impl Faults {
    pub(crate) fn choose(&mut self, chooser: Option<Chooser>) {
        self.chooser = chooser;
    }

    pub(crate) fn inject(&mut self, filter: RequestFilter, times: usize, fault: Fault) {
        self.injected.push((filter, times, fault));
    }

    pub(crate) fn clear(&mut self) {
        self.injected.clear();
    }

    pub(crate) fn hold(&mut self, filter: RequestFilter) -> Hold {
        let (sender, receiver) = watch::channel(());
        self.held.push((filter, receiver));
        Hold { _open: sender }
    }

    /// The first fault that is left for a request, which counts as used; without one, what the chooser says.
    pub(crate) fn take(&mut self, request: &LoggedRequest) -> Option<Fault> {
        let injected = self
            .injected
            .iter_mut()
            .find(|(filter, times, _)| *times > 0 && filter.matches(request));
        if let Some((_, times, fault)) = injected {
            *times -= 1;
            return Some(fault.clone());
        }
        self.chooser.as_mut().and_then(|choose| choose(request))
    }

    /// The holds that a request waits for: it may go on when the senders of all are gone.
    pub(crate) fn holding(&mut self, request: &LoggedRequest) -> Vec<watch::Receiver<()>> {
        self.held.retain(|(_, open)| open.has_changed().is_ok());
        let holding = self.held.iter().filter(|(filter, _)| filter.matches(request));
        holding.map(|(_, open)| open.clone()).collect()
    }
}
