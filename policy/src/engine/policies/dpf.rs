//! Dominant Private Block Fairness: the smallest dominant share first (OSDI'21, Algorithms 1 to 3).

use super::{Block, BlockDemands, Cause, Decisions, PolicyHooks, Shares};
use crate::{ShareRule, engine::order::dominant_shares};

#[derive(Clone, Debug)]
pub(super) struct Dpf {
    pub(super) share_rule: ShareRule,
}

impl PolicyHooks for Dpf {
    fn clone_box(&self) -> Box<dyn PolicyHooks> {
        Box::new(self.clone())
    }

    fn shares(&self, demands: BlockDemands<'_>, blocks: &[Block]) -> Shares {
        dominant_shares(demands, blocks, self.share_rule)
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause) {
        decisions.grant_in_order(cause);
    }
}
