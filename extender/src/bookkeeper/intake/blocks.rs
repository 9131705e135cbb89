//! Blocks: their objects come to the ledger, and leave it when they are deleted.

use std::{collections::BTreeSet, sync::Arc};

use privatekube_api::PrivateDataBlock;
use privatekube_policy::{BlockId, Engine, Event};
use tracing::warn;

use super::{Intake, IntakeOutput, Notice};

impl Intake {
    /// Remembers a block's object.
    pub(super) fn add_block(&mut self, object: Arc<PrivateDataBlock>) {
        self.blocks_changed |= self.objects.add_block(object);
    }

    /// Retires a block whose object was deleted, unless it was created again: claims that wait for it are denied.
    pub(super) fn delete_block(
        &mut self,
        deleted: &PrivateDataBlock,
        engine: Option<&Engine>,
        out: &mut IntakeOutput,
    ) {
        if !self.objects.remove_block(deleted) {
            return;
        }
        let name = deleted.metadata.name.clone().unwrap_or_default();
        // A claim whose matching blocks took too much of an entry may fit without this one.
        self.blocks_changed |= !self.oversized.is_empty();
        let block = BlockId::from(name.as_str());
        out.notices.push(Notice::BlockDeleted(name));
        if engine.is_some_and(|engine| engine.block(&block).is_some_and(|state| !state.retired)) {
            out.events.push(Event::RetireBlock { block }.into());
        }
    }

    /// Adds the blocks that exist and aren't in the ledger, or won't be after the events in `out`. A block that can't
    /// be added gets a problem that says why.
    pub(super) fn add_new_blocks(&mut self, engine: &Engine, out: &mut IntakeOutput) {
        // Blocks that were deleted and created again before either came to the ledger.
        let retiring: BTreeSet<BlockId> = out
            .events
            .iter()
            .filter_map(|pending| pending.retires().cloned())
            .collect();
        let composition = &engine.rules().composition;
        let guarantee = self.objects.default_guarantee();
        let mut problems = Vec::new();
        for (name, known) in self.objects.usable_blocks() {
            let block = BlockId::from(name.as_str());
            let state = engine.block(&block);
            let in_ledger = state.as_ref().is_some_and(|state| !state.retired) && !retiring.contains(&block);
            // Another guarantee of the dataset is for blocks to come, not for those that are in the ledger.
            if in_ledger && known.object.spec.initial_budget.is_none() {
                continue;
            }
            let capacity = known.object.spec.capacity(composition, guarantee);
            match (state, capacity) {
                (_, Err(problem)) => problems.push((block, problem.to_string())),
                // A block is its name. Created again under it, it has what it had left.
                (Some(state), Ok(capacity)) if state.capacity != capacity => problems.push((
                    block,
                    "the ledger knows a block of this name with another budget; what was spent can't be renewed, \
                     so give the block another name"
                        .to_owned(),
                )),
                (_, Ok(_)) if in_ledger => {}
                (_, Ok(capacity)) => out.events.push(Event::AddBlock { block, capacity }.into()),
            }
        }
        for (block, problem) in problems {
            warn!(%block, problem, "a block can't be used");
            self.objects.set_problem(block.as_str(), problem);
            out.notices.push(Notice::BlockUnusable(block));
        }
    }
}
