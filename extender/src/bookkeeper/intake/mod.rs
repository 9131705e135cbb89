//! The intake: turns objects and requests into engine events.
//!
//! The intake keeps the dataset's objects, and queues claim requests until they are in the ledger and matched. It has
//! no access to the cluster or to the ledger's store: it turns each [`Message`] into engine events, for the ledger's
//! writer, and notices, for the publisher.
//!
//! [`blocks`] handles blocks, [`claims`] handles claims, and [`requested_use`] handles the fields `consume` and
//! `release` of claim objects.

mod blocks;
mod claims;
mod held_blocks;
mod queue;
mod requested_use;
mod unmatched;

use std::{collections::BTreeSet, sync::Arc};

use privatekube_api::{
    ClaimReason, LeftOut, MOST_LISTED_BYTES, PrivateDataBlock, PrivateDataset, Subject, SubjectKind,
    block_count, name_bytes,
};
use privatekube_kubernetes::CurrentObjects;
use privatekube_ledger::ApplyError;
use privatekube_policy::{BlockId, ClaimId, DatasetRules, Demand, Engine, Event, Time};
use privatekube_view::{DatasetObjects, PhaseReason, too_large_for_a_status, too_large_for_an_entry};
use tokio::sync::oneshot;

use self::{held_blocks::HeldBlocks, queue::Queue, requested_use::Uses, unmatched::Unmatched};
use super::{
    Message,
    writer::{PendingEvent, Refused},
};
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};

/// Why a dataset without an object has no rules.
const NO_OBJECT: &str = "its dataset doesn't exist yet: there is no PrivateDataset of that name, which says by which rules its budget is granted";

/// The intake of one dataset.
#[derive(Debug)]
pub(super) struct Intake {
    /// The rules of a dataset without a PrivateDataset; `None` if its ledger begins only with one.
    defaults: Option<DatasetRules>,
    objects: DatasetObjects,
    /// The names of blocks that may have to be added to the ledger, and that claims may match now.
    changed_blocks: BTreeSet<String>,
    /// Those of them whose objects have no status yet.
    without_status: BTreeSet<String>,
    /// Requests that are not in the ledger yet, in the order in which they arrived.
    arriving: Queue,
    /// Claims of `arriving` that were requested while there was no ledger, and that haven't been checked against the
    /// dataset's claimants.
    unchecked: BTreeSet<ClaimId>,
    /// The published reason why blocks and requests can't be written to a ledger; `None` while there is a ledger.
    held_by: Option<PhaseReason>,
    /// The blocks of which that is published.
    held_blocks: HeldBlocks,
    /// Requests whose claims wait in the ledger for more blocks to match.
    unmatched: Unmatched,
    /// What claim objects request to be consumed and released once their claims are granted.
    uses: Uses,
    /// Why the dataset is stopped, if it is.
    stopped: Option<String>,
}

/// What the intake makes of messages.
#[derive(Default)]
pub(super) struct IntakeOutput {
    /// Events for the ledger, in order.
    pub(super) events: Vec<PendingEvent>,
    /// Facts to publish that are not in the ledger, in order.
    pub(super) notices: Vec<Notice>,
    /// Senders of [`Message::Flush`], which get their answers once the events are committed and the notices published.
    pub(super) flushed: Vec<oneshot::Sender<()>>,
}

/// A fact to publish that is not in the ledger.
#[derive(Debug)]
pub(super) enum Notice {
    /// A claim is not in the ledger, and why.
    OutsideLedger(Subject, PhaseReason),
    /// A block is in no ledger, because there is none, and why.
    BlockHeld(String, PhaseReason),
    /// A claim was withdrawn before it was written to the ledger.
    ClaimForgotten(ClaimId),
    /// A claim's matching blocks take too many bytes of an entry.
    Oversized(ClaimId, String),
    /// A claim that was oversized matches fewer blocks now.
    NotOversized(ClaimId),
    /// The engine refused what a claim object requests to be consumed or released, and why.
    UseRefused(ClaimId, String),
    /// The blocks that a claim leaves out because its selector has no answer for them; `None` if there are none any more.
    LeftOut(ClaimId, Option<LeftOut>),
    /// It was looked at whether a block can be used; if it can't, its object's problem says why.
    BlockChecked(BlockId),
    /// A block's object has no status, although the ledger has the block: the object was created again.
    BlockWithoutStatus(String),
    /// A block's object was deleted.
    BlockDeleted(String),
    /// The dataset's object was changed.
    DatasetApplied,
}

