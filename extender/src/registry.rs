//! The bookkeepers: one for each dataset, started with the first message about the dataset.

use std::{collections::HashMap, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use privatekube_api::DatasetKey;
use privatekube_policy::ClaimId;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tracing::error;

use crate::{
    bookkeeper::{Bookkeeper, ConsumeError, Message, Question, WriterError},
    clock,
    handles::Handles,
};

/// How a bookkeeper ended.
enum Ended {
    /// The dataset's ledger was deleted.
    Deleted(DatasetKey),
    /// Another process writes to a ledger, so this one has to end.
    Fenced(WriterError),
    /// It panicked. The receiver of its messages is left.
    Failed(DatasetKey, mpsc::UnboundedReceiver<Message>),
}

/// A bookkeeper to start, and the receiver of its messages.
struct Unstarted {
    bookkeeper: Bookkeeper,
    receiver: mpsc::UnboundedReceiver<Message>,
    /// How often bookkeepers of the dataset have panicked in a row: if ever, the dataset is stopped at first.
    failures: u32,
}

/// How often bookkeepers of a dataset have panicked in a row, and when the last one did.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// How long a bookkeeper runs without a panic until the earlier ones don't count any more.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// How many ledgers are read at the same time: a page of each is in memory.
const MOST_OPENED_AT_ONCE: usize = 4;

/// The bookkeepers.
pub struct Registry {
    handles: Handles,
    senders: Mutex<HashMap<DatasetKey, mpsc::UnboundedSender<Message>>>,
    tasks: tokio::sync::Mutex<JoinSet<Ended>>,
    /// Bookkeepers that [`Registry::run`] has yet to start.
    unstarted: Mutex<Vec<Unstarted>>,
    /// The datasets whose bookkeepers have panicked.
    failed: Mutex<HashMap<DatasetKey, Failures>>,
    /// Notifies [`Registry::run`] of a new element of `unstarted`.
    wake: tokio::sync::Notify,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry without bookkeepers.
    pub fn new(handles: Handles) -> Self {
        Self {
            handles,
            senders: Mutex::default(),
            tasks: tokio::sync::Mutex::default(),
            unstarted: Mutex::default(),
            failed: Mutex::default(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// What all parts of the extender share.
    pub const fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Opens the ledgers of `datasets`, some at a time, and starts their bookkeepers. A dataset whose ledger can't be
    /// opened is stopped, and its bookkeeper tries again later.
    pub async fn open(&self, datasets: Vec<DatasetKey>) -> Result<(), WriterError> {
        let mut opening = JoinSet::new();
        let places = Arc::new(Semaphore::new(MOST_OPENED_AT_ONCE));
        for dataset in datasets {
            let mut bookkeeper = Bookkeeper::new(self.handles.clone(), dataset.clone());
            let places = Arc::clone(&places);
            let opened = async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                let opened = Box::pin(bookkeeper.open_unless_deleted()).await;
                opened.map(|is_needed| is_needed.then_some(bookkeeper))
            };
            let opened = AssertUnwindSafe(opened).catch_unwind();
            let opened = clock::same_clock(async move { (dataset, opened.await) });
            opening.spawn_on(opened, &self.handles.bookkeepers);
        }
        while let Some(opened) = opening.join_next().await {
            let (dataset, opened) = match opened {
                Ok(opened) => opened,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            match opened {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(bookkeeper))) => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    self.senders.lock().insert(dataset, sender);
                    self.start(bookkeeper, receiver, 0);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    self.senders.lock().insert(dataset.clone(), sender);
                    self.start_again(dataset, receiver);
                }
            }
        }
        Ok(())
    }

    /// Lets [`Self::run`] start a bookkeeper.
    fn start(&self, bookkeeper: Bookkeeper, receiver: mpsc::UnboundedReceiver<Message>, failures: u32) {
        self.unstarted.lock().push(Unstarted {
            bookkeeper,
            receiver,
            failures,
        });
        self.wake.notify_one();
    }

    /// Starts another bookkeeper for a dataset whose bookkeeper panicked, with the messages that this one has left. Its state
    /// may be wrong, so everything is read again. The dataset is stopped until then, and all others go on.
    fn start_again(&self, dataset: DatasetKey, receiver: mpsc::UnboundedReceiver<Message>) {
        let failures = {
            let mut failed = self.failed.lock();
            let before = failed
                .get(&dataset)
                .filter(|before| before.last.elapsed() < FORGIVEN_AFTER);
            let count = before.map_or(1, |before| before.count.saturating_add(1));
            let last = Instant::now();
            failed.insert(dataset.clone(), Failures { count, last });
            count
        };
        error!(%dataset, failures, "the dataset's bookkeeper panicked; another one is started");
        let bookkeeper = Bookkeeper::new(self.handles.clone(), dataset);
        self.start(bookkeeper, receiver, failures);
    }

    /// Sends a message to a dataset's bookkeeper. Starts a bookkeeper if the dataset has none, or if the last one ended
    /// because the ledger was deleted.
    pub fn send(&self, dataset: &DatasetKey, mut message: Message) {
        self.handles.metrics.writers.queue_entered("intake", 1);
        let mut senders = self.senders.lock();
        if let Some(sender) = senders.get(dataset) {
            match sender.send(message) {
                Ok(()) => return,
                Err(unsent) => message = unsent.0,
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        self.start(
            Bookkeeper::new(self.handles.clone(), dataset.clone()),
            receiver,
            0,
        );
        // This can't fail: the receiver is kept with the new bookkeeper.
        let _ = sender.send(message);
        senders.insert(dataset.clone(), sender);
    }

    /// Asks a dataset's bookkeeper, if the dataset has one. Without one, the question is dropped.
    pub fn ask(&self, dataset: &DatasetKey, question: Question) {
        if let Some(sender) = self.senders.lock().get(dataset) {
            self.handles.metrics.writers.queue_entered("intake", 1);
            if sender.send(Message::Asked(question)).is_err() {
                self.handles.metrics.writers.queue_left("intake", 1);
            }
        }
    }

    /// Sends a message to every bookkeeper.
    pub fn send_all(&self, message: impl Fn() -> Message) {
        for sender in self.senders.lock().values() {
            self.handles.metrics.writers.queue_entered("intake", 1);
            let _ = sender.send(message());
        }
    }

    /// Makes this process the writer of all ledgers, which it has followed. Returns once everything that others have written was
    /// read, or can't be read at present.
    pub async fn lead(&self) {
        let mut waiting = Vec::new();
        // A bookkeeper that is made later leads from its beginning.
        for sender in self.senders.lock().values() {
            let (reply, done) = oneshot::channel();
            self.handles.metrics.writers.queue_entered("intake", 1);
            let _ = sender.send(Message::Lead(reply));
            waiting.push(done);
        }
        for done in waiting {
            let _ = done.await;
        }
    }

    /// Waits until every bookkeeper has handled the messages that it was sent before.
    pub async fn flush(&self) {
        let mut waiting = Vec::new();
        for sender in self.senders.lock().values() {
            let (reply, done) = oneshot::channel();
            self.handles.metrics.writers.queue_entered("intake", 1);
            let _ = sender.send(Message::Flush(reply));
            waiting.push(done);
        }
        for done in waiting {
            let _ = done.await;
        }
    }

    /// Consumes all of each of a dataset's `claims`, or, if one of them can't be consumed, none; returns when that is durable.
    pub async fn consume_all(&self, dataset: &DatasetKey, claims: Vec<ClaimId>) -> Result<(), ConsumeError> {
        let (reply, done) = oneshot::channel();
        self.send(dataset, Message::ConsumeAll { claims, reply });
        done.await.unwrap_or(Err(ConsumeError::Closed))
    }

    /// Runs the bookkeepers until one of them returns an error. One that panics is replaced.
    pub async fn run(&self) -> Result<(), WriterError> {
        let mut tasks = self.tasks.lock().await;
        loop {
            let unstarted = std::mem::take(&mut *self.unstarted.lock());
            for unstarted in unstarted {
                tasks.spawn_on(clock::same_clock(run(unstarted)), &self.handles.bookkeepers);
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(ended) = tasks.join_next() => match ended {
                    // The ledger was deleted with the dataset's namespace. Claims in other namespaces still request its
                    // budget, and messages that the bookkeeper didn't handle are lost, so all requests are sent again.
                    Ok(Ended::Deleted(dataset)) => self.handles.request_again(dataset),
                    Ok(Ended::Fenced(error)) => return Err(error),
                    Ok(Ended::Failed(dataset, receiver)) => self.start_again(dataset, receiver),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }
}

/// Runs a bookkeeper until it ends, also if it panics. The receiver of its messages outlives a panic: while nobody receives,
/// [`Registry::send`] would start a bookkeeper beside the one that takes over.
async fn run(unstarted: Unstarted) -> Ended {
    let Unstarted {
        bookkeeper,
        mut receiver,
        failures,
    } = unstarted;
    let dataset = bookkeeper.dataset().clone();
    let running = async {
        if failures == 0 {
            Box::pin(bookkeeper.run(&mut receiver)).await
        } else {
            Box::pin(bookkeeper.run_after_failure(&mut receiver, failures)).await
        }
    };
    // What a panic leaves half done is dropped with the bookkeeper. What it shares with others is changed in single steps.
    match Box::pin(AssertUnwindSafe(running).catch_unwind()).await {
        Ok(Ok(dataset)) => Ended::Deleted(dataset),
        Ok(Err(error)) => Ended::Fenced(error),
        Err(_) => Ended::Failed(dataset, receiver),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_api::Subject;
    use privatekube_fake_api_server::FakeApiServer;
    use serde_json::json;

    use super::*;
    use crate::{
        bookkeeper::ClaimInput,
        testing::{PANICS, claim_object, epsilon, handles, key},
    };

    #[tokio::test]
    async fn messages_that_come_after_a_panic_wait_for_the_bookkeeper_that_takes_over() {
        let server = FakeApiServer::default();
        let (sender, receiver) = mpsc::unbounded_channel();
        let object = claim_object(PANICS, &json!({"budget": epsilon("1")}));
        let input = ClaimInput {
            subject: Subject::of_object(&object).unwrap(),
            request: Arc::new(object.request().unwrap()),
            was_granted: false,
            was_denied: None,
            requester: None,
        };
        sender.send(Message::Requested(Box::new(input))).unwrap();
        let ended = run(Unstarted {
            bookkeeper: Bookkeeper::new(handles(&server).0, key()),
            receiver,
            failures: 0,
        });
        let Ended::Failed(dataset, mut receiver) = ended.await else {
            panic!("the bookkeeper panics")
        };
        assert_eq!(dataset, key());
        sender.send(Message::AllListed).unwrap();
        assert!(matches!(receiver.try_recv(), Ok(Message::AllListed)));
    }
}
