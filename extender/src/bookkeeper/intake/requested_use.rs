//! What claim objects want consumed and released: kept until the claim is granted, then turned into events.

use std::collections::HashMap;

use privatekube_api::{AmountRequest, Subject, SubjectKind, per_block_demands};
use privatekube_policy::{Amount, BlockId, ClaimId, ClaimState, Demand, Engine, Event, Phase};

use super::{Intake, IntakeOutput, Notice};
use crate::bookkeeper::RequestedUse;

/// What is wanted of claims that are not granted yet: for each, `consume` and `release` as their objects state them
/// last.
#[derive(Debug, Default)]
pub(super) struct Uses(HashMap<ClaimId, Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    consume: Option<RequestedUse>,
    release: Option<RequestedUse>,
}

impl Uses {
    fn keep(&mut self, claim: ClaimId, usage: RequestedUse) {
        let wanted = self.0.entry(claim).or_default();
        match usage {
            RequestedUse::Consume(_) => wanted.consume = Some(usage),
            RequestedUse::Release(_) => wanted.release = Some(usage),
        }
    }

    /// Takes what is wanted of a claim, if it is decided. Of one that was not granted nothing can be used.
    pub(super) fn decided(&mut self, claim: &ClaimId, engine: &Engine) -> Vec<RequestedUse> {
        if engine.phase(claim) == Some(Phase::Waiting) {
            return Vec::new();
        }
        let wanted = self.0.remove(claim).unwrap_or_default();
        [wanted.consume, wanted.release].into_iter().flatten().collect()
    }

    /// How many claims have something kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Forgets what is wanted of a claim that is gone or was denied outside of the ledger.
    pub(super) fn forget(&mut self, claim: &ClaimId) {
        self.0.remove(claim);
    }
}

impl Intake {
    /// Makes an event of what a claim's object wants consumed or released, or keeps it until the claim is granted.
    pub(super) fn request_use(
        &mut self,
        claim: ClaimId,
        usage: RequestedUse,
        engine: Option<&Engine>,
        out: &mut IntakeOutput,
    ) {
        let known = engine.and_then(|engine| Some((engine, engine.claim(&claim)?)));
        let Some((engine, state)) = known.filter(|(_, state)| state.phase != Phase::Waiting) else {
            if self.may_be_granted(&claim, engine) {
                self.uses.keep(claim, usage);
            }
            return;
        };
        let (RequestedUse::Consume(amount) | RequestedUse::Release(amount)) = &usage;
        let amount = match amount {
            // Nothing is left to use.
            AmountRequest::All if state.phase != Phase::Granted => return,
            AmountRequest::All => Amount::All,
            AmountRequest::PerBlock(budgets) => {
                match per_block_demands(budgets, &engine.rules().composition, |_| Some(None)) {
                    // Stated again with each change of the object: only an increase is written.
                    Ok(demands) if is_used(&state, &usage, &demands) => return,
                    Ok(demands) => Amount::InAll(demands),
                    Err(problem) => {
                        out.notices.push(Notice::UseRefused(claim, problem));
                        return;
                    }
                }
            }
        };
        let event = match usage {
            RequestedUse::Consume(_) => Event::Consume { claim, amount },
            RequestedUse::Release(_) => Event::Release { claim, amount },
        };
        out.events.push(event.into());
    }
}

impl Intake {
    /// Whether a claim that is not decided in the ledger may still be: it waits there, or is queued. Nothing is kept for a
    /// claim that was denied without coming to the ledger. The request of a pod may come later than that of its claim
    /// object, so for pods' claims everything is kept until the object is deleted.
    fn may_be_granted(&self, claim: &ClaimId, engine: Option<&Engine>) -> bool {
        self.arriving.contains(claim)
            || engine.is_some_and(|engine| engine.phase(claim).is_some())
            || Subject::of(claim).is_some_and(|subject| subject.kind == SubjectKind::Pod)
    }
}

/// Whether all of `demands` was used before.
fn is_used(claim: &ClaimState<'_>, usage: &RequestedUse, demands: &[Demand]) -> bool {
    let used = match usage {
        RequestedUse::Consume(_) => &claim.consumed,
        RequestedUse::Release(_) => &claim.released,
    };
    let on = |block: &BlockId| {
        used.iter()
            .find(|(used, _)| *used == block)
            .map(|(_, budget)| budget)
    };
    demands.iter().all(|demand| {
        demand.blocks.iter().all(|block| {
            on(block).is_some_and(|used| {
                used.units()
                    .iter()
                    .zip(demand.budget.units())
                    .all(|(used, wanted)| used >= wanted)
            })
        })
    })
}