impl Intake {
    /// An intake without objects and requests. `defaults` are the rules of a dataset without a PrivateDataset, if it
    /// may begin without one.
    pub(super) fn new(defaults: Option<DatasetRules>) -> Self {
        Self {
            defaults,
            objects: DatasetObjects::default(),
            changed_blocks: BTreeSet::new(),
            without_status: BTreeSet::new(),
            arriving: Queue::default(),
            unchecked: BTreeSet::new(),
            held_by: None,
            held_blocks: HeldBlocks::default(),
            unmatched: Unmatched::default(),
            uses: Uses::default(),
            stopped: None,
        }
    }

    /// The dataset's objects.
    pub(super) const fn objects(&self) -> &DatasetObjects {
        &self.objects
    }

    /// The rules that a new ledger of the dataset gets, or what is wrong with them.
    pub(super) fn rules(&self) -> Result<DatasetRules, String> {
        self.objects
            .rules(self.defaults.as_ref())
            .map_err(|error| error.to_string())?
            .ok_or_else(|| NO_OBJECT.to_owned())
    }

    /// The event that writes all budget off after the entry `sequence`, the last one, if the dataset's object states that the
    /// entries after it are lost. Blocks that exist and aren't in the ledger may have been added by these.
    pub(super) fn write_off(&self, sequence: u64, engine: &Engine) -> Option<Event> {
        let recovery = self.objects.recovery()?;
        let after = recovery.write_off_after.filter(|after| *after == sequence)?;
        let blocks = self
            .objects
            .blocks()
            .map(|(name, _)| BlockId::from(name.as_str()));
        Some(Event::WriteOff {
            after,
            unknown_blocks: blocks.filter(|block| engine.block(block).is_none()).collect(),
            reason: recovery.reason.clone(),
        })
    }

    /// Sets the dataset's object to what the API server has now.
    pub(super) fn set_dataset(&mut self, object: Option<Arc<PrivateDataset>>) {
        self.change_dataset(|objects| objects.set_dataset(object));
    }

    /// Removes the dataset's object, unless it was created again.
    pub(super) fn dataset_deleted(&mut self, deleted: &PrivateDataset) {
        self.change_dataset(|objects| objects.remove_dataset(deleted));
    }

    /// Changes the dataset's object. If it declares other dimensions then, all blocks are looked at again: which can be used,
    /// and which are the newest.
    fn change_dataset<T>(&mut self, change: impl FnOnce(&mut DatasetObjects) -> T) -> T {
        let before = self.objects.declared_dimensions().clone();
        let changed = change(&mut self.objects);
        if *self.objects.declared_dimensions() != before {
            self.objects.clear_problems();
            let blocks = self.objects.blocks().map(|(name, _)| name.clone());
            self.changed_blocks.extend(blocks);
        }
        changed
    }

    /// Continues with an opened ledger: `engine` has replayed its entries, and `blocks` are all blocks that exist.
    pub(super) fn ledger_opened(&mut self, blocks: Vec<Arc<PrivateDataBlock>>, engine: &Engine) {
        self.held_by = None;
        self.stopped = None;
        self.add_all_blocks(blocks);
        self.held_blocks.clear();
        self.changed_blocks = self.objects.blocks().map(|(name, _)| name.clone()).collect();
        // The events that a stopped ledger didn't take are lost.
        self.unmatched.match_all_again();
        // Requests that were queued while the dataset was stopped may be in the ledger already.
        for input in self.arriving.take() {
            self.request(input, Some(engine));
        }
    }

    /// Forgets all requests: another process has a ledger for them, and they are made again once this one leads.
    pub(super) fn forget_requests(&mut self) {
        drop(self.arriving.take());
        self.unchecked.clear();
    }

    /// Keeps `why` the dataset is stopped. Requests stay queued until its ledger is opened again.
    pub(super) fn ledger_stopped(&mut self, why: String) {
        self.stopped = Some(why);
    }

    /// Forgets the problems of blocks, because the ledger was closed and is opened with other rules, under which these
    /// blocks may be usable.
    pub(super) fn ledger_closed(&mut self) {
        self.changed_blocks.extend(self.objects.clear_problems());
        for (name, _) in self.objects.blocks() {
            self.held_blocks.add(name);
        }
    }

