//! Checks a claim of the state and adds it to the engine.

use super::{ClaimOutcome, ClaimPart, Kept, PartOfDemands, StateError, restoring::Begun};
use crate::{
    Denial, Time,
    engine::{
        Phase,
        claims::{Terms, Totals},
        demands::BlockDemands,
        state::State,
    },
};

impl Begun {
    pub(super) fn add_claim(&mut self, part: ClaimPart) -> Result<(), StateError> {
        let claim = part.claim.clone();
        self.try_claim(part)
            .map_err(|problem| StateError::Claim { claim, problem })
    }

    fn try_claim(&mut self, part: ClaimPart) -> Result<(), String> {
        let state = &mut self.engine.state;
        let ClaimPart { claim, outcome, .. } = part;
        if state.claims.number(&claim).is_some() {
            return Err("it is listed twice".to_owned());
        }
        if part.min_blocks == 0 {
            return Err("minBlocks is 0: it must be 1 or more".to_owned());
        }
        check_time("arrived", part.arrived, self.last_arrival, state.now)?;
        self.last_arrival = part.arrived;
        let checked = state.check_demands(&claim, &part.demands);
        let checked = checked.map_err(|refusal| refusal.to_string())?;
        let too_many = || "there are more claims, or demands, than can be numbered".to_owned();
        let number = state.claims.next_number().ok_or_else(too_many)?;
        let demands_id = state.demand_store.add(&checked).ok_or_else(too_many)?;
        let terms = Terms {
            min_blocks: part.min_blocks,
            timeout: part.timeout,
            priority: part.priority,
            weight: part.weight,
        };
        state.claims.add(number, claim, demands_id, terms, part.arrived);
        let blocks = state.demand_store.get(demands_id).len();
        // Many more blocks than the 32 bits of `min_blocks` are no problem here.
        state.claims.get_mut(number).matched = blocks >= part.min_blocks as usize;
        if let ClaimOutcome::Waiting = outcome {
            return self.add_waiting(number, part.policy);
        }
        part.policy.end()?;
        let (phase, at) = match &outcome {
            ClaimOutcome::Waiting => (Phase::Waiting, part.arrived),
            ClaimOutcome::Granted { at, .. } => (Phase::Granted, *at),
            ClaimOutcome::Denied { at, .. } => (Phase::Denied, *at),
            ClaimOutcome::Expired { at } => (Phase::Expired, *at),
            ClaimOutcome::Withdrawn { at } => (Phase::Withdrawn, *at),
        };
        check_time("outcome.at", at, part.arrived, state.now)?;
        state.claims.get_mut(number).decide(phase, at);
        match outcome {
            ClaimOutcome::Granted {
                consumed, released, ..
            } => self.add_grant(number, consumed, released),
            ClaimOutcome::Denied { reason, .. } => {
                state.check_denial(&reason)?;
                state.claims.get_mut(number).deny(reason);
                state.check_is_forgotten(blocks, at)
            }
            _ => state.check_is_forgotten(blocks, at),
        }
    }

    /// Lets a claim wait that is in the list already.
    fn add_waiting(&mut self, number: u32, kept: Kept) -> Result<(), String> {
        let (state, policy) = (&mut self.engine.state, &mut self.engine.policy);
        let claim = state.claims.get(number);
        if let Some(expires) = state.claims.expires(claim) {
            if expires < state.now {
                return Err(format!(
                    "it waits, but its timeout is over since {}",
                    expires.micros()
                ));
            }
            state.timeouts.insert((expires, number));
        }
        if !claim.matched {
            return kept.end();
        }
        let (demands_id, terms) = (claim.demands_id, *state.claims.terms(claim));
        let demands = state.demand_store.get(demands_id);
        let mut blocks = demands.blocks().map(|block| state.blocks.get(block));
        if let Some(block) = blocks.find(|block| block.retired) {
            return Err(format!("it waits for block {}, which is retired", block.name));
        }
        if state.too_large(number).is_some() {
            return Err("it waits, but it demands more than what is not consumed".to_owned());
        }
        let shares = || policy.shares(demands, state.blocks.list());
        let standing = (terms.priority, terms.weight);
        let class = state
            .waiting
            .join(number, standing, demands_id, shares, &state.demand_store);
        state.claims.get_mut(number).class = Some(class);
        policy.restore_claim(number, state.demand_store.get(demands_id), kept)
    }

