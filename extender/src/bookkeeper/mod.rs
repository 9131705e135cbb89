//! One dataset's bookkeeper: the only one who writes to its ledger.
//!
//! Everything that happens to a dataset comes to it as a [`Message`]. It gathers what came while the last round was
//! being written, makes events of it ([`matching`]), commits them as one round, and then, and only then, tells what
//! was decided ([`telling`]).

mod accounts;
mod explain;
mod matching;
mod outside;
mod shown;
mod telling;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::ListParams};
use privatekube_api::{
    AmountRequest, ClaimRequest, DatasetKey, Dimensions, PrivateDataBlock, PrivateDataset,
};
use privatekube_ledger::{ApplyError, CommitError, Committed, Ledger, OpenError, Poisoned, Store};
use privatekube_policy::{Amount, BlockId, ClaimId, Event, Phase, Setting, Time};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

pub(crate) use telling::phase_reason;

use crate::{
    clock,
    kubernetes_store::KubernetesStore,
    metrics::Metrics,
    pods::Pods,
    subject::{Subject, SubjectKind},
    view::View,
    writers::{Announcer, Gates, StatusKey, Statuses},
};

/// Messages that are taken together at most.
const MOST_MESSAGES: usize = 4096;
/// The first wait for an API server that does not answer, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the reasons of waiting claims are looked at again.
const EXPLAIN_EVERY: Duration = Duration::from_secs(1);
/// Waiting claims whose reason is looked at each time.
const MOST_EXPLAINED: usize = 200;

/// What bookkeepers share.
#[derive(Clone)]
pub struct Desk {
    /// The API server.
    pub client: Client,
    /// What is committed.
    pub view: Arc<View>,
    /// The managed pods.
    pub pods: Arc<Pods>,
    /// Statuses to write.
    pub statuses: Statuses,
    /// Pods to let go.
    pub gates: Gates,
    /// Events to write.
    pub announcer: Announcer,
    /// What is measured.
    pub metrics: Metrics,
    /// The rules of datasets that have no object.
    pub defaults: Setting,
    /// Who writes, for the ledger.
    pub writer: String,
    /// Blocks of a dataset that have metrics of their own, at most.
    pub most_blocks_measured: usize,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// Whether the pod or the claim object that a claim in the ledger is for exists.
    fn exists(&self, id: &ClaimId) -> bool {
        let Some(subject) = Subject::of(id) else {
            return false;
        };
        match subject.kind {
            SubjectKind::Claim => self.view.named(&subject.namespace, &subject.name).as_ref() == Some(id),
            SubjectKind::Pod => {
                let pod = self.pods.get(&(subject.namespace, subject.name));
                pod.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(&subject.uid))
            }
        }
    }
}

/// Something that happens to a dataset.
#[derive(Debug)]
pub enum Message {
    /// A block's object is there, or was changed.
    Block(Arc<PrivateDataBlock>),
    /// A block's object is gone.
    BlockGone(String),
    /// The dataset's object is there, or was changed.
    Dataset(Arc<PrivateDataset>),
    /// The dataset's object is gone.
    DatasetGone,
    /// Somebody asks.
    Claim {
        /// Who.
        subject: Subject,
        /// What.
        request: Arc<ClaimRequest>,
    },
    /// Who asked is gone.
    Withdraw(ClaimId),
    /// What a claim was consumed for provably never ran.
    NeverRan(ClaimId),
    /// A claim is spent, because its pod is about to run. The answer comes when that is durable.
    Spend {
        /// The claim.
        claim: ClaimId,
        /// Told how it ended.
        reply: oneshot::Sender<Result<(), SpendError>>,
    },
    /// A claim's object says how much of it is to be consumed or released, in all.
    Use {
        /// The claim.
        claim: ClaimId,
        /// Which of the two.
        kind: UseKind,
        /// How much.
        amount: AmountRequest,
    },
    /// Every object that exists was sent: what the ledger knows and nobody sent is gone.
    AllSeen,
    /// Tells when everything that was sent before is done.
    Flush(oneshot::Sender<()>),
}

/// Which use an object's spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    /// Spending.
    Consume,
    /// Giving back.
    Release,
}

/// Why a claim was not spent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpendError {
    /// It can't be.
    #[error("{0}")]
    Refused(String),
    /// The bookkeeper is gone.
    #[error("the ledger is not open")]
    Closed,
}

