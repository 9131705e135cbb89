//! What is measured of datasets: budget, claims and ledgers. Each part declares its own metrics, whose series of a dataset
//! end with its ledger.

mod budget;
mod claims;
mod fairness;
mod ledger;
mod series;

use std::{sync::Arc, time::Duration};

use privatekube_api::DatasetKey;
use privatekube_ledger::{Committed, EventIndex};
use privatekube_policy::{ClaimId, Engine, Time, Unlocking};
use privatekube_view::{BlockView, CommittedState, DatasetObjects, Fairness, PhaseChange, Publisher, Step};

pub(super) use self::ledger::ReadBack;
use self::{
    budget::{BudgetMetrics, Budgets},
    claims::ClaimMetrics,
    fairness::FairnessMetrics,
    ledger::EntryMetrics,
};
use super::{checkpoints::Outcome, stop::StopCause, writer::Written};
use crate::{handles::Handles, metrics::Declarations};

/// How many claims and blocks of claims are looked at together after a ledger was opened: some 2 ms.
const MOST_LOOKED_AT: usize = if cfg!(test) { 20 } else { 2000 };

/// The metrics of all datasets.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    budget: BudgetMetrics,
    claims: ClaimMetrics,
    fairness: FairnessMetrics,
    entries: EntryMetrics,
}

impl LedgerMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        Ok(Self {
            budget: BudgetMetrics::declare(declare)?,
            claims: ClaimMetrics::declare(declare)?,
            fairness: FairnessMetrics::declare(declare)?,
            entries: EntryMetrics::declare(declare)?,
        })
    }

    /// Measures up to which entry a ledger is exported.
    pub(super) fn exported(&self, dataset: &DatasetKey, sequence: u64) {
        self.entries.exported(dataset, sequence);
    }

    /// Measures whether a ledger's export fails.
    pub(super) fn export_failing(&self, dataset: &DatasetKey, is_failing: bool) {
        self.entries.export_failing(dataset, is_failing);
    }

    /// How many claims of a dataset are in a phase.
    #[cfg(test)]
    pub fn claims_in(&self, dataset: &DatasetKey, phase: privatekube_api::ClaimPhase) -> i64 {
        self.claims.in_phase(dataset, phase)
    }
}

/// Measures one dataset.
#[derive(Debug)]
pub(super) struct DatasetMeter {
    handles: Handles,
    dataset: DatasetKey,
    budgets: Budgets,
    /// How many claims the engine knew when it was looked at last.
    arrived: usize,
    /// `None` while the ledger was never open.
    fairness: Option<Fairness>,
    /// Whether the measures of fairness may have changed since their series were set.
    is_stale: bool,
    /// Whether nothing is measured: the process that writes the ledger has the series, and sums over processes would count
    /// twice.
    is_silent: bool,
}

impl DatasetMeter {
    pub(super) fn new(handles: Handles, dataset: DatasetKey, is_silent: bool) -> Self {
        let bounds = handles.measured;
        let budget = handles.metrics.ledgers.budget.clone();
        Self {
            budgets: Budgets::new(budget, dataset.clone(), bounds.most_blocks, bounds.orders),
            handles,
            dataset,
            arrived: 0,
            fairness: None,
            is_stale: false,
            is_silent,
        }
    }

    /// Measures from now on. [`opened`](Self::opened) follows.
    pub(super) fn begin(&mut self) {
        self.is_silent = false;
    }

    fn metrics(&self) -> &LedgerMetrics {
        &self.handles.metrics.ledgers
    }

    fn view(&self, block: &str) -> Option<Arc<BlockView>> {
        self.handles.view.block(&(self.dataset.clone(), block.to_owned()))
    }

    /// Measures a ledger that was opened and published, which took so long. The measures of fairness follow once all claims were
    /// looked at: see [`catch_up`](Self::catch_up).
    pub(super) fn opened(&mut self, state: CommittedState<'_>, time: Time, took: Duration) {
        if self.is_silent {
            return;
        }
        self.arrived = state.engine.arrived();
        let entries = &self.metrics().entries;
        entries.opened(&self.dataset, state.engine.rules(), state.sequence, time, took);
        entries.stopped(&self.dataset, None);
        let fairness = Fairness::after_replay(state.engine);
        self.metrics().fairness.begin(&self.dataset, &fairness);
        self.fairness = Some(fairness);
        self.is_stale = true;
        self.catch_up(state.engine);
    }

    /// Whether claims are left to look at since the ledger was opened.
    pub(super) fn is_catching_up(&self) -> bool {
        self.fairness.as_ref().is_some_and(Fairness::is_catching_up)
    }

    /// Looks at some of the claims that were not looked at since the ledger was opened. The series of fairness and of the
    /// claims that wait are set once there are no more.
    pub(super) fn catch_up(&mut self, engine: &Engine) {
        if let Some(fairness) = &mut self.fairness {
            fairness.catch_up(engine, MOST_LOOKED_AT);
        }
        self.tick(engine);
    }

