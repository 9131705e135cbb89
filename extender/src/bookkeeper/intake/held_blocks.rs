//! Blocks while their dataset has no ledger: each is told once why, and again when that changes.

use std::collections::BTreeSet;

use privatekube_api::PrivateDataBlock;

/// The blocks that no ledger has, as far as their statuses say.
#[derive(Debug, Default)]
pub(super) struct HeldBlocks {
    names: BTreeSet<String>,
    /// Those of them that weren't told.
    untold: BTreeSet<String>,
}

/// Whether a block's status names no entry. One that does is in a ledger, if that can be read or not, and its status stays.
pub(super) fn is_in_no_ledger(object: &PrivateDataBlock) -> bool {
    let status = object.status.as_ref();
    let sequence = status.and_then(|status| status.ledger_sequence);
    sequence.is_none_or(|sequence| sequence == 0)
}

impl HeldBlocks {
    /// A block is in no ledger.
    pub(super) fn add(&mut self, name: &str) {
        self.names.insert(name.to_owned());
        self.untold.insert(name.to_owned());
    }

    /// A block's object was deleted.
    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.untold.remove(name);
    }

    /// There is a ledger, which has the blocks or will have them.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.untold.clear();
    }

    /// The blocks to tell why there is no ledger: all if that `is_news`, else those that weren't told.
    pub(super) fn take_untold(&mut self, is_news: bool) -> BTreeSet<String> {
        let untold = std::mem::take(&mut self.untold);
        if is_news { self.names.clone() } else { untold }
    }
}