/// Why a bookkeeper ended. The process ends with it, and the next one reads what is true from the ledger.
#[derive(Debug, Error)]
pub enum BookkeeperError {
    /// The ledger could not be read.
    #[error("the ledger of {0} can't be opened: {1}")]
    Open(DatasetKey, Box<OpenError>),
    /// The ledger could not be written.
    #[error("the ledger of {0}: {1}")]
    Commit(DatasetKey, Box<CommitError>),
    /// Somebody deleted the last entry.
    #[error("the ledger of {0} lacks its last entry, {1}: it was deleted")]
    Lost(DatasetKey, u64),
    /// The ledger was lost midway.
    #[error("the ledger of {0}: {1}")]
    Poisoned(DatasetKey, Poisoned),
}

/// A block's object, as far as matching and telling need it.
#[derive(Clone, Debug)]
struct KnownBlock {
    object: Arc<PrivateDataBlock>,
    dimensions: Dimensions,
    /// Why it isn't in the ledger, if it can't be.
    problem: Option<String>,
    /// Whether it has metrics of its own.
    measured: bool,
}

/// Who asked what; kept as long as it may have to be matched again.
#[derive(Clone, Debug)]
struct Asked {
    subject: Subject,
    request: Arc<ClaimRequest>,
}

/// One dataset's bookkeeper.
#[derive(Debug)]
pub struct Bookkeeper {
    desk: Desk,
    dataset: DatasetKey,
    ledger: Option<Ledger<KubernetesStore>>,
    /// The dataset's object, if it has one.
    object: Option<Arc<PrivateDataset>>,
    blocks: BTreeMap<String, KnownBlock>,
    /// Whether the ledger may lack blocks that exist.
    blocks_changed: bool,
    /// What was asked and isn't in the ledger yet, in the order in which it came.
    fresh: Vec<Asked>,
    /// What waits in the ledger for more blocks, in the order in which it came.
    unmatched: Vec<Asked>,
    /// The claims that wait.
    waiting: BTreeSet<ClaimId>,
    /// The last of them whose reason was looked at, if there are more.
    explained: Option<ClaimId>,
    /// How many claims are in each phase.
    phases: HashMap<Phase, i64>,
    /// The phase of each claim that was told last.
    known_phases: HashMap<ClaimId, Phase>,
}

/// An event that is about to be written, and whom it concerns.
struct Pending {
    event: Event,
    reply: Option<oneshot::Sender<Result<(), SpendError>>>,
}

impl From<Event> for Pending {
    fn from(event: Event) -> Self {
        Self { event, reply: None }
    }
}

impl Bookkeeper {
    /// The bookkeeper of a dataset. Its ledger is opened when there is anything to write or to read.
    pub fn new(desk: Desk, dataset: DatasetKey) -> Self {
        Self {
            desk,
            dataset,
            ledger: None,
            object: None,
            blocks: BTreeMap::new(),
            blocks_changed: false,
            fresh: Vec::new(),
            unmatched: Vec::new(),
            waiting: BTreeSet::new(),
            explained: None,
            phases: HashMap::new(),
            known_phases: HashMap::new(),
        }
    }

