//! Blocks: their objects come to the ledger, and leave it when they are deleted.

use std::{collections::BTreeSet, sync::Arc};

use privatekube_api::{PrivateDataBlock, moment};
use privatekube_policy::{BlockId, Engine, Event, Time};
use tracing::{info, warn};

use super::{Intake, IntakeOutput, Notice, held_blocks::is_in_no_ledger};

/// How often selectors are evaluated at most before an entry is written. Evaluations keep everything else that the
/// bookkeeper does waiting: 20,000 of a long selector take about a tenth of a second.
pub(super) const MOST_EVALUATIONS: u64 = 20_000;

impl Intake {
    /// Remembers a block's object.
    pub(super) fn add_block(&mut self, object: Arc<PrivateDataBlock>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let lacks_status = object.status.is_none();
        let is_held = is_in_no_ledger(&object);
        if self.objects.add_block(object) {
            if lacks_status {
                self.without_status.insert(name.clone());
            }
            if is_held {
                self.held_blocks.add(&name);
            }
            self.changed_blocks.insert(name);
        }
    }

    /// Remembers blocks that exist.
    pub(in crate::bookkeeper) fn add_all_blocks(&mut self, blocks: Vec<Arc<PrivateDataBlock>>) {
        for block in blocks {
            self.add_block(block);
        }
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
        self.unmatched.remove_block(&name);
        self.without_status.remove(&name);
        self.held_blocks.remove(&name);
        let block = BlockId::from(name.as_str());
        out.notices.push(Notice::BlockDeleted(name));
        if engine.is_some_and(|engine| engine.block(&block).is_some_and(|state| !state.retired)) {
            out.events.push(Event::RetireBlock { block }.into());
        }
    }

    /// Adds an event for each block of `changed_blocks` that isn't in the ledger, or won't be after the events in `out`, and
    /// lets claims match it. A block that can't be used gets a problem that says why. Stops after many evaluations; the rest
    /// of the blocks stay in `changed_blocks`.
    /// A block whose time to retire has come by `now` is retired instead.
    pub(super) fn add_new_blocks(&mut self, engine: &Engine, now: Time, out: &mut IntakeOutput) {
        let most = self.unmatched.evaluations() + MOST_EVALUATIONS;
        // Blocks that were deleted and created again before either came to the ledger.
        let retiring: BTreeSet<BlockId> = out
            .events
            .iter()
            .filter_map(|pending| pending.retires().cloned())
            .collect();
        while self.unmatched.evaluations() < most
            && let Some(name) = self.changed_blocks.pop_first()
        {
            if let Some(retired) = self
                .objects
                .block(&name)
                .and_then(|block| block.retires)
                .filter(|at| *at <= now)
            {
                let is_retiring = retiring.contains(&BlockId::from(name.as_str()));
                self.retire_block(&name, retired, is_retiring, engine, out);
                continue;
            }
            match self.block_event(&name, &retiring, engine) {
                Ok(event) => {
                    if event.is_none() {
                        let block = BlockId::from(name.as_str());
                        out.notices.push(Notice::BlockChecked(block));
                        if self.without_status.contains(&name) {
                            out.notices.push(Notice::BlockWithoutStatus(name.clone()));
                        }
                    }
                    self.without_status.remove(&name);
                    out.events.extend(event.map(Into::into));
                    if let Some(candidate) = self.objects.candidate(&name) {
                        self.unmatched.add_block(candidate);
                    }
                }
                Err(problem) => out.notices.push(self.block_unusable(&name, problem)),
            }
        }
    }

    /// Retires a block whose time has come, which stays known.
    fn retire_block(
        &mut self,
        name: &str,
        at: Time,
        is_retiring: bool,
        engine: &Engine,
        out: &mut IntakeOutput,
    ) {
        let block = BlockId::from(name);
        if !is_retiring && engine.block(&block).is_some_and(|state| !state.retired) {
            info!(%block, "a block's time is over: it is retired");
            out.events.push(Event::RetireBlock { block }.into());
        }
        let problem = format!(
            "it was retired at {}, as its spec states: nothing more is granted on it, and what was granted stays",
            moment(at)
        );
        out.notices.push(self.set_unusable(name, problem));
    }

    /// Keeps why a block can't be used. Claims are not matched with it.
    pub(super) fn block_unusable(&mut self, name: &str, problem: String) -> Notice {
        warn!(block = name, problem, "a block can't be used");
        self.set_unusable(name, problem)
    }

    fn set_unusable(&mut self, name: &str, problem: String) -> Notice {
        let block = BlockId::from(name);
        self.objects.set_problem(name, problem);
        self.unmatched.remove_block(name);
        Notice::BlockChecked(block)
    }

    /// The event that adds a block to the ledger; `None` if the ledger has it. An error says why the block can't be used.
    fn block_event(
        &self,
        name: &str,
        retiring: &BTreeSet<BlockId>,
        engine: &Engine,
    ) -> Result<Option<Event>, String> {
        let Some(known) = self.objects.block(name) else {
            return Ok(None);
        };
        let block = BlockId::from(name);
        let state = engine.block(&block);
        if engine.is_lost(&block) || state.as_ref().is_some_and(|state| state.written_off) {
            return Err("its budget was written off, because entries of the ledger were lost".to_owned());
        }
        let declared = self.objects.declared_dimensions();
        declared
            .check(&known.dimensions)
            .map_err(|problem| problem.to_string())?;
        let in_ledger = state.as_ref().is_some_and(|state| !state.retired) && !retiring.contains(&block);
        // Another guarantee of the dataset is for blocks to come, not for those that are in the ledger.
        if in_ledger && known.object.spec.initial_budget.is_none() {
            return Ok(None);
        }
        let composition = &engine.rules().composition;
        let guarantee = self.objects.default_guarantee();
        let capacity = known.object.spec.capacity(composition, guarantee);
        let capacity = capacity.map_err(|problem| problem.to_string())?;
        // A block is its name. Created again under it, it has what it had left.
        if state.is_some_and(|state| state.capacity != capacity) {
            let problem = "the ledger knows a block of this name with another budget; what was spent can't be renewed, so \
                           give the block another name";
            return Err(problem.to_owned());
        }
        Ok((!in_ledger).then_some(Event::AddBlock { block, capacity }))
    }
}
