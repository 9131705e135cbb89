//! The dataset's object: what it gives blocks and claims that say nothing of their own.

use std::sync::Arc;

use privatekube_api::{FieldError, PrivateDataset, Weights};
use privatekube_policy::{DatasetRules, Delta, Epsilon, Span};

use super::{Bookkeeper, BookkeeperError};

impl Bookkeeper {
    /// Remembers the dataset's object: blocks without a budget of their own may have one now.
    pub(super) fn know_dataset(&mut self, object: Arc<PrivateDataset>) -> Result<(), BookkeeperError> {
        let known = self.object.as_ref().map(|known| &known.metadata);
        let known = known.filter(|known| known.uid == object.metadata.uid);
        // The watch may be behind what was read.
        if known.is_some_and(|known| known.generation >= object.metadata.generation) {
            return Ok(());
        }
        self.object = Some(object);
        self.reconsider_blocks();
        self.tell_dataset()
    }

    /// The dataset's object is gone, unless it was made again.
    pub(super) fn forget_dataset(&mut self, gone: &PrivateDataset) {
        let again = |known: &Arc<PrivateDataset>| known.metadata.uid != gone.metadata.uid;
        self.object = self.object.take().filter(again);
        if self.ledger.is_none() && self.object.is_none() {
            self.desk.view.forget_dataset(&self.dataset);
        }
    }

    /// The rules that a ledger of the dataset begins with.
    pub(super) fn rules(&self) -> Result<DatasetRules, FieldError> {
        match &self.object {
            Some(object) => object.spec.rules(),
            None => Ok(self.desk.defaults.clone()),
        }
    }

    // Admission lets none of these in that makes no sense: one that does is as good as none.

    /// The budget of blocks that state none.
    pub(super) fn default_guarantee(&self) -> Option<(Epsilon, Delta)> {
        self.object.as_ref()?.spec.guarantee().ok().flatten()
    }

    /// How long claims wait at most that don't say so.
    pub(super) fn default_timeout(&self) -> Option<Span> {
        self.object.as_ref()?.spec.timeout().ok().flatten()
    }

    /// How much claims count that come now.
    pub(super) fn weights(&self) -> Weights {
        let weights = self.object.as_ref().map(|object| object.spec.weights());
        weights.and_then(Result::ok).unwrap_or_default()
    }
}
