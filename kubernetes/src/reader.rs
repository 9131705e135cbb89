//! Reads a dataset's objects from the API server as they are now, for decisions for which a watch may be behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use privatekube_api::{DatasetKey, LABEL_DATASET, PrivacyLedgerEntry, PrivateDataBlock, PrivateDataset};
use tracing::warn;

/// The first wait before a read is repeated, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many objects are listed in one request.
const PAGE: u32 = 500;
/// How long a watch may take that is a list.
const WATCH_SECONDS: u32 = 60;
/// The annotation of the bookmark after the objects that existed when a watch began.
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// A dataset's objects as the API server had them when it was asked.
#[derive(Clone, Debug, Default)]
pub struct CurrentObjects {
    /// The PrivateDataset, if there is one.
    pub dataset: Option<Arc<PrivateDataset>>,
    /// Every block, in the order of names; `None` if the namespace has as many as the caller knows.
    pub blocks: Option<Vec<Arc<PrivateDataBlock>>>,
}

/// A namespace that exists. One that is deleted and created again is another one.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceIdentity {
    /// Its UID.
    pub uid: String,
    /// When it was created.
    pub created: Option<meta::v1::Time>,
}

/// Reads the objects of one dataset. Each method repeats its request until the API server answers: nothing can be decided
/// without the answer, and everything can wait for it.
#[derive(Clone)]
pub struct DatasetReader {
    client: Client,
    dataset: DatasetKey,
}

impl std::fmt::Debug for DatasetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DatasetReader").field(&self.dataset).finish()
    }
}

impl DatasetReader {
    /// A reader of `dataset`'s objects.
    #[must_use]
    pub const fn new(client: Client, dataset: DatasetKey) -> Self {
        Self { client, dataset }
    }

    /// The PrivateDataset, and every block unless the namespace has `known` blocks of all datasets together. Counting
    /// blocks costs the API server the same however many there are, and reading them doesn't.
    pub async fn read_if_not(&self, known: usize) -> CurrentObjects {
        let (dataset, count) = tokio::join!(self.dataset(), self.block_count());
        let blocks = if count == Some(known) {
            None
        } else {
            Some(self.blocks().await)
        };
        CurrentObjects { dataset, blocks }
    }

    /// Whether the dataset has a block or an object of its own.
    pub async fn has_objects(&self) -> bool {
        self.dataset().await.is_some() || self.has_blocks().await
    }

    /// The PrivateDataset, if there is one.
    pub async fn dataset(&self) -> Option<Arc<PrivateDataset>> {
        let api: Api<PrivateDataset> = Api::namespaced(self.client.clone(), &self.dataset.namespace);
        let object = self.until_answered("the dataset", || api.get_opt(&self.dataset.name));
        object.await.map(Arc::new)
    }

    async fn block_count(&self) -> Option<usize> {
        let count = async || count_blocks(&self.client, &self.dataset.namespace).await;
        self.until_answered("the number of blocks", count).await
    }

    /// Every block, in the order of names, without managed fields.
    pub async fn blocks(&self) -> Vec<Arc<PrivateDataBlock>> {
        let all = async || {
            let mut blocks = Vec::new();
            each_block(&self.client, &self.dataset, |block| blocks.push(Arc::new(block))).await?;
            Ok(blocks)
        };
        let mut blocks = self.until_answered("the blocks", all).await;
        blocks.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        blocks
    }

    /// Whether the dataset has a block.
    async fn has_blocks(&self) -> bool {
        let api: Api<PrivateDataBlock> = Api::namespaced(self.client.clone(), &self.dataset.namespace);
        let params = ListParams::default().fields(&of_dataset(&self.dataset)).limit(1);
        let page = self
            .until_answered("a block", || api.list_metadata(&params))
            .await;
        !page.items.is_empty() || page.metadata.continue_.is_some_and(|token| !token.is_empty())
    }

