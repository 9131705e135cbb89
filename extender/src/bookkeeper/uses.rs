//! What a claim's object says is to be consumed and released of it.

use privatekube_api::AmountRequest;
use privatekube_policy::{Amount, BlockId, ClaimId, ClaimState, Demand, Event, Phase};

use super::{Bookkeeper, BookkeeperError, Pending, UseKind, matching::per_block};

impl Bookkeeper {
    /// The event for what a claim's object says of its use; none, and an Event, if that makes no sense.
    pub(super) fn use_of(
        &mut self,
        claim: &ClaimId,
        kind: UseKind,
        amount: &AmountRequest,
    ) -> Result<Option<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(None);
        };
        let Some(known) = engine.claim(claim) else {
            return Ok(None);
        };
        // While it waits, it has nothing to use; it is told again when it is granted.
        let waits = known.phase == Phase::Waiting;
        let amount = match amount {
            AmountRequest::All if known.phase != Phase::Granted => return Ok(None),
            AmountRequest::All => Ok(Amount::All),
            AmountRequest::PerBlock(budgets) => {
                per_block(budgets, &engine.rules().composition, |_| true).map(Amount::InAll)
            }
        };
        let event = |amount| match kind {
            UseKind::Consume => Event::Consume {
                claim: claim.clone(),
                amount,
            },
            UseKind::Release => Event::Release {
                claim: claim.clone(),
                amount,
            },
        };
        match amount {
            // Said again with each change of the object: only what is new is written.
            Ok(Amount::InAll(demands)) if waits || is_used(&known, kind, &demands) => Ok(None),
            Ok(amount) => Ok(Some(event(amount).into())),
            Err(problem) => {
                self.tell_refused(&event(Amount::All), &problem)?;
                Ok(None)
            }
        }
    }
}

/// Whether all of it was used before.
fn is_used(claim: &ClaimState<'_>, kind: UseKind, demands: &[Demand]) -> bool {
    let used = match kind {
        UseKind::Consume => &claim.consumed,
        UseKind::Release => &claim.released,
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
                    .all(|(used, asked)| used >= asked)
            })
        })
    })
}
