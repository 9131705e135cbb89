//! Blend: a mixture of DPF and DPack, set by its fairness.
//!
//! In each pass, a part of what is available at each block, rounded up, is granted in the order of DPF, and
//! then the rest, and what the first part left, in the order of DPack. At the end no waiting claim fits. A
//! claim that is among the first N of all its blocks, and demands at most the fairness times a fair share of
//! each, is granted at once: its arrival has unlocked a fair share, and the claims before it in the order of
//! DPF do not fit anyway (theorem 1 of OSDI'21, with the fair share times the fairness).

use std::collections::HashMap;

use super::{Block, BlockDemands, Cause, Decisions, PolicyContext, PolicyHooks, Shares, dpack::pack};
use crate::{ShareRule, engine::order::dominant_shares};

#[derive(Clone, Debug)]
pub(super) struct Blend {
    /// The part that is granted as by DPF, in thousandths: at most 1000.
    pub(super) fairness: u16,
    pub(super) recompute_after: u32,
    pub(super) share_rule: ShareRule,
}

impl PolicyHooks for Blend {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn shares(&self, demands: BlockDemands<'_>, blocks: &[Block]) -> Shares {
        dominant_shares(demands, blocks, self.share_rule)
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause) {
        let mut classes = decisions.fitting(cause);
        classes.retain(|class| decisions.context().fits(*class));
        if self.fairness > 0 {
            let reserves = self.reserves(decisions.context(), &classes);
            decisions.walk(classes.clone(), |context, class| {
                context.fits_beside(class, &reserves)
            });
        }
        pack(decisions, classes, self.recompute_after);
    }
}

impl Blend {
    /// What the first part leaves of each block that `classes` demand, at each coordinate.
    fn reserves(&self, context: PolicyContext<'_>, classes: &[u32]) -> HashMap<u32, Vec<i128>> {
        // The rules allow no more than 1000.
        let rest = i128::from(1000_u16.saturating_sub(self.fairness));
        let classes = classes.iter().filter_map(|class| context.class(*class));
        let blocks = classes.flat_map(|class| context.demands_of(class).blocks());
        let reserve = |block: u32| {
            let accounts = context.block(block).accounts.iter();
            let reserve = accounts.map(|account| account.available.max(0) * rest / 1000);
            (block, reserve.collect())
        };
        blocks.map(reserve).collect()
    }
}
