//! Who asks comes and goes, and the ledger gets what is asked.

use privatekube_policy::{Arrival, ClaimId, Composition, Event, Phase};
use tracing::debug;

use super::{
    Asked, Bookkeeper, BookkeeperError, Pending,
    matching::{are_enough, is_matched, min_blocks},
};

impl Bookkeeper {
    /// Remembers what somebody asks, unless it is in the ledger already.
    pub(super) fn ask(&mut self, asked: Asked) -> Result<(), BookkeeperError> {
        let id = asked.subject.id();
        if self.fresh.contains(&id) || self.unmatched.contains(&id) {
            return Ok(());
        }
        let engine = self.engine()?;
        let known = engine.and_then(|engine| engine.claim(&id));
        // Known, but waiting for blocks: after a restart it has to be matched again.
        let to_match = known.map(|claim| claim.phase == Phase::Waiting && !is_matched(&claim.arrival));
        match to_match {
            None if engine.is_none() => {
                self.tell_held(&asked);
                self.fresh.push(asked);
            }
            None => self.fresh.push(asked),
            Some(true) => {
                self.unmatched.push(asked);
                self.blocks_changed = true;
            }
            Some(false) => {}
        }
        Ok(())
    }

    /// Who asked is gone.
    pub(super) fn withdraw(&mut self, claim: ClaimId) -> Result<Option<Pending>, BookkeeperError> {
        self.is_settled(&claim);
        self.fresh.remove(&claim);
        match self.engine()?.and_then(|engine| engine.phase(&claim)) {
            Some(Phase::Waiting | Phase::Granted) => return Ok(Some(Event::Withdraw { claim }.into())),
            Some(_) => return Ok(None),
            None => {}
        }
        debug!(dataset = %self.dataset, %claim, "a claim is gone before it came to the ledger");
        self.desk.view.forget_claim(&claim);
        Ok(None)
    }

    /// What a claim was spent for, or will be once what is `pending` has happened, provably never ran.
    pub(super) fn never_ran(
        &self,
        claim: ClaimId,
        pending: &[Pending],
    ) -> Result<Option<Pending>, BookkeeperError> {
        let known = self.engine()?.and_then(|engine| engine.phase(&claim));
        let is_spent = |pending: &Pending| matches!(&pending.event, Event::Consume { claim: spent, .. } if *spent == claim);
        let spent = known == Some(Phase::Consumed) || pending.iter().any(is_spent);
        Ok(spent.then(|| Event::NeverRan { claim }.into()))
    }

    /// Ends what the ledger knows and no object stands for any more.
    pub(super) fn end_what_is_gone(&mut self) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        let retired = engine
            .blocks()
            .filter(|block| !self.blocks.contains_key(block.as_str()))
            .filter(|block| engine.block(block).is_some_and(|books| !books.retired))
            .map(|block| Event::RetireBlock { block: block.clone() });
        let withdrawn = engine
            .claims()
            .filter(|id| matches!(engine.phase(id), Some(Phase::Waiting | Phase::Granted)))
            .filter(|id| !self.desk.exists(id))
            .map(|claim| Event::Withdraw { claim: claim.clone() });
        Ok(retired.chain(withdrawn).map(Pending::from).collect())
    }

    /// Makes events of the blocks that are new and of what was asked, to follow on what is pending.
    pub(super) fn new_blocks_and_claims(
        &mut self,
        pending: &[Pending],
    ) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        let composition = engine.rules().composition.clone();
        let mut events = Vec::new();
        if std::mem::take(&mut self.blocks_changed) {
            events = self.add_blocks(&composition, pending)?;
            self.match_again(&composition, &mut events);
        }
        self.arrive(&composition, &mut events);
        Ok(events)
    }

    /// Claims that have waited for more blocks, and have enough now. They wait until that is committed.
    fn match_again(&mut self, composition: &Composition, events: &mut Vec<Pending>) {
        for asked in self.unmatched.iter() {
            // Its budget was understood when it came, and the composition never changes.
            if let Ok(demands) = self.matched(&asked.request, composition)
                && are_enough(&demands, min_blocks(&asked.request))
            {
                let claim = asked.subject.id();
                events.push(Event::Match { claim, demands }.into());
            } else if !self.oversized.is_empty() {
                // With fewer blocks than it needs, it has not too many.
                self.oversized.remove(&asked.subject.id());
            }
        }
    }

    /// A claim has its blocks now, or an end, and is not matched again.
    pub(super) fn is_settled(&mut self, claim: &ClaimId) {
        self.unmatched.remove(claim);
        self.oversized.remove(claim);
    }

    /// Claims that come.
    fn arrive(&mut self, composition: &Composition, events: &mut Vec<Pending>) {
        let (weights, timeout) = (self.weights(), self.default_timeout());
        for asked in self.fresh.take() {
            let request = &asked.request;
            match self.matched(request, composition) {
                Err(problem) => self.tell_invalid(&asked, &problem),
                Ok(demands) => {
                    let arrival = Arrival {
                        claim: asked.subject.id(),
                        demands,
                        min_blocks: min_blocks(request),
                        timeout: request.timeout.or(timeout),
                        priority: request.priority,
                        weight: weights.of(&asked.subject.namespace),
                    };
                    if !is_matched(&arrival) {
                        self.unmatched.push(asked);
                    }
                    events.push(Event::Arrive(arrival).into());
                }
            }
        }
    }
}