    /// Measures an entry that was committed.
    pub(super) fn committed(&mut self, engine: &Engine, committed: &Committed, written: &Written) {
        if let Some(fairness) = &mut self.fairness {
            let before = FairnessMetrics::counted(fairness);
            fairness.follow(engine, steps(committed, &written.of_claims));
            let metrics = &self.handles.metrics.ledgers.fairness;
            metrics.count(&self.dataset, before, fairness);
            self.is_stale = true;
        }
        let metrics = self.metrics();
        metrics.entries.committed(&self.dataset, committed, written.took);
        let known = engine.arrived();
        let new = known.saturating_sub(self.arrived);
        metrics.claims.arrived(&self.dataset, new);
        self.arrived = known;
    }

    /// Sets the series of what is measured from time to time: waiting claims and fairness. Costs a look at every namespace
    /// and block, unless nothing has changed, or claims are left to look at.
    pub(super) fn tick(&mut self, engine: &Engine) {
        let unlocks = matches!(engine.rules().unlocking, Unlocking::Lifetime { .. });
        let fairness = self.fairness.as_mut().filter(|_| self.is_stale || unlocks);
        let Some(fairness) = fairness.filter(|fairness| !fairness.is_catching_up()) else {
            return;
        };
        fairness.look(engine);
        self.is_stale = fairness.is_behind();
        let metrics = &self.handles.metrics.ledgers;
        metrics.fairness.set(&self.dataset, &fairness.measured());
        metrics.claims.claimants(&self.dataset, fairness.claimants());
        metrics.fairness.shares(&self.dataset, fairness.claimants());
    }

    /// Counts an entry that somebody else had created.
    pub(super) fn conflict(&self) {
        self.metrics().entries.conflict(&self.dataset);
    }

    /// Counts that the last entry was read back.
    pub(super) fn read_back(&self, outcome: ReadBack) {
        if self.is_silent {
            return;
        }
        self.metrics().entries.read_back(&self.dataset, outcome);
    }

    /// Measures at which entry the published checkpoint stands, 0 if there is none.
    pub(super) fn checkpoint_at(&self, sequence: u64) {
        self.metrics().entries.checkpoint_at(&self.dataset, sequence);
    }

    /// Measures what became of a checkpoint, or of a removal of entries.
    pub(super) fn checkpoint(&self, outcome: &Outcome) {
        self.metrics().entries.checkpoint(&self.dataset, outcome);
    }

    /// Measures that the dataset is stopped.
    pub(super) fn stopped(&self, cause: StopCause) {
        if self.is_silent {
            return;
        }
        self.metrics().entries.stopped(&self.dataset, Some(cause));
    }

    /// Measures a block that has changed. [`publish`](Self::publish) follows.
    pub(super) fn block(&mut self, name: &str) {
        if let Some(view) = self.view(name).filter(|_| !self.is_silent) {
            self.budgets.measure(name, &view);
        }
    }

    /// Measures every block, after all of them were published.
    pub(super) fn all_blocks(&mut self, objects: &DatasetObjects) {
        for (name, _) in objects.blocks() {
            self.block(name);
        }
        self.publish(objects);
    }

    /// Sets the series of the dataset to what its blocks add up to.
    pub(super) fn publish(&mut self, objects: &DatasetObjects) {
        if !self.is_silent {
            self.budgets.publish(objects.block_count());
        }
    }

    /// Forgets a block whose object was deleted.
    pub(super) fn forget_block(&mut self, name: &str) {
        let (view, dataset) = (Arc::clone(&self.handles.view), self.dataset.clone());
        self.budgets
            .forget_and_replace(name, |name| view.block(&(dataset.clone(), name.to_owned())));
    }

    /// Measures how many claims are in each phase.
    pub(super) fn phases(&self, publisher: &Publisher) {
        if self.is_silent {
            return;
        }
        self.metrics().claims.phases(&self.dataset, publisher);
    }

    /// Counts a phase that a claim has reached.
    pub(super) fn phase_reached(&self, change: &PhaseChange) {
        let claims = &self.metrics().claims;
        claims.decided(&self.dataset, change.phase, change.why.reason, change.waited);
    }

    /// Removes all series of the dataset: it has no ledger any more.
    pub(super) fn forget_all(&mut self) {
        self.budgets.forget_all();
        let metrics = self.metrics();
        metrics.claims.forget(&self.dataset);
        metrics.entries.forget(&self.dataset);
        metrics.fairness.forget(&self.dataset);
        self.handles.metrics.writers.forget(&self.dataset);
        self.arrived = 0;
        self.fairness = None;
    }
}

/// The steps of an entry, beside the claims that events let arrive or matched.
fn steps<'a>(
    committed: &'a Committed,
    of_claims: &'a [(EventIndex, ClaimId)],
) -> impl Iterator<Item = Step<'a>> + Clone {
    committed.by_event().map(move |(event, records)| {
        let at = event.and_then(|event| of_claims.binary_search_by_key(&event, |(at, _)| *at).ok());
        let claim = at.and_then(|at| of_claims.get(at)).map(|(_, claim)| claim);
        Step { claim, records }
    })
}