    /// The dataset's namespace; `None` if it is being deleted or is gone, and the ledger with it.
    pub async fn namespace(&self) -> Option<NamespaceIdentity> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = self
            .until_answered("the namespace", || api.get_opt(&self.dataset.namespace))
            .await;
        let metadata = namespace?.metadata;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(NamespaceIdentity {
            uid: metadata.uid?,
            created: metadata.creation_timestamp,
        })
    }

    /// The labels of those of these namespaces that exist.
    pub async fn namespace_labels(
        &self,
        namespaces: BTreeSet<String>,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let mut found = BTreeMap::new();
        for name in namespaces {
            let namespace = self.until_answered("a namespace", || api.get_opt(&name)).await;
            if let Some(namespace) = namespace {
                found.insert(name, namespace.metadata.labels.unwrap_or_default());
            }
        }
        found
    }

    async fn until_answered<T, F>(&self, what: &str, request: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match request().await {
                Ok(answer) => return answer,
                Err(error) => {
                    warn!(dataset = %self.dataset, %error, ?pause, "{what} can't be read, trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the API server refuses to begin a watch with the objects that exist, as one does that has the feature `WatchList`
/// switched off. It is asked for pages then.
#[must_use]
pub fn refuses_streamed_lists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 422))
}

/// Calls `take` with every block of a dataset, in no order, without managed fields. These take many times the memory of the rest, so
/// blocks come one by one, as the beginning of a watch: the API server takes a third of the time that pages take it. One that
/// refuses such a watch is asked for pages. After an error, `take` has had some of the blocks.
pub async fn each_block(
    client: &Client,
    dataset: &DatasetKey,
    mut take: impl FnMut(PrivateDataBlock),
) -> Result<(), kube::Error> {
    let api: Api<PrivateDataBlock> = Api::namespaced(client.clone(), &dataset.namespace);
    let fields = of_dataset(dataset);
    let mut take = |mut block: PrivateDataBlock| {
        block.metadata.managed_fields = None;
        take(block);
    };
    let params = WatchParams::streaming_lists()
        .fields(&fields)
        .timeout(WATCH_SECONDS);
    // Without a resource version, they are the most recent ones.
    let mut events = match api.watch(&params, "").await {
        Err(error) if refuses_streamed_lists(&error) => {
            let mut params = ListParams::default().fields(&fields).limit(PAGE);
            loop {
                // The pages after the first are as old as it is. Once the API server doesn't have them any more, this fails.
                let page = api.list(&params).await?;
                page.items.into_iter().for_each(&mut take);
                match page.metadata.continue_ {
                    Some(token) if !token.is_empty() => params = params.continue_token(&token),
                    _ => return Ok(()),
                }
            }
        }
        begun => begun?.boxed(),
    };
    loop {
        match events.try_next().await? {
            Some(WatchEvent::Added(block)) => take(block),
            Some(WatchEvent::Bookmark(mark)) if mark.metadata.annotations.contains_key(END_OF_LIST) => {
                return Ok(());
            }
            Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status.boxed())),
            Some(_) => {}
            None => {
                let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the list has no end");
                return Err(kube::Error::ReadEvents(ended));
            }
        }
    }
}

/// How many blocks a namespace has, of all datasets; `None` if the API server doesn't say. It costs the same however many there are.
pub async fn count_blocks(client: &Client, namespace: &str) -> Result<Option<usize>, kube::Error> {
    let api: Api<PrivateDataBlock> = Api::namespaced(client.clone(), namespace);
    // A list with a selector doesn't say how many objects remain.
    let page = api.list_metadata(&ListParams::default().limit(1)).await?;
    let remaining = match (page.metadata.remaining_item_count, page.metadata.continue_) {
        (Some(remaining), _) => usize::try_from(remaining).ok(),
        (None, Some(token)) if !token.is_empty() => None,
        (None, _) => Some(0),
    };
    Ok(remaining.map(|remaining| page.items.len().saturating_add(remaining)))
}

/// The field selector of a dataset's blocks.
fn of_dataset(dataset: &DatasetKey) -> String {
    format!("spec.dataset={}", dataset.name)
}

/// The datasets of a namespace, or of all, that have a ledger, in order. Reads the metadata of every entry, in pages.
pub async fn datasets_with_ledger(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<DatasetKey>, kube::Error> {
    let api: Api<PrivacyLedgerEntry> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut datasets = BTreeSet::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await?;
        for entry in page.items {
            let labels = entry.metadata.labels.unwrap_or_default();
            if let (Some(namespace), Some(name)) = (entry.metadata.namespace, labels.get(LABEL_DATASET)) {
                datasets.insert(DatasetKey {
                    namespace,
                    name: name.clone(),
                });
            }
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(datasets.into_iter().collect()),
        }
    }
}
