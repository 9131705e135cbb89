//! Faults that a test injects, and requests that it holds back.

use std::time::Duration;

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
}

/// Requests of one kind wait, unserved, while this lives; see
/// [`FakeApiServer::hold`](crate::FakeApiServer::hold).
#[derive(Debug)]
#[must_use = "requests are held back only until this is dropped"]
pub struct Hold {
    /// Nothing is ever sent: the requests wait for the end of the sender.
    _open: watch::Sender<()>,
}

/// The faults and holds that were set up.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    injected: Vec<(RequestFilter, usize, Fault)>,
    held: Vec<(RequestFilter, watch::Receiver<()>)>,
}

impl Faults {
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

    /// The first fault that is left for a request; it counts as used.
    pub(crate) fn take(&mut self, request: &LoggedRequest) -> Option<Fault> {
        let (_, times, fault) = self
            .injected
            .iter_mut()
            .find(|(filter, times, _)| *times > 0 && filter.matches(request))?;
        *times -= 1;
        Some(fault.clone())
    }

    /// The holds that a request waits for: it may go on when the senders of all are gone.
    pub(crate) fn holding(&mut self, request: &LoggedRequest) -> Vec<watch::Receiver<()>> {
        self.held.retain(|(_, open)| open.has_changed().is_ok());
        let holding = self.held.iter().filter(|(filter, _)| filter.matches(request));
        holding.map(|(_, open)| open.clone()).collect()
    }
}
