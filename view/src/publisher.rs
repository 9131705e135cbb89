//! The publisher: turns committed ledger entries into the view, and returns what changed.
//!
//! The publisher does no I/O: its caller carries the changes out. The extender writes statuses and Events and removes
//! gates, a tool may print the changes, and a replica ignores them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use privatekube_api::{
    ClaimPhase, ClaimReason, DatasetKey, Subject, are_enough, differ_by_countdown_only, meta_time,
};
use privatekube_policy::{
    BlockId, ClaimId, ClaimState, Denial, Engine, Phase, Policy, Record, Span, Time, Unlocking,
};

use crate::{
    BlockKey, ClaimView, DatasetView, View,
    claim::SharedDemands,
    explain::{self, PhaseReason},
    objects::DatasetObjects,
    shared::Shared,
    status::{self, ClaimPosition, Readiness},
};

/// How many waiting claims are explained again in one call of [`Publisher::refresh_waiting`].
const MOST_EXPLAINED: usize = 200;
/// How many of them change their status in one call, and how many are announced again.
const MOST_REFRESHED: usize = 20;

/// The state of a ledger after its last committed entry.
#[derive(Clone, Copy, Debug)]
pub struct CommittedState<'a> {
    /// The engine, which has replayed every entry.
    pub engine: &'a Engine,
    /// The last entry's sequence number; 0 if there is none yet.
    pub sequence: u64,
}

/// The claims and blocks that an entry concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Claims that were matched or decided, or whose budget was consumed or released.
    pub claims: BTreeSet<ClaimId>,
    /// Blocks that were added, retired or unlocked, and the blocks of those `claims` that were ever granted.
    pub blocks: BTreeSet<BlockId>,
}

impl Touched {
    /// Collects what an entry touches from its `records` and the claims that it `matched`. `engine` has applied the
    /// entry.
    pub fn by<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        matched: &[ClaimId],
        engine: &Engine,
    ) -> Self {
        let mut touched = Self {
            claims: matched.iter().cloned().collect(),
            blocks: BTreeSet::new(),
        };
        for record in records {
            match record {
                Record::BlockAdded { block }
                | Record::BlockRetired { block }
                | Record::WrittenOff { block } => {
                    touched.blocks.insert(block.clone());
                }
                Record::Unlocked { blocks } => touched.blocks.extend(blocks.iter().cloned()),
                Record::Waits { claim }
                | Record::Granted { claim, .. }
                | Record::Denied { claim, .. }
                | Record::Expired { claim, .. }
                | Record::Withdrawn { claim }
                | Record::Consumed { claim, .. }
                | Record::Released { claim, .. } => {
                    touched.claims.insert(claim.clone());
                }
            }
        }
        for claim in &touched.claims {
            if engine
                .phase(claim)
                .is_some_and(|phase| ClaimPhase::from(phase).is_granted())
            {
                touched.blocks.extend(engine.blocks_of(claim).cloned());
            }
        }
        touched
    }

    /// The touched claims that have their blocks now, or have ended: they need not be matched again.
    pub fn settled(&self, engine: &Engine) -> impl Iterator<Item = &ClaimId> {
        self.claims.iter().filter(|id| {
            engine.claim(id).is_none_or(|claim| {
                claim.phase != Phase::Waiting || are_enough(&claim.arrival.demands, claim.arrival.min_blocks)
            })
        })
    }
}

/// A difference in the view that a publication made.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A claim in the ledger reached another phase.
    Phase(PhaseChange),
    /// A claim waits because its matching blocks take too many bytes of an entry. [`Change::Claim`] has the status.
    Oversized(PhaseChange),
    /// A claim is not in the ledger, for the given reason.
    NotInLedger(PhaseChange),
    /// A claim waits still, and is announced again.
    WaitsStill(PhaseChange),
    /// A claim's status changed, but not its phase.
    Claim(ClaimId),
    /// The status of the block of this name changed.
    Block(String),
    /// The dataset's status changed.
    Dataset,
}

