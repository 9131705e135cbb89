//! First come, first served. A claim that does not fit waits and is skipped, or is denied when it arrives.

use super::{Block, BlockDemand, Cause, Decisions, PolicyContext, PolicyHooks};
use crate::{Denial, engine::waiting::Class};

#[derive(Clone, Debug)]
pub(super) struct Fcfs {
    /// Whether a claim that does not fit is denied when it arrives.
    pub(super) refusing: bool,
}

impl PolicyHooks for Fcfs {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn denies_arrival(&self, context: PolicyContext<'_>, claim: u32) -> Option<Denial> {
        if !self.refusing || context.denied_arrivals_unlock() {
            return None;
        }
        // No claim waits, so that what is available is for this one.
        let mut demands = context.demands(claim).iter();
        demands.find_map(|demand| {
            let block = context.block_after_arrival(demand.block);
            does_not_fit_block(&block, demand, context)
        })
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause) {
        decisions.grant_in_order(cause);
        if let Some(class) = cause.new.filter(|_| self.refusing) {
            let claims = decisions.context().class(class).map(Class::claims);
            for claim in claims.into_iter().flatten() {
                if let Some(reason) = does_not_fit(decisions.context(), claim) {
                    decisions.deny(claim, reason);
                }
            }
        }
    }
}

/// The denial for the first block at which a claim does not fit.
fn does_not_fit(context: PolicyContext<'_>, claim: u32) -> Option<Denial> {
    let mut demands = context.demands(claim).iter();
    demands.find_map(|demand| does_not_fit_block(context.block(demand.block), demand, context))
}

fn does_not_fit_block(block: &Block, demand: BlockDemand<'_>, context: PolicyContext<'_>) -> Option<Denial> {
    let lack = block.lacks_least(demand.amounts, context.fit_rule())?;
    Some(Denial::DoesNotFit {
        block: block.name.clone(),
        coordinate: lack.coordinate,
        asked: lack.amount,
        unlocked: lack.account.reported_available(),
    })
}
