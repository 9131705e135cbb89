//! What is committed, as everything but the bookkeepers sees it: claims, blocks and datasets, read without locks.
//!
//! Bookkeepers write here after a round is durable and never before, so whatever is read here is true for good.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use papaya::HashMap;
use privatekube_api::{
    DatasetKey, Dimensions, GrantedClaim, PrivacyBudgetClaimStatus, PrivateDataBlockStatus,
    PrivateDatasetStatus,
};
use privatekube_policy::{ClaimId, Composition, Phase};

use crate::subject::Subject;

/// A claim as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimView {
    /// For whom it is.
    pub subject: Subject,
    /// Whose budget it asks.
    pub dataset: DatasetKey,
    /// Where it is in its life.
    pub phase: Phase,
    /// What its object's status says.
    pub status: PrivacyBudgetClaimStatus,
    /// What its pods are told; there once it is granted.
    pub grant: Option<GrantedClaim>,
}

/// A block as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockView {
    /// What its object's status says.
    pub status: PrivateDataBlockStatus,
    /// What selectors read.
    pub dimensions: Dimensions,
}

/// A dataset as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetView {
    /// How its budgets add up; none while its ledger can't begin.
    pub composition: Option<Composition>,
    /// What its object's status says.
    pub status: PrivateDatasetStatus,
}

/// A block's name, with its dataset's.
pub type BlockKey = (DatasetKey, String);

/// What is committed.
#[derive(Debug, Default)]
pub struct View {
    claims: HashMap<ClaimId, Arc<ClaimView>>,
    /// The claim objects that somebody wrote, by namespace and name: the one that is there now.
    named: HashMap<(String, String), ClaimId>,
    blocks: HashMap<BlockKey, Arc<BlockView>>,
    datasets: HashMap<DatasetKey, Arc<DatasetView>>,
    complete: AtomicBool,
}

impl View {
    /// Whether everything that was committed before the start is here and every object was seen.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Says that everything is here now.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// A claim by its name in the ledger.
    pub fn claim(&self, id: &ClaimId) -> Option<Arc<ClaimView>> {
        self.claims.pin().get(id).cloned()
    }

    /// Puts a claim; says whether that changes anything.
    pub fn put_claim(&self, id: ClaimId, claim: ClaimView) -> bool {
        let claims = self.claims.pin();
        let changed = claims.get(&id).is_none_or(|there| **there != claim);
        if changed {
            claims.insert(id, Arc::new(claim));
        }
        changed
    }

    /// Forgets a claim that never reached the ledger.
    pub fn forget_claim(&self, id: &ClaimId) {
        self.claims.pin().remove(id);
    }

    /// The claim object of that name, by its name in the ledger.
    pub fn named(&self, namespace: &str, name: &str) -> Option<ClaimId> {
        self.named
            .pin()
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// Says which claim object has a name now.
    pub fn set_named(&self, namespace: &str, name: &str, id: Option<ClaimId>) {
        let key = (namespace.to_owned(), name.to_owned());
        match id {
            Some(id) => self.named.pin().insert(key, id),
            None => self.named.pin().remove(&key),
        };
    }

    /// A block.
    pub fn block(&self, key: &BlockKey) -> Option<Arc<BlockView>> {
        self.blocks.pin().get(key).cloned()
    }

    /// Every block of a dataset.
    pub fn blocks_of(&self, dataset: &DatasetKey) -> Vec<Arc<BlockView>> {
        let blocks = self.blocks.pin();
        blocks
            .iter()
            .filter(|((of, _), _)| of == dataset)
            .map(|(_, block)| Arc::clone(block))
            .collect()
    }

    /// Puts a block; says whether that changes anything.
    pub fn put_block(&self, key: BlockKey, block: BlockView) -> bool {
        let blocks = self.blocks.pin();
        let changed = blocks.get(&key).is_none_or(|there| **there != block);
        if changed {
            blocks.insert(key, Arc::new(block));
        }
        changed
    }

    /// Forgets a block whose object is gone.
    pub fn forget_block(&self, key: &BlockKey) {
        self.blocks.pin().remove(key);
    }

    /// A dataset.
    pub fn dataset(&self, key: &DatasetKey) -> Option<Arc<DatasetView>> {
        self.datasets.pin().get(key).cloned()
    }

    /// How a dataset's budgets add up, if it has a ledger.
    pub fn composition(&self, key: &DatasetKey) -> Option<Composition> {
        self.dataset(key)?.composition.clone()
    }

    /// Forgets a dataset whose ledger is gone.
    pub fn forget_dataset(&self, key: &DatasetKey) {
        self.datasets.pin().remove(key);
    }

    /// Puts a dataset; says whether that changes anything.
    pub fn put_dataset(&self, key: DatasetKey, dataset: DatasetView) -> bool {
        let datasets = self.datasets.pin();
        let changed = datasets.get(&key).is_none_or(|there| **there != dataset);
        if changed {
            datasets.insert(key, Arc::new(dataset));
        }
        changed
    }
}