/// The phase that a claim has reached.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseChange {
    /// The claim.
    pub id: ClaimId,
    /// The object that the claim is made for.
    pub subject: Subject,
    /// The phase.
    pub phase: ClaimPhase,
    /// Why it is in the phase, in the words of its status.
    pub why: PhaseReason,
    /// How long it waited until it was decided, if it was.
    pub waited: Option<Span>,
}

/// The publisher of one dataset's ledger.
#[derive(Debug)]
pub struct Publisher {
    dataset: Arc<DatasetKey>,
    view: Arc<View>,
    /// How many claims of the ledger were published. The first ones were, since claims are numbered as they arrive.
    published: usize,
    /// The claims without an object that have not ended. A claim without an object that has ended is not in the view.
    without_object: HashSet<ClaimId>,
    /// What claims in the view share.
    demands: SharedDemands,
    messages: Shared<str>,
    /// How many claims are in each phase.
    counts: BTreeMap<ClaimPhase, u64>,
    /// The claims in phase Waiting.
    waiting: BTreeSet<ClaimId>,
    /// The last claim that [`Self::refresh_waiting`] explained; `None` to start at the first.
    refreshed: Option<ClaimId>,
    /// The last claim that [`Self::announce_waiting_again`] returned; `None` to start at the first.
    announced: Option<ClaimId>,
    /// How many waiting claims are to be announced again.
    due: f64,
    /// Claims whose matching blocks take too many bytes of an entry, with the message that says so.
    oversized: HashMap<ClaimId, String>,
    /// What claims say of blocks that they leave out because their selectors have no answer for them.
    left_out: HashMap<ClaimId, String>,
    /// The latest time that it was given, from which messages count down.
    now: Time,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    #[must_use]
    pub fn new(dataset: DatasetKey, view: Arc<View>) -> Self {
        Self {
            dataset: Arc::new(dataset),
            view,
            published: 0,
            without_object: HashSet::new(),
            demands: SharedDemands::default(),
            messages: Shared::default(),
            counts: BTreeMap::new(),
            waiting: BTreeSet::new(),
            refreshed: None,
            announced: None,
            due: 0.0,
            oversized: HashMap::new(),
            left_out: HashMap::new(),
            now: Time::default(),
        }
    }

