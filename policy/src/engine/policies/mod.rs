//! The policies: in which order claims are granted, and which are denied. Each is one file here and one line
//! in [`of`].
//!
//! A policy is a value that owns its state. The engine calls its hooks ([`PolicyHooks`]) when blocks and
//! claims arrive, when claims leave the queue, when budget returns, and when something has changed that may
//! let a claim fit ([`PolicyHooks::decide`]). A policy reads the engine through a [`PolicyContext`] and acts
//! through [`Decisions`]. It knows nothing of timeouts, or of what becomes of a grant.

mod blend;
mod dpack;
mod dpf;
mod fcfs;
mod round_robin;

use std::{collections::BTreeMap, fmt::Debug};

use super::{
    blocks::Block,
    decisions::{By, Cause, Decisions, NextWake, PolicyContext, SetAside},
    demands::{BlockDemand, BlockDemands},
    order::Shares,
    snapshot::Kept,
};
use crate::{DatasetRules, Denial, Policy};

/// The hooks that the engine calls. [`clone_box`](Self::clone_box) and [`decide`](Self::decide) are required;
/// the defaults of the others suit a policy without state. A policy with state that a decision depends on also
/// has [`kept_of_block`](Self::kept_of_block) or [`kept_of_claims`](Self::kept_of_claims), and what restores it.
pub(super) trait PolicyHooks: Debug + Send + Sync {
    /// A copy of the policy with its state, for a copy of the engine (on which events are tried).
    fn clone_box(&self) -> Box<dyn PolicyHooks>;

    /// A block was added. Blocks are numbered in this order, from 0.
    fn block_added(&mut self, _block: &Block) {}

    /// The shares that order claims with these demands: the smallest first share goes first, then the smallest
    /// second one, and so on. Priorities are compared before shares, arrivals after them.
    fn shares(&self, _demands: BlockDemands<'_>, _blocks: &[Block]) -> Shares {
        Shares::NONE
    }

    /// Why a claim that has just arrived, and is not too large for its blocks, is denied at once. Its arrival
    /// has unlocked nothing yet ([`PolicyContext::block_after_arrival`] tells what it would).
    fn denies_arrival(&self, _context: PolicyContext<'_>, _claim: u32) -> Option<Denial> {
        None
    }

    /// A claim has joined the queue. [`decide`](Self::decide) follows.
    fn claim_joined(&mut self, _claim: u32, _demands: BlockDemands<'_>) {}

    /// Grants and denies waiting claims after `cause`. A policy that grants whatever fits must leave no waiting
    /// claim that fits.
    fn decide(&mut self, decisions: &mut Decisions<'_>, cause: &Cause);

    /// A claim ended that the policy did not grant or deny itself: it was withdrawn, its timeout is over, or
    /// it can never be granted any more. It may be one that never joined.
    fn claim_left(&mut self, _claim: u32, _demands: BlockDemands<'_>) {}

    /// The blocks of which less is held back since claims have ended without a grant, each once since the last
    /// call. [`decide`](Self::decide) follows if there are any.
    fn take_freed(&mut self) -> Vec<u32> {
        Vec::new()
    }

    /// These `amounts` of a block, one for each coordinate, were allocated or consumed and are available
    /// again.
    fn budget_returned(&mut self, _block: u32, _amounts: &[i64]) {}

    /// What the policy holds back for a waiting claim on one of its blocks, at each coordinate; none if it
    /// holds nothing back, so that available budget counts.
    fn set_aside(
        &self,
        _context: PolicyContext<'_>,
        _claim: u32,
        _demand: BlockDemand<'_>,
    ) -> Option<Vec<SetAside>> {
        None
    }

    /// How many waiting claims go before this claim of `class`; none if the policy has no order.
    fn ahead(&self, context: PolicyContext<'_>, claim: u32, class: u32) -> Option<usize> {
        let rank = &context.class(class)?.rank;
        Some(context.count_ahead(claim, |other| other.rank.cmp(rank)))
    }

    /// The waiting claims that have their blocks, in the order in which they are tried; none if the policy has no order.
    fn queue(&self, context: PolicyContext<'_>) -> Option<Vec<u32>> {
        Some(context.in_order(|class| &class.rank))
    }

    /// When the clock next matters at a block. Called after each event for the blocks that have changed.
    fn next_wake(&mut self, _context: PolicyContext<'_>, _block: u32) -> NextWake {
        NextWake::FirstFit
    }

    /// Whether no claim waits that fits all its blocks.
    fn grants_what_fits(&self) -> bool {
        true
    }

    /// What the policy keeps of a block and can't compute from the rest of the state.
    fn kept_of_block(&self, _block: u32) -> Kept {
        Kept::default()
    }

    /// What the policy keeps of waiting claims and can't compute from the rest of the state, by claim.
    fn kept_of_claims(&self, _context: PolicyContext<'_>) -> BTreeMap<u32, Kept> {
        BTreeMap::new()
    }

    /// Takes what another engine's policy kept of a block that was just added. The error says what is wrong with
    /// it: it may be anything.
    fn restore_block(&mut self, _block: &Block, kept: Kept) -> Result<(), String> {
        kept.end()
    }

    /// Takes what another engine's policy kept of a waiting claim, in place of
    /// [`claim_joined`](Self::claim_joined). The error says what is wrong with it: it may be anything.
    fn restore_claim(&mut self, _claim: u32, _demands: BlockDemands<'_>, kept: Kept) -> Result<(), String> {
        kept.end()
    }

    /// Checks what was taken, once all blocks and claims are there. The error is of a block.
    fn check_restored(&self, _context: PolicyContext<'_>) -> Result<(), (u32, String)> {
        Ok(())
    }
}

impl Clone for Box<dyn PolicyHooks> {
    fn clone(&self) -> Self {
        self.as_ref().clone_box()
    }
}

/// The list of policies.
pub(super) fn of(rules: &DatasetRules) -> Box<dyn PolicyHooks> {
    match rules.policy {
        Policy::Dpf => Box::new(dpf::Dpf {
            share_rule: rules.share_rule(),
        }),
        Policy::Fcfs { refusing } => Box::new(fcfs::Fcfs { refusing }),
        Policy::RoundRobin => Box::new(round_robin::RoundRobin::new(rules)),
        Policy::Dpack { recompute_after } => Box::new(dpack::Dpack { recompute_after }),
        Policy::Blend {
            fairness,
            recompute_after,
        } => Box::new(blend::Blend {
            fairness,
            recompute_after,
            share_rule: rules.share_rule(),
        }),
    }
}
