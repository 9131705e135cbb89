//! The dataset's blocks: their objects come and go, and the ledger gets them.

use std::{collections::BTreeSet, sync::Arc};

use privatekube_api::{Dimensions, PrivateDataBlock};
use privatekube_policy::{BlockId, Composition, Event};
use tracing::warn;

use super::{Bookkeeper, BookkeeperError, Pending};
use crate::view::BlockKey;

/// A block's object, as far as matching and telling need it.
#[derive(Clone, Debug)]
pub(super) struct KnownBlock {
    pub(super) object: Arc<PrivateDataBlock>,
    pub(super) dimensions: Dimensions,
    /// Why it isn't in the ledger, if it can't be.
    pub(super) problem: Option<String>,
    /// Whether it has metrics of its own.
    pub(super) measured: bool,
}

impl Bookkeeper {
    /// Remembers a block's object.
    pub(super) fn know_block(&mut self, object: Arc<PrivateDataBlock>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let same = self
            .blocks
            .get(&name)
            .is_some_and(|known| known.object.metadata.uid == object.metadata.uid);
        if !same && object.metadata.deletion_timestamp.is_none() {
            let dimensions = object.spec.dimensions();
            let measured = match self.blocks.get(&name) {
                Some(before) => before.measured,
                None => self.blocks.len() < self.desk.most_blocks_measured,
            };
            self.blocks.insert(
                name,
                KnownBlock {
                    object,
                    dimensions,
                    problem: None,
                    measured,
                },
            );
            self.blocks_changed = true;
        }
    }

    /// A block's object is gone, unless it was made again: so is the block, for everybody who isn't granted yet.
    pub(super) fn forget_block(
        &mut self,
        gone: &PrivateDataBlock,
    ) -> Result<Option<Pending>, BookkeeperError> {
        let name = gone.metadata.name.as_deref().unwrap_or_default();
        let known = self.blocks.get(name).map(|known| &known.object.metadata.uid);
        if known != Some(&gone.metadata.uid) {
            return Ok(None);
        }
        self.blocks.remove(name);
        self.unmeasure_block(name);
        // What was too large to be matched with it may fit now.
        self.blocks_changed |= !self.oversized.is_empty();
        let block = BlockId::from(name);
        self.desk.view.forget_block(&self.block_key(&block));
        let live = self
            .engine()?
            .is_some_and(|engine| engine.block(&block).is_some_and(|books| !books.retired));
        Ok(live.then(|| Event::RetireBlock { block }.into()))
    }

    /// Events for the blocks that exist and aren't in the ledger, or won't be once what is `pending` has happened.
    /// What can't be added says why on its object.
    pub(super) fn add_blocks(
        &mut self,
        composition: &Composition,
        pending: &[Pending],
    ) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        // Deleted and made again before either came to the ledger.
        let retiring: BTreeSet<&BlockId> = pending
            .iter()
            .filter_map(|pending| match &pending.event {
                Event::RetireBlock { block } => Some(block),
                _ => None,
            })
            .collect();
        let mut events = Vec::new();
        let mut problems = Vec::new();
        let guarantee = self.default_guarantee();
        for (name, known) in self.usable_blocks() {
            let block = BlockId::from(name.as_str());
            let books = engine.block(&block);
            let in_ledger = books.as_ref().is_some_and(|books| !books.retired) && !retiring.contains(&block);
            // What its dataset states for blocks that state no budget is for those to come.
            if in_ledger && known.object.spec.initial_budget.is_none() {
                continue;
            }
            let capacity = known.object.spec.capacity(composition, guarantee);
            match (books, capacity) {
                (_, Err(problem)) => problems.push((block, problem.to_string())),
                // A block is its name. Made again under it, it has what it had left.
                (Some(books), Ok(capacity)) if books.capacity != capacity => problems.push((
                    block,
                    "the ledger knows a block of this name with another budget; what was spent can't be renewed, \
                     so give the block another name"
                        .to_owned(),
                )),
                (_, Ok(_)) if in_ledger => {}
                (_, Ok(capacity)) => events.push(Event::AddBlock { block, capacity }.into()),
            }
        }
        for (block, problem) in problems {
            warn!(dataset = %self.dataset, %block, problem, "a block can't be used");
            self.set_unusable(&block, problem)?;
        }
        Ok(events)
    }

    /// Remembers why a block can't be used, and tells it.
    pub(super) fn set_unusable(&mut self, block: &BlockId, problem: String) -> Result<(), BookkeeperError> {
        if let Some(known) = self.blocks.get_mut(block.as_str()) {
            known.problem = Some(problem);
        }
        self.tell_block(block)
    }

    /// What kept blocks from being used may be over.
    pub(super) fn reconsider_blocks(&mut self) {
        for known in self.blocks.values_mut() {
            self.blocks_changed |= known.problem.take().is_some();
        }
    }

    /// The blocks that are in the ledger, or can be, by name.
    pub(super) fn usable_blocks(&self) -> impl Iterator<Item = (&String, &KnownBlock)> {
        self.blocks.iter().filter(|(_, known)| known.problem.is_none())
    }

    pub(super) fn block_key(&self, block: &BlockId) -> BlockKey {
        (self.dataset.clone(), block.as_str().to_owned())
    }
}
