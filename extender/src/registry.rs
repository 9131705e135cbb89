//! One bookkeeper for each dataset, made when the dataset is first heard of.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use privatekube_api::DatasetKey;
use privatekube_policy::ClaimId;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::bookkeeper::{Bookkeeper, BookkeeperError, Desk, Message, SpendError};

/// How a bookkeeper ended, and whose.
type Ended = Result<DatasetKey, BookkeeperError>;

/// The bookkeepers.
#[derive(Debug)]
pub struct Registry {
    desk: Desk,
    senders: Mutex<HashMap<DatasetKey, mpsc::UnboundedSender<Message>>>,
    tasks: tokio::sync::Mutex<JoinSet<Ended>>,
    /// Bookkeepers that were made and are to be started.
    made: Mutex<Vec<(Bookkeeper, mpsc::UnboundedReceiver<Message>)>>,
    wake: tokio::sync::Notify,
    /// Told whose ledger is gone.
    lost: Mutex<Option<mpsc::UnboundedSender<DatasetKey>>>,
}

impl Registry {
    /// No bookkeeper yet.
    pub fn new(desk: Desk) -> Self {
        Self {
            desk,
            senders: Mutex::default(),
            tasks: tokio::sync::Mutex::default(),
            made: Mutex::default(),
            wake: tokio::sync::Notify::new(),
            lost: Mutex::default(),
        }
    }

    /// What bookkeepers share.
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Opens the ledgers that exist, all at once, and starts their bookkeepers.
    pub async fn open(&self, datasets: Vec<DatasetKey>) -> Result<(), BookkeeperError> {
        let mut opening = JoinSet::new();
        for dataset in datasets {
            let mut bookkeeper = Bookkeeper::new(self.desk.clone(), dataset.clone());
            opening.spawn(async move {
                let opened = bookkeeper.open_if_there().await;
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
            self.senders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(dataset, sender);
            self.start(bookkeeper, receiver);
        }
        Ok(())
    }

    fn start(&self, bookkeeper: Bookkeeper, receiver: mpsc::UnboundedReceiver<Message>) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((bookkeeper, receiver));
        self.wake.notify_one();
    }

    /// Sends to a dataset's bookkeeper, who is made if there is none, or if the one there was ended with its ledger.
    pub fn send(&self, dataset: &DatasetKey, mut message: Message) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(dataset) {
            match sender.send(message) {
                Ok(()) => return,
                Err(unsent) => message = unsent.0,
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        self.start(Bookkeeper::new(self.desk.clone(), dataset.clone()), receiver);
        // Its receiver is held by the bookkeeper that was just made.
        let _ = sender.send(message);
        senders.insert(dataset.clone(), sender);
    }

    /// Sends to every bookkeeper.
    pub fn send_all(&self, message: impl Fn() -> Message) {
        for sender in self
            .senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            let _ = sender.send(message());
        }
    }

    /// The datasets whose ledgers go from now on. What their bookkeepers knew of claims is forgotten, and what they
    /// were being sent is lost.
    pub fn lost(&self) -> mpsc::UnboundedReceiver<DatasetKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Waits until every bookkeeper has done what it was sent.
    pub async fn flush(&self) {
        let mut waiting = Vec::new();
        for sender in self
            .senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            let (reply, done) = oneshot::channel();
            let _ = sender.send(Message::Flush(reply));
            waiting.push(done);
        }
        for done in waiting {
            let _ = done.await;
        }
    }

    /// Spends a claim; returns when that is durable.
    pub async fn spend(&self, dataset: &DatasetKey, claim: &ClaimId) -> Result<(), SpendError> {
        let (reply, done) = oneshot::channel();
        self.send(
            dataset,
            Message::Spend {
                claim: claim.clone(),
                reply,
            },
        );
        done.await.unwrap_or(Err(SpendError::Closed))
    }

    /// Runs the bookkeepers until one fails. One that ends without an error ended with its ledger.
    pub async fn run(&self) -> Result<(), BookkeeperError> {
        let mut tasks = self.tasks.lock().await;
        loop {
            let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
            for (bookkeeper, receiver) in made {
                tasks.spawn(bookkeeper.run(receiver));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(ended) = tasks.join_next() => match ended {
                    Ok(Ok(dataset)) => {
                        if let Some(lost) = &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
                            // Nobody listens only if the process is ending.
                            let _ = lost.send(dataset);
                        }
                    }
                    Ok(Err(error)) => return Err(error),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }
}
