//! A knob from DPF to DPack.
//!
//! Each time, a part of what is unlocked at each block, rounded up, is granted first in the order of DPF, and then the
//! rest, and what that left, in the order of DPack. At the end nothing that waits fits. Among the first N claims of all
//! its blocks, one that asks at most that part of a fair share of each is granted at once: when it comes, its arrival has
//! unlocked a fair share, and who goes before it in the order of DPF does not fit anyway (theorem 1 of OSDI'21, whose
//! fair share is divided by the knob).

use std::collections::HashMap;

use super::{Block, BlockDemands, Cause, Decisions, PolicyContext, PolicyHooks, Shares, dpack::pack};
use crate::engine::order::dominant_shares;

#[derive(Clone, Debug)]
pub(super) struct Blend {
    /// In thousandths.
    pub(super) fairness: u16,
    pub(super) recompute_after: u32,
}

impl PolicyHooks for Blend {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn shares(&self, demands: BlockDemands<'_>, blocks: &[Block]) -> Shares {
        dominant_shares(demands, blocks)
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
    /// What DPF leaves to DPack of each block that `classes` ask for, at each coordinate.
    fn reserves(&self, context: PolicyContext<'_>, classes: &[u32]) -> HashMap<u32, Vec<i128>> {
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
