//! The bookkeepers: one for each dataset, started with the first message about the dataset.

use std::collections::HashMap;

use parking_lot::Mutex;
use privatekube_api::DatasetKey;
use privatekube_policy::ClaimId;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    bookkeeper::{Bookkeeper, ConsumeError, Message, WriterError},
    handles::Handles,
};

/// How a bookkeeper ended: the dataset, if its ledger was deleted, or an error.
type Ended = Result<DatasetKey, WriterError>;

/// The bookkeepers.
#[derive(Debug)]
pub struct Registry {
    handles: Handles,
    senders: Mutex<HashMap<DatasetKey, mpsc::UnboundedSender<Message>>>,
    tasks: tokio::sync::Mutex<JoinSet<Ended>>,
    /// Bookkeepers that [`Registry::run`] has yet to start, each with the receiver of its messages.
    unstarted: Mutex<Vec<(Bookkeeper, mpsc::UnboundedReceiver<Message>)>>,
    /// Notifies [`Registry::run`] of a new element of `unstarted`.
    wake: tokio::sync::Notify,
}

impl Registry {
    /// A registry without bookkeepers.
    pub fn new(handles: Handles) -> Self {
        Self {
            handles,
            senders: Mutex::default(),
            tasks: tokio::sync::Mutex::default(),
            unstarted: Mutex::default(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// What all parts of the extender share.
    pub const fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Opens the ledgers of `datasets` concurrently and starts their bookkeepers. A dataset whose ledger can't be
    /// opened is stopped, and its bookkeeper tries again later.
    pub async fn open(&self, datasets: Vec<DatasetKey>) -> Result<(), WriterError> {
        let mut opening = JoinSet::new();
        for dataset in datasets {
            let mut bookkeeper = Bookkeeper::new(self.handles.clone(), dataset.clone());
            opening.spawn(async move {
                let opened = bookkeeper.open_unless_deleted().await;
                opened.map(|is_needed| is_needed.then_some((dataset, bookkeeper)))
            });
        }
        while let Some(opened) = opening.join_next().await {
            // A panic while a ledger is read ends the process, as an error does.
            let opened = match opened {
                Ok(opened) => opened?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let Some((dataset, bookkeeper)) = opened else {
                continue;
            };
            let (sender, receiver) = mpsc::unbounded_channel();
            self.senders.lock().insert(dataset, sender);
            self.start(bookkeeper, receiver);
        }
        Ok(())
    }

    /// Lets [`Self::run`] start a bookkeeper.
    fn start(&self, bookkeeper: Bookkeeper, receiver: mpsc::UnboundedReceiver<Message>) {
        self.unstarted.lock().push((bookkeeper, receiver));
        self.wake.notify_one();
    }

    /// Sends a message to a dataset's bookkeeper. Starts a bookkeeper if the dataset has none, or if the last one ended
    /// because the ledger was deleted.
    pub fn send(&self, dataset: &DatasetKey, mut message: Message) {
        self.handles.metrics.queue_entered("intake", 1);
        let mut senders = self.senders.lock();
        if let Some(sender) = senders.get(dataset) {
            match sender.send(message) {
                Ok(()) => return,
                Err(unsent) => message = unsent.0,
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        self.start(Bookkeeper::new(self.handles.clone(), dataset.clone()), receiver);
        // This can't fail: the receiver is kept with the new bookkeeper.
        let _ = sender.send(message);
        senders.insert(dataset.clone(), sender);
    }

    /// Sends a message to every bookkeeper.
    pub fn send_all(&self, message: impl Fn() -> Message) {
        for sender in self.senders.lock().values() {
            self.handles.metrics.queue_entered("intake", 1);
            let _ = sender.send(message());
        }
    }

    /// Waits until every bookkeeper has handled the messages that it was sent before.
    pub async fn flush(&self) {
        let mut waiting = Vec::new();
        for sender in self.senders.lock().values() {
            let (reply, done) = oneshot::channel();
            self.handles.metrics.queue_entered("intake", 1);
            let _ = sender.send(Message::Flush(reply));
            waiting.push(done);
        }
        for done in waiting {
            let _ = done.await;
        }
    }

    /// Consumes all of a claim; returns when that is durable.
    pub async fn consume(&self, dataset: &DatasetKey, claim: &ClaimId) -> Result<(), ConsumeError> {
        let (reply, done) = oneshot::channel();
        self.send(
            dataset,
            Message::Consume {
                claim: claim.clone(),
                reply,
            },
        );
        done.await.unwrap_or(Err(ConsumeError::Closed))
    }

    /// Runs the bookkeepers until one of them returns an error or panics.
    pub async fn run(&self) -> Result<(), WriterError> {
        let mut tasks = self.tasks.lock().await;
        loop {
            let unstarted = std::mem::take(&mut *self.unstarted.lock());
            for (bookkeeper, receiver) in unstarted {
                tasks.spawn(bookkeeper.run(receiver));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(ended) = tasks.join_next() => match ended {
                    // The ledger was deleted with the dataset's namespace. Claims in other namespaces still request its
                    // budget, and messages that the bookkeeper didn't handle are lost, so all requests are sent again.
                    Ok(Ok(dataset)) => self.handles.request_again(dataset),
                    Ok(Err(error)) => return Err(error),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }
}