    /// Reads the ledger and tells what it says; says whether it is open. A ledger that is going with its namespace
    /// isn't.
    pub async fn open_if_there(&mut self) -> Result<bool, BookkeeperError> {
        match self.open().await {
            Ok(()) => Ok(true),
            Err(error) if self.is_going().await => {
                self.forget_everything(&error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn open(&mut self) -> Result<(), BookkeeperError> {
        self.object = self.read_object().await.map(Arc::new);
        let asked = self.object.as_ref().map(|object| object.spec.setting());
        let (setting, problem) = match asked {
            None => (self.desk.defaults.clone(), None),
            Some(Ok(setting)) => (setting, None),
            // Only a ledger that began with other rules is opened.
            Some(Err(problem)) => (self.desk.defaults.clone(), Some(problem)),
        };
        let store = KubernetesStore::new(self.desk.client.clone(), self.dataset.clone());
        let began = Instant::now();
        let ledger = Ledger::open(store, self.desk.writer.clone(), setting)
            .await
            .map_err(|error| BookkeeperError::Open(self.dataset.clone(), Box::new(error)))?;
        if let Some(problem) = problem.filter(|_| ledger.head().sequence == 0) {
            // Admission lets no such object in. Begun with the defaults, the ledger would have them for ever.
            warn!(dataset = %self.dataset, %problem, "no ledger begins with rules that make no sense");
            return self.tell_dataset();
        }
        info!(
            dataset = %self.dataset,
            sequence = ledger.head().sequence,
            took = ?began.elapsed(),
            "the ledger is open"
        );
        self.ledger = Some(ledger);
        // Grants name their blocks' data sources.
        for block in self.list_blocks().await {
            self.know(Arc::new(block));
        }
        self.tell_everything()
    }

    /// Works until nobody can send any more.
    pub async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
    ) -> Result<(), BookkeeperError> {
        let mut batch = Vec::new();
        let mut explain = tokio::time::interval(EXPLAIN_EVERY);
        explain.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next_step = self.next_step()?;
            tokio::select! {
                taken = messages.recv_many(&mut batch, MOST_MESSAGES) => if taken == 0 { return Ok(()) },
                () = wait_until(next_step) => {}
                _ = explain.tick() => { self.explain_some()?; continue }
            }
            if let Err(error) = self.take(std::mem::take(&mut batch)).await {
                return if self.is_going().await {
                    self.forget_everything(&error);
                    Ok(())
                } else {
                    Err(error)
                };
            }
        }
    }

    /// Whether the dataset's namespace is being deleted or gone, and the ledger with it.
    async fn is_going(&self) -> bool {
        let api: Api<Namespace> = Api::all(self.desk.client.clone());
        let namespace = self
            .patiently("the namespace", || api.get_opt(&self.dataset.namespace))
            .await;
        namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// The ledger goes with its namespace: nothing of it is true any more. Should the namespace be made again, its
    /// datasets begin anew.
    fn forget_everything(&self, error: &BookkeeperError) {
        info!(dataset = %self.dataset, %error, "the ledger goes with its namespace");
        for claim in self.known_phases.keys() {
            self.desk.view.forget_claim(claim);
        }
        for block in self.blocks.keys() {
            self.desk
                .view
                .forget_block(&(self.dataset.clone(), block.clone()));
        }
        self.desk.view.forget_dataset(&self.dataset);
    }

    fn next_step(&self) -> Result<Option<Time>, BookkeeperError> {
        match &self.ledger {
            None => Ok(None),
            Some(ledger) => Ok(ledger.engine().map_err(|error| self.poisoned(error))?.next_step()),
        }
    }

    fn poisoned(&self, error: Poisoned) -> BookkeeperError {
        BookkeeperError::Poisoned(self.dataset.clone(), error)
    }

    /// Takes messages that came together.
    async fn take(&mut self, batch: Vec<Message>) -> Result<(), BookkeeperError> {
        if batch
            .iter()
            .any(|message| matches!(message, Message::Claim { .. }))
        {
            self.look().await?;
        }
        if self.ledger.is_none() && self.may_open(&batch).await {
            self.open().await?;
        }
        let mut flushed = Vec::new();
        let mut pending: Vec<Pending> = Vec::new();
        for message in batch {
            match message {
                Message::Block(object) => self.know(object),
                Message::BlockGone(name) => pending.extend(self.forget(&name)?),
                Message::Dataset(object) => self.know_dataset(object)?,
                Message::DatasetGone => self.check_ledger().await?,
                Message::Claim { subject, request } => self.ask(Asked { subject, request })?,
                Message::Withdraw(claim) => pending.extend(self.withdraw(claim)?),
                Message::NeverRan(claim) => pending.extend(self.never_ran(claim)?),
                Message::Spend { claim, reply } => pending.push(Pending {
                    event: Event::Consume {
                        claim,
                        amount: Amount::All,
                    },
                    reply: Some(reply),
                }),
                Message::Use { claim, kind, amount } => pending.extend(self.use_of(&claim, kind, &amount)?),
                Message::AllSeen => pending.extend(self.end_what_is_gone()?),
                Message::Flush(reply) => flushed.push(reply),
            }
        }
        pending.extend(self.match_all(&pending)?);
        self.commit(pending).await?;
        for reply in flushed {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
        }
        Ok(())
    }

    /// The dataset's object is gone. If that is because its namespace is, and nothing else happens, only the missing
    /// ledger tells.
    async fn check_ledger(&mut self) -> Result<(), BookkeeperError> {
        self.object = None;
        if self.ledger.is_none() {
            self.desk.view.forget_dataset(&self.dataset);
        }
        let Some(ledger) = self.ledger.as_ref().filter(|ledger| ledger.head().sequence > 0) else {
            return Ok(());
        };
        let store = KubernetesStore::new(self.desk.client.clone(), self.dataset.clone());
        match store.read(ledger.head().sequence).await {
            Ok(None) => Err(BookkeeperError::Lost(self.dataset.clone(), ledger.head().sequence)),
            Ok(Some(_)) => Ok(()),
            Err(error) => {
                warn!(dataset = %self.dataset, %error, "whether the ledger is still there is unknown");
                Ok(())
            }
        }
    }

    /// Whether there is anything to open the ledger for: a block, or the dataset's object.
    async fn may_open(&self, batch: &[Message]) -> bool {
        let known = !self.blocks.is_empty()
            || self.object.is_some()
            || batch
                .iter()
                .any(|message| matches!(message, Message::Block(_) | Message::Dataset(_)));
        if known {
            return true;
        }
        let asked = batch
            .iter()
            .any(|message| matches!(message, Message::Claim { .. }));
        asked && self.read_object().await.is_some()
    }

    async fn read_object(&self) -> Option<PrivateDataset> {
        let api: Api<PrivateDataset> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        self.patiently("the dataset", || api.get_opt(&self.dataset.name))
            .await
    }

    /// What was there before somebody asked must be seen before it is matched and weighed: the watch may be behind.
    async fn look(&mut self) -> Result<(), BookkeeperError> {
        let (object, blocks) = tokio::join!(self.read_object(), self.list_blocks());
        for block in blocks {
            self.know(Arc::new(block));
        }
        match object {
            None => self.object = None,
            Some(object) => self.know_dataset(Arc::new(object))?,
        }
        Ok(())
    }

    /// Every block of the dataset as it is now.
    async fn list_blocks(&self) -> Vec<PrivateDataBlock> {
        let api: Api<PrivateDataBlock> = Api::namespaced(self.desk.client.clone(), &self.dataset.namespace);
        let params = ListParams::default().fields(&format!("spec.dataset={}", self.dataset.name));
        self.patiently("the blocks", || api.list(&params)).await.items
    }

    /// Asks until the API server answers: nothing can be decided without it, and everything can wait.
    async fn patiently<T, F>(&self, what: &str, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    warn!(dataset = %self.dataset, %error, ?pause, "{what} can't be read, asking again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes what is pending, as many rounds as it takes, and tells what was decided.
    async fn commit(&mut self, pending: Vec<Pending>) -> Result<(), BookkeeperError> {
        let mut pending = VecDeque::from(pending);
        loop {
            let Some(ledger) = &mut self.ledger else {
                for Pending { reply, event } in pending {
                    debug!(dataset = %self.dataset, ?event, "nothing is known of the dataset yet");
                    if let Some(reply) = reply {
                        let _ = reply.send(Err(SpendError::Closed));
                    }
                }
                return Ok(());
            };
            let began = Instant::now();
            let mut round = ledger
                .round(clock::now())
                .map_err(|error| BookkeeperError::Poisoned(self.dataset.clone(), error))?;
            let mut replies = Vec::new();
            let mut refused = Vec::new();
            let mut applied = 0;
            while !round.is_full() {
                let Some(Pending { event, reply }) = pending.pop_front() else {
                    break;
                };
                match round.apply(event.clone()) {
                    Ok(_) => {
                        applied += 1;
                        replies.extend(reply);
                    }
                    Err(ApplyError::Full) => {
                        pending.push_front(Pending { event, reply });
                        break;
                    }
                    Err(error) => match reply {
                        Some(reply) => {
                            let _ = reply.send(Err(SpendError::Refused(error.to_string())));
                        }
                        None => refused.push((event, error.to_string())),
                    },
                }
            }
            let wrote = !round.is_empty();
            let committed = round
                .commit()
                .await
                .map_err(|error| BookkeeperError::Commit(self.dataset.clone(), Box::new(error)))?;
            if wrote {
                self.measure(&committed, applied, began.elapsed());
                self.tell(&committed)?;
            }
            for (event, problem) in refused {
                self.tell_refused(&event, &problem)?;
            }
            for reply in replies {
                let _ = reply.send(Ok(()));
            }
            if pending.is_empty() {
                return Ok(());
            }
        }
    }

    fn measure(&self, committed: &Committed, events: usize, took: Duration) {
        let labels = [self.dataset.namespace.as_str(), self.dataset.name.as_str()];
        let metrics = &self.desk.metrics;
        metrics.rounds.with_label_values(&labels).inc();
        metrics.events.with_label_values(&labels).inc_by(events as u64);
        metrics
            .commit_seconds
            .with_label_values(&labels)
            .observe(took.as_secs_f64());
        metrics
            .sequence
            .with_label_values(&labels)
            .set(i64::try_from(committed.sequence).unwrap_or(i64::MAX));
    }

    fn write_status(&self, key: StatusKey) {
        self.desk.statuses.write(key);
    }

    fn block_key(&self, block: &BlockId) -> (DatasetKey, String) {
        (self.dataset.clone(), block.as_str().to_owned())
    }
}

async fn wait_until(time: Option<Time>) {
    match time {
        Some(time) => tokio::time::sleep(clock::until(time)).await,
        None => std::future::pending().await,
    }
}
