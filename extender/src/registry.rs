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

/// How a bookkeeper ended: with its dataset's ledger, or with an error.
type Ended = Result<DatasetKey, WriterError>;

/// The bookkeepers.
#[derive(Debug)]
pub struct Registry {
    handles: Handles,
    senders: Mutex<HashMap<DatasetKey, mpsc::UnboundedSender<Message>>>,
    tasks: tokio::sync::Mutex<JoinSet<Ended>>,
    /// Bookkeepers that are to be started.
    unstarted: Mutex<Vec<(Bookkeeper, mpsc::UnboundedReceiver<Message>)>>,
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

    /// Opens the ledgers that exist, all at once, and starts their bookkeepers. A dataset whose ledger can't be opened is
    /// stopped; its bookkeeper tries again.
    pub async fn open(&self, datasets: Vec<DatasetKey>) -> Result<(), WriterError> {
        let mut opening = JoinSet::new();
        for dataset in datasets {
            let mut bookkeeper = Bookkeeper::new(self.handles.clone(), dataset.clone());
            opening.spawn(async move {
                let opened = bookkeeper.open_unless_deleted().await;
                opened.map(|there| there.then_some((dataset, bookkeeper)))
            });
        }
        while let Some(opened) = opening.join_next().await {
            // A panic while a ledger is read is as final as an error.
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

    fn start(&self, bookkeeper: Bookkeeper, receiver: mpsc::UnboundedReceiver<Message>) {
        self.unstarted.lock().push((bookkeeper, receiver));
        self.wake.notify_one();
    }

    /// Sends a message to a dataset's bookkeeper. Starts one if there is none, or if it ended with its ledger.
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
        // The new bookkeeper holds the receiver.
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

    /// Waits until every bookkeeper has handled what it was sent.
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

    /// Runs the bookkeepers until one fails.
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
                    // Its claims in other namespaces wait for the dataset to be created again. Messages that were on
                    // their way to the bookkeeper are lost.
                    Ok(Ok(dataset)) => self.handles.request_again(dataset),
                    Ok(Err(error)) => return Err(error),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }
}