    /// How many claims are in each phase. Phases in which no claim has ever been are left out.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<ClaimPhase, u64> {
        &self.counts
    }

    /// Publishes the whole state of a ledger after it was replayed. Claims that have ended and whose objects don't exist
    /// are left out; `exists` says so. Returns the change of the dataset, and those of claims and blocks that said why they
    /// are in no ledger. Of the others, whose statuses are those of the ledger, a controller has the status written when it
    /// sees an object whose status differs from the view.
    pub fn publish_all(
        &mut self,
        state: CommittedState<'_>,
        objects: &DatasetObjects,
        now: Time,
        exists: impl Fn(&ClaimId) -> bool,
    ) -> Vec<Change> {
        self.view.set_stopped(&self.dataset, None);
        self.now = self.now.max(now);
        let engine = state.engine;
        let mut changes = Vec::new();
        self.counts.clear();
        self.waiting.clear();
        for id in engine.claims() {
            if let Some(phase) = engine.phase(id) {
                self.count(id, None, phase.into());
            }
        }
        self.published = engine.arrived();
        self.forget_deleted(engine, &exists);
        // A ledger that lost entries has less than was published before.
        let is_lost = |claim: &ClaimView| {
            *claim.dataset == *self.dataset && claim.is_in_ledger() && engine.phase(&claim.id).is_none()
        };
        for lost in self.view.claims(is_lost) {
            self.view.forget_claim(&lost.id);
        }
        for id in engine.claims() {
            if engine.phase(id).is_some_and(Phase::has_ended) && !exists(id) {
                continue;
            }
            let published = self.view.claim(id);
            let was_held = published.is_some_and(|claim| !claim.is_in_ledger());
            let put = self.put_claim(engine, objects, id, ClaimPosition::as_of(state));
            changes.extend(put.filter(|()| was_held).map(|()| Change::Claim(id.clone())));
        }
        for block in engine.blocks() {
            let published = self.view.block(&self.block_key(block.as_str()));
            let was_held = published.is_some_and(|block| block.committed.is_none());
            let change = self.publish_block(state, objects, block, now);
            changes.extend(change.filter(|_| was_held));
        }
        changes.extend(self.publish_dataset(Some(state), objects, now));
        changes
    }

    /// Remembers that the object of a claim was deleted: the claim leaves the view once it has ended in the ledger.
    pub fn object_deleted(&mut self, engine: &Engine, claim: &ClaimId) {
        match engine.phase(claim) {
            Some(phase) if phase.has_ended() => {
                self.left_out.remove(claim);
                self.view.forget_claim(claim);
            }
            Some(_) => {
                self.without_object.insert(claim.clone());
            }
            // `forget_claim` is for claims that are not in the ledger.
            None => {}
        }
    }

    /// As [`object_deleted`](Self::object_deleted), for all claims of the ledger whose objects don't exist.
    pub fn forget_deleted(&mut self, engine: &Engine, exists: impl Fn(&ClaimId) -> bool) {
        for claim in engine.claims().filter(|claim| !exists(claim)) {
            self.object_deleted(engine, claim);
        }
    }

    /// Puts a claim back that had left the view, because its object exists after all: a pod that lost the label of
    /// managed pods, and got it again.
    pub fn object_exists(
        &mut self,
        state: CommittedState<'_>,
        objects: &DatasetObjects,
        claim: &ClaimId,
    ) -> Option<Change> {
        let engine = state.engine;
        self.without_object.remove(claim);
        if self.view.claim(claim).is_some() || engine.phase(claim).is_none() {
            return None;
        }
        self.put_claim(engine, objects, claim, ClaimPosition::as_of(state))?;
        Some(Change::Claim(claim.clone()))
    }

    /// Publishes what the last entry changed. `state` is the state after the entry, and `time` the entry's time.
    pub fn publish_entry(
        &mut self,
        state: CommittedState<'_>,
        objects: &DatasetObjects,
        time: Time,
        touched: &Touched,
    ) -> Vec<Change> {
        let position = ClaimPosition {
            sequence: Some(state.sequence),
            at: Some(time),
        };
        self.now = self.now.max(time);
        for id in touched.settled(state.engine) {
            self.oversized.remove(id);
        }
        let mut changes = Vec::new();
        for id in &touched.claims {
            changes.extend(self.publish_claim(state.engine, objects, id, position));
        }
        for block in &touched.blocks {
            changes.extend(self.publish_block(state, objects, block, time));
            // One whose data the block has, too, says so as well.
            let other = objects.with_same_source(block.as_str()).map(BlockId::from);
            let other = other.filter(|other| !touched.blocks.contains(other));
            changes.extend(other.and_then(|other| self.publish_block(state, objects, &other, time)));
        }
        self.published = state.engine.arrived();
        changes.extend(self.publish_dataset(Some(state), objects, time));
        changes
    }

    /// Publishes a block: its budget, or why it can't be used. A block of which only the ledger's sequence number has
    /// changed is not published again. Of a block that is usable and in no entry yet there is nothing to say: the entry
    /// that adds it does.
    #[must_use = "changes have to be carried out"]
    pub fn publish_block(
        &self,
        state: CommittedState<'_>,
        objects: &DatasetObjects,
        block: &BlockId,
        now: Time,
    ) -> Option<Change> {
        let object = objects.block(block.as_str())?;
        let view = status::block_view(state, block, object, objects, &meta_time(now));
        if view.committed.is_none() && view.problem.is_none() && !view.written_off {
            return None;
        }
        let key = self.block_key(block.as_str());
        if self
            .view
            .block(&key)
            .is_some_and(|published| published.says_the_same(&view))
        {
            return None;
        }
        let changed = self.view.put_block(key, view);
        changed.then(|| Change::Block(block.as_str().to_owned()))
    }

    /// Publishes why a block is in no ledger: there is none that could have it. What a ledger said of the block before stays.
    #[must_use = "changes have to be carried out"]
    pub fn publish_block_without_ledger(
        &self,
        objects: &DatasetObjects,
        name: &str,
        why: PhaseReason,
        now: Time,
    ) -> Option<Change> {
        let object = objects.block(name)?;
        let key = self.block_key(name);
        let published = self.view.block(&key);
        if published.is_some_and(|published| published.committed.is_some()) {
            return None;
        }
        let view = status::block_without_ledger(name, object, objects, why, meta_time(now));
        let changed = self.view.put_block(key, view);
        changed.then(|| Change::Block(name.to_owned()))
    }

    /// Publishes how many blocks and claims the dataset has, and whether its object has the same rules as its ledger.
    /// While there is no ledger, publishes only the problem, if any, that prevents one.
    #[must_use = "changes have to be carried out"]
    pub fn publish_dataset(
        &self,
        state: Option<CommittedState<'_>>,
        objects: &DatasetObjects,
        now: Time,
    ) -> Option<Change> {
        let rules = state.map(|state| state.engine.rules());
        let ready = Readiness::of(objects.dataset().map(|object| &**object), rules);
        if state.is_none() && ready.is_true() {
            return None;
        }
        let count = |phase| self.counts.get(&phase).copied().unwrap_or_default();
        let view = DatasetView {
            composition: rules.map(|rules| rules.composition.clone()),
            claimants: state.map(|_| Arc::clone(objects.claimants())),
            refused_pods: objects.refused_pods(),
            privacy_unit: objects.privacy_unit(),
            uid: objects.dataset().and_then(|object| object.metadata.uid.clone()),
            status: status::dataset_status(
                objects,
                &ready,
                state.map(|state| state.sequence),
                state.and_then(|state| state.engine.last_write_off()),
                count,
                meta_time(now),
            ),
        };
        let changed = self.view.put_dataset((*self.dataset).clone(), view);
        changed.then_some(Change::Dataset)
    }

    /// Publishes that the dataset is stopped because its ledger can't be read or written. `why` says why, and what to
    /// do. The view keeps what was committed before, but no verdict lets a pod run on the dataset.
    #[must_use = "changes have to be carried out"]
    pub fn publish_stopped(&self, objects: &DatasetObjects, why: &str, now: Time) -> Option<Change> {
        self.view.set_stopped(&self.dataset, Some(why));
        let before = self.view.dataset(&self.dataset);
        let sequence = before.as_ref().and_then(|before| before.status.ledger_sequence);
        let count = |phase| self.counts.get(&phase).copied().unwrap_or_default();
        let written_off_after = before.as_ref().and_then(|before| before.status.written_off_after);
        let ready = Readiness::Stopped(why.to_owned());
        let view = DatasetView {
            composition: before.as_ref().and_then(|before| before.composition.clone()),
            claimants: None,
            refused_pods: objects.refused_pods(),
            privacy_unit: objects.privacy_unit(),
            uid: objects.dataset().and_then(|object| object.metadata.uid.clone()),
            status: status::dataset_status(
                objects,
                &ready,
                sequence,
                written_off_after,
                count,
                meta_time(now),
            ),
        };
        let changed = self.view.put_dataset((*self.dataset).clone(), view);
        changed.then_some(Change::Dataset)
    }

    /// Publishes why a claim is not in the ledger: for example, there is no ledger yet, or the claim is invalid.
    /// Returns `None` if that is published already.
    #[must_use = "changes have to be carried out"]
    pub fn publish_outside_ledger(
        &mut self,
        subject: Subject,
        why: PhaseReason,
        now: Time,
    ) -> Option<Change> {
        let (id, phase) = (subject.id(), why.reason.phase());
        if phase != ClaimPhase::Waiting {
            self.left_out.remove(&id);
        }
        let published = self.view.claim(&id);
        if published.is_some_and(|published| {
            // The claim is in the ledger of a dataset that is stopped, and its published phase remains valid, also if
            // another publisher published it, before this one.
            published.is_in_ledger()
                || (published.phase == phase
                    && published.reason == why.reason
                    && *published.message == *why.message)
        }) {
            return None;
        }
        let view = status::not_in_ledger(Arc::clone(&self.dataset), &subject, &why, meta_time(now));
        self.view.put_claim(view);
        Some(Change::NotInLedger(PhaseChange {
            id,
            subject,
            phase,
            why,
            waited: None,
        }))
    }

    /// Publishes that a waiting claim's matching blocks take too many bytes of an entry. `problem` is the message for
    /// users.
    pub fn publish_oversized(&mut self, engine: &Engine, claim: &ClaimId, problem: &str) -> Vec<Change> {
        let before = self.oversized.insert(claim.clone(), problem.to_owned());
        if before.as_deref() == Some(problem) {
            return Vec::new();
        }
        let changed = self.refresh(engine, claim);
        let announced = Subject::of(claim).filter(|_| before.is_none()).map(|subject| {
            let why = PhaseReason::new(ClaimReason::TooManyBlocks, problem);
            Change::Oversized(PhaseChange {
                id: claim.clone(),
                subject,
                phase: ClaimPhase::Waiting,
                why,
                waited: None,
            })
        });
        changed.into_iter().chain(announced).collect()
    }

    /// Forgets that a claim's matching blocks took too many bytes of an entry, because it matches fewer blocks now.
    pub fn forget_oversized(&mut self, claim: &ClaimId) {
        self.oversized.remove(claim);
    }

    /// Publishes which blocks a claim leaves out because its selector has no answer for them; `None` if there are none any
    /// more. `left_out` comes from [`blocks_left_out`](crate::blocks_left_out). A claim may be told of that is about to
    /// arrive.
    #[must_use = "changes have to be carried out"]
    pub fn publish_left_out(
        &mut self,
        engine: &Engine,
        claim: &ClaimId,
        left_out: Option<String>,
    ) -> Option<Change> {
        match left_out {
            Some(text) => self.left_out.insert(claim.clone(), text),
            None => self.left_out.remove(claim),
        };
        self.refresh(engine, claim)
    }

    /// Explains some of the waiting claims again, because the budget that they lack depends on other claims, and
    /// publishes the blocks if they unlock with time. Each call continues with the claims after those of the last call,
    /// and changes few of them, so that no decision waits behind them to be written.
    pub fn refresh_waiting(
        &mut self,
        state: CommittedState<'_>,
        objects: &DatasetObjects,
        now: Time,
    ) -> Vec<Change> {
        self.now = self.now.max(now);
        let after = self.refreshed.take();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let waiting = self.waiting.range((after, Bound::Unbounded));
        let next: Vec<ClaimId> = waiting.take(MOST_EXPLAINED).cloned().collect();
        let mut changes = Vec::new();
        let mut explained = 0;
        for id in &next {
            explained += 1;
            changes.extend(self.refresh(state.engine, id));
            if changes.len() == MOST_REFRESHED {
                break;
            }
        }
        if explained == MOST_EXPLAINED || changes.len() == MOST_REFRESHED {
            self.refreshed = next.get(explained.saturating_sub(1)).cloned();
        }
        if matches!(state.engine.rules().unlocking, Unlocking::Lifetime { .. }) {
            for (name, _) in objects.blocks() {
                let block = BlockId::from(name.as_str());
                changes.extend(self.publish_block(state, objects, &block, now));
            }
        }
        changes
    }

    /// Returns as many waiting claims as have to be announced again now, if all of them are to be in the course of
    /// `every`: Kubernetes Events live for an hour. `since`: the time since the last call.
    pub fn announce_waiting_again(
        &mut self,
        engine: &Engine,
        since: std::time::Duration,
        every: std::time::Duration,
    ) -> Vec<Change> {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.due += f64::from(waiting) * since.as_secs_f64() / every.as_secs_f64();
        let mut announced = Vec::new();
        while self.due >= 1.0 && announced.len() < MOST_REFRESHED {
            self.due -= 1.0;
            let after = self.announced.take().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.waiting.range((after, Bound::Unbounded)).next();
            let Some(id) = next.or(self.waiting.first()).cloned() else {
                break;
            };
            announced.extend(self.waits_still(engine, &id).map(Change::WaitsStill));
            self.announced = Some(id);
        }
        self.due = self.due.min(1.0);
        announced
    }

    fn waits_still(&self, engine: &Engine, id: &ClaimId) -> Option<PhaseChange> {
        Some(PhaseChange {
            subject: Subject::of(id)?,
            id: id.clone(),
            phase: ClaimPhase::Waiting,
            why: self.why_it_waits(engine, id)?,
            waited: None,
        })
    }

    /// Removes a claim from the view, unless it is in the ledger.
    pub fn forget_claim(&self, claim: &ClaimId) {
        if self.view.claim(claim).is_some_and(|claim| !claim.is_in_ledger()) {
            self.view.forget_claim(claim);
        }
    }

    /// Removes a block from the view, after its object was deleted.
    pub fn forget_block(&self, name: &str) {
        self.view.forget_block(&self.block_key(name));
    }

    /// Removes the dataset from the view, while it has no ledger.
    pub fn forget_dataset(&self) {
        self.view.forget_dataset(&self.dataset);
    }

    /// Removes everything that was published from the view: the ledger was deleted.
    pub fn forget_all(&self) {
        self.view.forget_all_of(&self.dataset);
    }

    fn publish_claim(
        &mut self,
        engine: &Engine,
        objects: &DatasetObjects,
        id: &ClaimId,
        position: ClaimPosition,
    ) -> Option<Change> {
        let claim = engine.claim(id)?;
        let subject = Subject::of(id)?;
        let (why, phase) = (self.why(engine, &claim), ClaimPhase::from(claim.phase));
        let waited = claim
            .decided
            .map(|decided| Span::from_micros(decided.micros().saturating_sub(claim.arrived.micros())));
        let published = self.view.claim(id).filter(|claim| claim.is_in_ledger());
        let has_left = published.is_none() && claim.number < self.published;
        let before = if has_left {
            // It had ended, and the only end that is followed by another one is this.
            Some(ClaimPhase::Consumed)
        } else {
            published.map(|published| published.phase)
        };
        self.count(id, before, phase);
        if !matches!(claim.phase, Phase::Waiting | Phase::Granted | Phase::Consumed) {
            self.left_out.remove(id);
        }
        let changed = if has_left {
            false
        } else if claim.phase.has_ended() && self.without_object.remove(id) {
            self.left_out.remove(id);
            self.view.forget_claim(id);
            true
        } else {
            let view = self.view_of(engine, objects, &claim, &why, position);
            self.view.put_claim(view)
        };
        if before == Some(phase) {
            return changed.then(|| Change::Claim(id.clone()));
        }
        Some(Change::Phase(PhaseChange {
            id: id.clone(),
            subject,
            phase,
            why,
            waited,
        }))
    }

    /// Puts a claim into the view. Returns `None` if its name is not that of an object.
    fn put_claim(
        &mut self,
        engine: &Engine,
        objects: &DatasetObjects,
        id: &ClaimId,
        position: ClaimPosition,
    ) -> Option<()> {
        let claim = engine.claim(id)?;
        Subject::of(id)?;
        let why = self.why(engine, &claim);
        let view = self.view_of(engine, objects, &claim, &why, position);
        self.view.put_claim(view);
        Some(())
    }

    /// A claim as it is put into the view, which shares what other claims have, too.
    fn view_of(
        &mut self,
        engine: &Engine,
        objects: &DatasetObjects,
        claim: &ClaimState<'_>,
        why: &PhaseReason,
        position: ClaimPosition,
    ) -> ClaimView {
        let why = (why.reason, self.messages.share(why.message.as_str().into()));
        let demands = self.demands.share(&claim.arrival.demands, objects);
        let dataset = Arc::clone(&self.dataset);
        status::claim_view(dataset, engine, claim, demands, why, position)
    }

    /// Publishes why a claim waits, if that has changed.
    fn refresh(&mut self, engine: &Engine, id: &ClaimId) -> Option<Change> {
        let published = self.view.claim(id)?;
        let why = self.why_it_waits(engine, id)?;
        if published.reason == why.reason && differ_by_countdown_only(&published.message, &why.message) {
            return None;
        }
        let mut view = (*published).clone();
        view.reason = why.reason;
        view.message = self.messages.share(why.message.into());
        self.view.put_claim(view);
        Some(Change::Claim(id.clone()))
    }

    /// Why a claim is in its phase.
    fn why(&self, engine: &Engine, claim: &ClaimState<'_>) -> PhaseReason {
        if claim.phase == Phase::Waiting {
            let why = self.why_it_waits(engine, &claim.arrival.claim);
            return why.unwrap_or_else(explain::undecided);
        }
        let why = if let Some(Denial::BlockRetired { block }) = claim.denial
            && engine.block(block).is_some_and(|block| block.written_off)
        {
            explain::written_off(block)
        } else {
            explain::decided(claim, &engine.rules().composition)
        };
        if matches!(claim.phase, Phase::Granted | Phase::Consumed) {
            self.leaving_out(&claim.arrival.claim, why)
        } else {
            why
        }
    }

    /// Adds which blocks a claim leaves out, if it leaves out any.
    fn leaving_out(&self, claim: &ClaimId, mut why: PhaseReason) -> PhaseReason {
        if let Some(left_out) = self.left_out.get(claim) {
            why.message = format!("{}; {left_out}", why.message);
        }
        why
    }

    /// Why a claim waits; `None` if it doesn't.
    fn why_it_waits(&self, engine: &Engine, id: &ClaimId) -> Option<PhaseReason> {
        let explanation = engine.explain(id)?;
        if let Some(problem) = self.oversized.get(id) {
            let why = explain::oversized(problem, &explanation, self.now);
            return Some(self.leaving_out(id, why));
        }
        let few = self.waiting.len() <= most_counted(engine.rules().policy);
        let standing = few.then(|| engine.standing(id)).flatten();
        let ahead = standing.and_then(|standing| standing.ahead);
        let why = explain::waits(&explanation, ahead, engine.rules(), self.now);
        Some(self.leaving_out(id, why))
    }

    /// Counts a claim in its phase, and no longer in the one that it was in `before`.
    fn count(&mut self, id: &ClaimId, before: Option<ClaimPhase>, phase: ClaimPhase) {
        if phase == ClaimPhase::Waiting {
            self.waiting.insert(id.clone());
        } else {
            self.waiting.remove(id);
        }
        if before != Some(phase) {
            if let Some(count) = before.and_then(|before| self.counts.get_mut(&before)) {
                *count = count.saturating_sub(1);
            }
            *self.counts.entry(phase).or_default() += 1;
        }
    }

    fn block_key(&self, name: &str) -> BlockKey {
        ((*self.dataset).clone(), name.to_owned())
    }
}

/// The most waiting claims with which explanations state how many claims go before a claim. To count these takes a look
/// at every waiting claim, and under DPack at each of their blocks and orders: with 50 claims on 10 blocks each,
/// explaining all takes some 20 ms.
const fn most_counted(policy: Policy) -> usize {
    match policy {
        Policy::Dpack { .. } => 50,
        Policy::Dpf | Policy::Fcfs { .. } | Policy::RoundRobin | Policy::Blend { .. } => MOST_EXPLAINED,
    }
}