    /// Turns a message into events and notices. `engine` is the engine of the ledger, `None` while there is no ledger;
    /// `exists` returns whether a claim's pod or claim object exists.
    pub(super) fn take(
        &mut self,
        message: Message,
        engine: Option<&Engine>,
        exists: impl Fn(&ClaimId) -> bool,
        out: &mut IntakeOutput,
    ) {
        match message {
            Message::BlockApplied(object) => self.add_block(object),
            Message::BlockDeleted(last) => self.delete_block(&last, engine, out),
            Message::DatasetApplied(object) => self.apply_dataset(object, out),
            Message::DatasetDeleted(last) => self.dataset_deleted(&last),
            Message::Requested(input) => self.request(*input, engine),
            Message::Withdrawn(claim) => self.withdraw(claim, engine, out),
            Message::Ran(claim) => self.ran(claim, engine, out),
            Message::NeverRan(claim) => never_ran(claim, engine, out),
            Message::ConsumeAll { claims, reply } => {
                out.events.push(PendingEvent::ConsumeAll { claims, reply });
            }
            Message::UseRequested { claim, usage } => self.request_use(claim, usage, engine, out),
            // They say nothing new of the dataset's objects.
            Message::Exists(_) | Message::StatusNames { .. } | Message::EntriesChanged | Message::Lead(_) => {
            }
            #[cfg(test)]
            Message::AllListed if planted::is(Planted::ForgetsAbsence) => {}
            Message::AllListed => self.end_deleted(engine, exists, out),
            Message::Asked(question) => question.answer(engine, &self.objects),
            Message::Flush(reply) => out.flushed.push(reply),
        }
    }

    /// Replaces the objects that the watches have delivered by those that were just read from the API server. A claim
    /// must be matched with the blocks, and get the weight, that exist when it arrives, and the watches may be behind.
    /// Blocks are only read if the watch lacks some.
    pub(super) fn catch_up(
        &mut self,
        current: CurrentObjects,
        engine: Option<&Engine>,
        out: &mut IntakeOutput,
    ) {
        match current.dataset {
            None => self.set_dataset(None),
            Some(object) => self.apply_dataset(object, out),
        }
        let Some(blocks) = current.blocks else {
            return;
        };
        let deleted = self.objects.blocks_not_among(&blocks);
        for block in blocks {
            self.add_block(block);
        }
        for block in &deleted {
            self.delete_block(block, engine, out);
        }
    }

    /// Adds a notice for each block and each queued request that says why it can't be written to a ledger, if there is no ledger:
    /// for all of them if the reason has changed, else for new blocks.
    pub(super) fn publish_held(&mut self, has_ledger: bool, out: &mut IntakeOutput) {
        let why = (!has_ledger).then(|| self.why_held());
        let is_news = why != self.held_by;
        match &why {
            None => self.held_blocks.clear(),
            Some(why) => {
                for block in self.held_blocks.take_untold(is_news) {
                    // Should a ledger appear that has it, its status has to be written all the same.
                    self.without_status.insert(block.clone());
                    out.notices.push(Notice::BlockHeld(block, why.clone()));
                }
                if is_news {
                    let held = self.arriving.iter().filter(|input| !input.was_granted);
                    let notices = held.map(|input| Notice::OutsideLedger(input.subject.clone(), why.clone()));
                    out.notices.extend(notices);
                }
            }
        }
        self.held_by = why;
    }

    /// Adds events for new blocks, for waiting claims that match enough blocks now, and for arriving claims, in this
    /// order. Events that `out` has already stay before them. Only the first `accepted` queued requests arrive. Adds only
    /// a part of them if there are many, and leaves a [backlog](Self::has_backlog).
    pub(super) fn add_blocks_and_claims(
        &mut self,
        engine: &Engine,
        accepted: usize,
        now: Time,
        out: &mut IntakeOutput,
    ) {
        // The ledger's clock never goes back: a block that was retired stays so.
        let now = now.max(engine.now());
        self.changed_blocks.extend(self.objects.take_retired(now));
        let composition = engine.rules().composition.clone();
        self.add_new_blocks(engine, now, out);
        self.unmatched.take_matches(&composition, out);
        // A claim arrives once every block that existed before it can match it.
        if self.changed_blocks.is_empty() {
            self.arrive(&composition, accepted, out);
        }
    }

    /// Whether there are more blocks and claims for [`Self::add_blocks_and_claims`].
    pub(super) fn has_backlog(&self) -> bool {
        !self.changed_blocks.is_empty() || !self.arriving.is_empty()
    }

