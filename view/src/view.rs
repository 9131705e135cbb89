//! The read model of what is committed: claims, blocks and datasets. Reading takes no lock.
//!
//! Only publishers write here, and only after an entry is durable: what is read here is never taken back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use papaya::HashMap;
use privatekube_api::{Claimants, DatasetKey, PrivacyUnit, PrivateDatasetStatus, RefusedPods};
use privatekube_policy::{ClaimId, Composition};

use crate::{
    BlockView, ClaimView, SourceId,
    claim_counts::{ClaimCount, ClaimCounts},
};

/// A dataset as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetView {
    /// How its budgets add up; `None` while it has no ledger.
    pub composition: Option<Composition>,
    /// Which namespaces may claim, as its object said when the view was last published; `None` while there is no ledger.
    pub claimants: Option<Arc<Claimants>>,
    /// What becomes of pods whose own claims are denied or expire.
    pub refused_pods: RefusedPods,
    /// What differs between two sets of data that budget makes hard to tell apart, if its object states it.
    pub privacy_unit: Option<PrivacyUnit>,
    /// The UID of its object, to which alone the status may be written.
    pub uid: Option<String>,
    /// Its object's status.
    pub status: PrivateDatasetStatus,
}

/// Why no pod may use the claim of an object that a user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForPods {
    /// The object is being deleted.
    IsDeleted,
    /// The object states what of its budget is consumed (`spec.consume`): a pod would be given that once more.
    IsUsedByHand,
}

/// A block's dataset and name.
pub type BlockKey = (DatasetKey, String);

/// What is committed, of all datasets.
#[derive(Debug, Default)]
pub struct View {
    claims: HashMap<ClaimId, Arc<ClaimView>>,
    /// How many of these there are of each namespace on each dataset.
    counts: ClaimCounts,
    /// The claim object that exists under a namespace and name (see [`object_key`]), of those that users wrote.
    named: HashMap<Box<str>, ClaimId>,
    /// Why no pod may use the claims of some of these objects.
    not_for_pods: HashMap<ClaimId, NotForPods>,
    blocks: HashMap<BlockKey, Arc<BlockView>>,
    datasets: HashMap<DatasetKey, Arc<DatasetView>>,
    /// Why datasets are stopped: their ledgers can't be read or written, so nothing of them may be decided.
    stopped: HashMap<DatasetKey, Arc<str>>,
    /// See [`View::is_read`].
    read: AtomicBool,
    /// See [`View::is_complete`].
    complete: AtomicBool,
}

/// A namespace and a name as one key, of which there may be a hundred thousand. Neither has a `/`.
fn object_key(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into()
}

impl View {
    /// Whether everything that was committed before the start is here, and every dataset and block was seen once.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    /// Declares that the ledgers, datasets and blocks are here.
    pub fn set_read(&self) {
        self.read.store(true, Ordering::Release);
    }

    /// Whether that [is so](Self::is_read), and every claim object and managed pod was seen once. Before that, an absent
    /// claim means nothing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Declares the view complete.
    pub fn set_complete(&self) {
        self.set_read();
        self.complete.store(true, Ordering::Release);
    }

    /// A claim, by its name in the ledger.
    #[must_use]
    pub fn claim(&self, id: &ClaimId) -> Option<Arc<ClaimView>> {
        self.claims.pin().get(id).cloned()
    }

    /// Sets a claim; says whether that changes anything.
    pub fn put_claim(&self, claim: ClaimView) -> bool {
        let claims = self.claims.pin();
        let before = claims.get(&claim.id);
        let changed = before.is_none_or(|there| **there != claim);
        if changed {
            self.counts.change(before.map(|there| &**there), Some(&claim));
            claims.insert(claim.id.clone(), Arc::new(claim));
        }
        changed
    }

    /// How many claims are here, of all datasets.
    #[must_use]
    pub fn claims_in_all(&self) -> usize {
        self.claims.len()
    }

    /// Removes a claim.
    pub fn forget_claim(&self, id: &ClaimId) {
        let claims = self.claims.pin();
        if let Some(before) = claims.remove(id) {
            self.counts.change(Some(before), None);
        }
    }

    /// How many claims of a namespace there are on a dataset.
    #[must_use]
    pub fn claim_count(&self, dataset: &DatasetKey, namespace: &str) -> ClaimCount {
        self.counts.of(dataset, namespace)
    }