    /// Counts what was granted to a claim that is in the list already.
    fn add_grant(
        &mut self,
        number: u32,
        consumed: PartOfDemands,
        released: PartOfDemands,
    ) -> Result<(), String> {
        let state = &mut self.engine.state;
        let claim = state.claims.get_mut(number);
        if !claim.matched {
            return Err("it is granted with fewer blocks than minBlocks".to_owned());
        }
        let demands = claim.demands(&state.demand_store);
        let consumed = totals("consumed", consumed, demands)?;
        let released = totals("released", released, demands)?;
        let coordinates = demands.coordinates();
        for (at, demand) in demands.iter().enumerate() {
            for coordinate in 0..coordinates {
                let consumed = consumed.of(at, demand.amounts, coordinate);
                let released = released.of(at, demand.amounts, coordinate);
                // Neither is more than what is demanded.
                let rest = demand.amounts[coordinate] - consumed;
                if released > rest {
                    return Err("more is consumed and released than it demands".to_owned());
                }
                self.sums.add(demand.block, coordinate, rest - released, consumed);
            }
        }
        claim.restore_totals(consumed, released, demands);
        Ok(())
    }
}

impl State {
    fn check_denial(&self, reason: &Denial) -> Result<(), String> {
        let (block, coordinate) = match reason {
            Denial::TooLarge {
                block, coordinate, ..
            }
            | Denial::DoesNotFit {
                block, coordinate, ..
            } => (block, *coordinate),
            Denial::BlockRetired { block } | Denial::DividedUp { block } => (block, 0),
        };
        if self.blocks.number(block).is_none() {
            return Err(format!(
                "it was denied because of block {block}, which is no block of the state"
            ));
        }
        let coordinates = self.rules.composition.coordinates();
        if coordinate as usize >= coordinates {
            return Err(format!(
                "it was denied at coordinate {coordinate}: there are {coordinates}, from 0"
            ));
        }
        Ok(())
    }

    /// Checks that a claim that ended without a grant at `at` has no demands unless that was just now.
    fn check_is_forgotten(&self, blocks: usize, at: Time) -> Result<(), String> {
        if blocks > 0 && at < self.now {
            return Err("it has demands, but ended without a grant before the time of the head".to_owned());
        }
        Ok(())
    }
}

fn check_time(field: &str, at: Time, least: Time, most: Time) -> Result<(), String> {
    if (least..=most).contains(&at) {
        return Ok(());
    }
    let [at, least, most] = [at, least, most].map(Time::micros);
    Err(format!("{field} is {at}: it must be from {least} to {most}"))
}

/// The totals of a part of what a claim demands.
fn totals(field: &str, part: PartOfDemands, demands: BlockDemands<'_>) -> Result<Totals, String> {
    let amounts = match part {
        PartOfDemands::Nothing => return Ok(Totals::Nothing),
        PartOfDemands::Everything => return Ok(Totals::Everything),
        PartOfDemands::Partly(amounts) => amounts,
    };
    let length = demands.len() * demands.coordinates();
    if amounts.len() != length {
        return Err(format!(
            "{field} has {} amounts: it must have {length}",
            amounts.len()
        ));
    }
    let mut pairs = amounts
        .iter()
        .zip(demands.iter().flat_map(|demand| demand.amounts));
    if let Some((amount, demanded)) = pairs.find(|(amount, demanded)| !(0..=**demanded).contains(*amount)) {
        return Err(format!(
            "{field} has an amount of {amount}: it must be from 0 to {demanded}, what is demanded"
        ));
    }
    Ok(Totals::of_amounts(amounts, demands))
}
