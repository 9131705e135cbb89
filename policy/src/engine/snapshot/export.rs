//! The parts of an engine's state. Making a part costs what it holds.

use std::iter::once;

use super::{
    BlockPart, ClaimOutcome, ClaimPart, FoldedOutcome, FoldedPart, Head, Kept, PartOfDemands, StatePart,
    Units, VERSION,
};
use crate::{
    BlockId, Time,
    engine::{
        Engine, Phase,
        blocks::{Account, Block},
        claims::{Claim, Totals},
        decisions::PolicyContext,
        state::State,
    },
};

impl Engine {
    /// The whole state of the engine as data, part by part: [`Restoring`](super::Restoring) makes an engine of
    /// them that decides as this one does. Engines with equal states have equal parts.
    ///
    /// # Examples
    ///
    /// ```
    /// use privatekube_policy::{
    ///     BlockId, Composition, DatasetRules, Engine, Event, Policy, Restoring, Revision, StatePart, Unlocking,
    /// };
    ///
    /// let mut engine = Engine::new(DatasetRules {
    ///     policy: Policy::Dpf,
    ///     unlocking: Unlocking::Immediate,
    ///     composition: Composition::Basic,
    ///     revision: Revision::CURRENT,
    /// })?;
    /// let capacity = Composition::Basic.capacity("4".parse()?, "0".parse()?)?;
    /// let block = BlockId::from("taxi");
    /// engine.apply(&Event::AddBlock { block: block.clone(), capacity })?;
    ///
    /// let mut restoring = Restoring::new();
    /// for part in engine.parts() {
    ///     let stored = serde_json::to_string(&part)?;
    ///     restoring.push(serde_json::from_str(&stored)?)?;
    /// }
    /// let restored = restoring.finish()?;
    /// assert_eq!(restored.block(&block), engine.block(&block));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parts(&self) -> impl Iterator<Item = StatePart> + '_ {
        let state = &self.state;
        let mut lost: Vec<&BlockId> = state.blocks.lost().collect();
        lost.sort_unstable();
        let head = Head {
            version: VERSION,
            rules: state.rules.clone(),
            now: state.now,
            last_write_off: state.last_write_off,
            lost_blocks: lost.len() as u64,
            blocks: state.blocks.list().len() as u64,
            folded: state.folded.len() as u64,
            claims: state.claims.known().len() as u64,
        };
        let lost = lost.into_iter().map(|block| StatePart::LostBlock(block.clone()));
        let blocks = state.blocks.list().iter().map(|block| {
            let kept = self.policy.kept_of_block(block.number);
            StatePart::Block(Box::new(block_part(block, state.now, kept)))
        });
        let folded = self.folded().filter_map(|sum| {
            let part = FoldedPart {
                block: sum.block.cloned(),
                group: sum.group.map(str::to_owned),
                // Only claims that ended are forgotten.
                outcome: FoldedOutcome::of(sum.phase)?,
                claims: sum.claims,
                consumed: sum.consumed.iter().copied().map(Units::from).collect(),
            };
            Some(StatePart::Folded(Box::new(part)))
        });
        let mut kept = self.policy.kept_of_claims(PolicyContext::new(state));
        let claims = state.claims.known().map(move |(number, claim)| {
            // Claims are numbered with 32 bits.
            let kept = u32::try_from(number)
                .ok()
                .and_then(|number| kept.remove(&number))
                .unwrap_or_default();
            StatePart::Claim(Box::new(state.claim_part(claim, kept)))
        });
        once(StatePart::Head(Box::new(head)))
            .chain(lost)
            .chain(blocks)
            .chain(folded)
            .chain(claims)
    }
}

fn block_part(block: &Block, now: Time, policy: Kept) -> BlockPart {
    // Steps of the clock that were not taken yet change neither of these amounts.
    debug_assert!(block.added <= now);
    let column = |of: fn(&Account) -> i128| block.accounts.iter().map(of).map(Units::from).collect();
    BlockPart {
        block: block.name.clone(),
        capacity: block.capacity.clone(),
        added: block.added,
        arrivals: block.arrivals,
        retired: block.retired,
        written_off: block.written_off,
        allocated: column(|account| account.allocated),
        consumed: column(|account| account.consumed),
        policy,
    }
}

impl State {
    fn claim_part(&self, claim: &Claim, policy: Kept) -> ClaimPart {
        let at = claim.decided().unwrap_or(claim.arrived);
        let mut arrival = self.arrival(claim);
        if claim.phase.is_without_grant() && at < self.now {
            // Whether the store still has them depends on what else it has.
            arrival.demands = Vec::new();
        }
        let outcome = match (claim.phase, claim.denial()) {
            (Phase::Waiting, _) => ClaimOutcome::Waiting,
            (_, Some(reason)) => ClaimOutcome::Denied {
                at,
                reason: reason.clone(),
            },
            (Phase::Expired, _) => ClaimOutcome::Expired { at },
            (Phase::Withdrawn, _) => ClaimOutcome::Withdrawn { at },
            _ => ClaimOutcome::Granted {
                at,
                consumed: part_of_demands(claim.consumed()),
                released: part_of_demands(claim.released()),
            },
        };
        ClaimPart {
            claim: arrival.claim,
            demands: arrival.demands,
            min_blocks: arrival.min_blocks,
            timeout: arrival.timeout,
            priority: arrival.priority,
            weight: arrival.weight,
            arrived: claim.arrived,
            outcome,
            policy,
        }
    }
}

fn part_of_demands(totals: &Totals) -> PartOfDemands {
    match totals {
        Totals::Nothing => PartOfDemands::Nothing,
        Totals::Everything => PartOfDemands::Everything,
        Totals::Partly(amounts) => PartOfDemands::Partly(amounts.to_vec()),
    }
}