    /// The claim whose object exists under a namespace and name.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Option<ClaimId> {
        let key = object_key(namespace, name);
        self.named.pin().get(&key).cloned()
    }

    /// Sets which claim's object exists under a namespace and name.
    pub fn set_named(&self, namespace: &str, name: &str, id: Option<ClaimId>) {
        let key = object_key(namespace, name);
        match id {
            Some(id) => self.named.pin().insert(key, id),
            None => self.named.pin().remove(&key),
        };
    }

    /// Why no pod may use the claim of an object that a user wrote; `None` if pods may.
    #[must_use]
    pub fn not_for_pods(&self, id: &ClaimId) -> Option<NotForPods> {
        self.not_for_pods.pin().get(id).copied()
    }

    /// Sets why no pod may use the claim of an object that a user wrote; says whether that changes anything.
    pub fn set_not_for_pods(&self, id: &ClaimId, why: Option<NotForPods>) -> bool {
        let all = self.not_for_pods.pin();
        let before = match why {
            Some(why) => all.insert(id.clone(), why),
            None => all.remove(id),
        };
        before.copied() != why
    }

    /// A block.
    #[must_use]
    pub fn block(&self, key: &BlockKey) -> Option<Arc<BlockView>> {
        self.blocks.pin().get(key).cloned()
    }

    /// Every block of a dataset.
    #[must_use]
    pub fn blocks_of(&self, dataset: &DatasetKey) -> Vec<Arc<BlockView>> {
        let blocks = self.blocks.pin();
        blocks
            .iter()
            .filter(|((of, _), _)| of == dataset)
            .map(|(_, block)| Arc::clone(block))
            .collect()
    }

    /// The name of a block of a dataset with this data source, other than `except`. Costs a look at every block.
    #[must_use]
    pub fn name_of_source(
        &self,
        dataset: &DatasetKey,
        source: SourceId,
        except: Option<&str>,
    ) -> Option<String> {
        let blocks = self.blocks.pin();
        let names = blocks.iter().filter_map(|((of, name), block)| {
            (of == dataset && block.source() == Some(source) && Some(name.as_str()) != except).then_some(name)
        });
        names.min().cloned()
    }

    /// Every block of a dataset with its name, in no order.
    #[must_use]
    pub fn named_blocks_of(&self, dataset: &DatasetKey) -> Vec<(String, Arc<BlockView>)> {
        let blocks = self.blocks.pin();
        let all = blocks.iter().filter(|((of, _), _)| of == dataset);
        all.map(|((_, name), block)| (name.clone(), Arc::clone(block)))
            .collect()
    }

    /// Sets a block; says whether that changes anything.
    pub fn put_block(&self, key: BlockKey, block: BlockView) -> bool {
        let blocks = self.blocks.pin();
        let changed = blocks.get(&key).is_none_or(|there| **there != block);
        if changed {
            blocks.insert(key, Arc::new(block));
        }
        changed
    }

    /// Every dataset that has a ledger, or says why it has none, in no order.
    #[must_use]
    pub fn datasets(&self) -> Vec<(DatasetKey, Arc<DatasetView>)> {
        let datasets = self.datasets.pin();
        let all = datasets.iter();
        all.map(|(key, dataset)| (key.clone(), Arc::clone(dataset)))
            .collect()
    }

    /// Every claim that `wanted` accepts, of all datasets, in no order. Looks at all claims.
    #[must_use]
    pub fn claims(&self, wanted: impl Fn(&ClaimView) -> bool) -> Vec<Arc<ClaimView>> {
        let claims = self.claims.pin();
        let all = claims.values();
        all.filter(|claim| wanted(claim)).cloned().collect()
    }

    /// Removes everything of a dataset: its claims, its blocks and itself.
    pub fn forget_all_of(&self, dataset: &DatasetKey) {
        self.claims.pin().retain(|_, claim| *claim.dataset != *dataset);
        self.counts.forget(dataset);
        self.blocks.pin().retain(|(of, _), _| of != dataset);
        self.set_stopped(dataset, None);
        self.forget_dataset(dataset);
    }

    /// Removes a block.
    pub fn forget_block(&self, key: &BlockKey) {
        self.blocks.pin().remove(key);
    }

    /// A dataset.
    #[must_use]
    pub fn dataset(&self, key: &DatasetKey) -> Option<Arc<DatasetView>> {
        self.datasets.pin().get(key).cloned()
    }

    /// Why a dataset is stopped, if it is.
    #[must_use]
    pub fn stopped(&self, key: &DatasetKey) -> Option<Arc<str>> {
        self.stopped.pin().get(key).cloned()
    }

    /// Sets why a dataset is stopped; `None` if it isn't.
    pub fn set_stopped(&self, key: &DatasetKey, why: Option<&str>) {
        let stopped = self.stopped.pin();
        match why {
            Some(why) => stopped.insert(key.clone(), Arc::from(why)),
            None => stopped.remove(key),
        };
    }

    /// How a dataset's budgets add up, if it has a ledger.
    #[must_use]
    pub fn composition(&self, key: &DatasetKey) -> Option<Composition> {
        self.dataset(key)?.composition.clone()
    }

    /// Removes a dataset.
    pub fn forget_dataset(&self, key: &DatasetKey) {
        self.datasets.pin().remove(key);
    }

    /// Sets a dataset; says whether that changes anything.
    pub fn put_dataset(&self, key: DatasetKey, dataset: DatasetView) -> bool {
        let datasets = self.datasets.pin();
        let changed = datasets.get(&key).is_none_or(|there| **there != dataset);
        if changed {
            datasets.insert(key, Arc::new(dataset));
        }
        changed
    }
}