    /// Adds the events that an entry made possible: claims of `touched` that are granted now are consumed and released
    /// as their objects request. Claims of `settled` aren't matched again.
    pub(super) fn after_entry<'a>(
        &mut self,
        touched: impl Iterator<Item = &'a ClaimId>,
        settled: impl Iterator<Item = &'a ClaimId>,
        engine: &Engine,
        out: &mut IntakeOutput,
    ) {
        for claim in settled {
            self.unmatched.remove(claim);
        }
        for claim in touched {
            for usage in self.uses.decided(claim, engine) {
                self.request_use(claim.clone(), usage, Some(engine), out);
            }
        }
    }

    /// Returns the notice about an event that was refused, by the engine or because of its size. Events that users
    /// didn't request have none.
    pub(super) fn refused(&mut self, refused: &Refused) -> Option<Notice> {
        let Refused { event, error } = refused;
        match (event, error) {
            (Event::Match { claim, demands }, &ApplyError::TooLarge { bytes, most }) => {
                let problem = too_large_for_an_entry(block_count(demands), bytes, most);
                self.unmatched.is_too_large(claim.clone());
                Some(Notice::Oversized(claim.clone(), problem))
            }
            (Event::Match { claim, .. }, _) => {
                self.unmatched.match_again(claim);
                None
            }
            (Event::Arrive(arrival), _) => {
                let problem = match *error {
                    ApplyError::TooLarge { bytes, most } => {
                        too_large_for_an_entry(block_count(&arrival.demands), bytes, most)
                    }
                    _ => error.to_string(),
                };
                self.unmatched.remove(&arrival.claim);
                self.uses.forget(&arrival.claim);
                let subject = Subject::of(&arrival.claim)?;
                Some(Notice::OutsideLedger(subject, invalid(problem)))
            }
            (Event::Consume { claim, .. } | Event::Release { claim, .. }, _) => {
                Some(Notice::UseRefused(claim.clone(), error.to_string()))
            }
            (Event::AddBlock { block, .. }, _) => {
                Some(self.block_unusable(block.as_str(), error.to_string()))
            }
            (
                Event::RetireBlock { .. }
                | Event::Withdraw { .. }
                | Event::NeverRan { .. }
                | Event::WriteOff { .. }
                | Event::Forget { .. },
                _,
            ) => None,
        }
    }

    fn apply_dataset(&mut self, object: Arc<PrivateDataset>, out: &mut IntakeOutput) {
        if self.change_dataset(|objects| objects.update_dataset(object)) {
            // Blocks without a budget of their own may have one now.
            self.changed_blocks.extend(self.objects.clear_problems());
            out.notices.push(Notice::DatasetApplied);
        }
    }

    /// Why no request can be written to a ledger now.
    fn why_held(&self) -> PhaseReason {
        if let Some(why) = &self.stopped {
            return PhaseReason {
                reason: ClaimReason::DatasetStopped,
                message: format!("the dataset is stopped: {why}"),
            };
        }
        let dataset = self.objects.dataset();
        match dataset.and_then(|object| object.spec.rules().err()) {
            None => PhaseReason {
                reason: ClaimReason::DatasetUnknown,
                message: if self.defaults.is_some() {
                    "its dataset has no block and no PrivateDataset object yet".to_owned()
                } else {
                    NO_OBJECT.to_owned()
                },
            },
            Some(problem) => PhaseReason {
                reason: ClaimReason::DatasetInvalid,
                message: format!("the dataset can't be used: {problem}"),
            },
        }
    }
}

#[cfg(test)]
impl Intake {
    /// Of how many claims it is kept what is to be consumed or released.
    pub(super) fn kept_uses(&self) -> usize {
        self.uses.count()
    }

    /// Whether a claim waits for more blocks to match.
    pub(super) fn is_unmatched(&self, claim: &ClaimId) -> bool {
        self.unmatched.contains(claim)
    }

    /// Whether a claim's matching blocks take too many bytes of an entry.
    pub(super) fn is_oversized(&self, claim: &ClaimId) -> bool {
        self.unmatched.is_oversized(claim)
    }

    /// How often a selector was evaluated for a block.
    pub(super) fn evaluations(&self) -> u64 {
        self.unmatched.evaluations()
    }

    /// Matches claims again with the next messages, as if earlier matches had been lost.
    pub(super) fn match_all_again(&mut self) {
        self.unmatched.match_all_again();
    }
}

/// The reason of a claim that is denied because of a `problem` of its request.
fn invalid(problem: String) -> PhaseReason {
    PhaseReason {
        reason: ClaimReason::Invalid,
        message: problem,
    }
}

/// Why a pod can't be told that it was granted `demands`, if it can't: it reads a long list of blocks in the status of its
/// claim, which has to list them all. A claim object is granted all the same: who reads the ledger knows its blocks, and a pod
/// that names it isn't bound.
fn too_many_to_grant(subject: &Subject, demands: &[Demand]) -> Option<String> {
    let (blocks, bytes) = (block_count(demands), name_bytes(demands));
    let is_too_large = subject.kind == SubjectKind::Pod && bytes > MOST_LISTED_BYTES;
    is_too_large.then(|| too_large_for_a_status(blocks, bytes, MOST_LISTED_BYTES))
}

/// Adds the event that releases a claim's budget because its pod provably never ran, if the claim is consumed or an
/// event before this one consumes it.
fn never_ran(claim: ClaimId, engine: Option<&Engine>, out: &mut IntakeOutput) {
    let phase = engine.and_then(|engine| engine.phase(&claim));
    let consumed = phase == Some(privatekube_policy::Phase::Consumed)
        || out.events.iter().any(|pending| pending.consumes(&claim));
    if consumed {
        out.events.push(Event::NeverRan { claim }.into());
    }
}
