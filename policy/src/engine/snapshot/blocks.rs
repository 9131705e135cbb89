//! Checks a block of the state and adds it to the engine.

use super::{BlockPart, StateError, Units, restoring::Begun};
use crate::{
    BlockId,
    engine::blocks::{Account, Block, FitRule},
};

impl Begun {
    pub(super) fn add_lost_block(&mut self, block: BlockId) -> Result<(), StateError> {
        if self.engine.state.blocks.is_lost(&block) {
            let problem = "it is listed twice".to_owned();
            return Err(StateError::Block { block, problem });
        }
        self.engine.state.blocks.add_lost(block);
        Ok(())
    }

    pub(super) fn add_block(&mut self, part: BlockPart) -> Result<(), StateError> {
        let block = part.block.clone();
        self.try_block(part)
            .map_err(|problem| StateError::Block { block, problem })
    }

    fn try_block(&mut self, part: BlockPart) -> Result<(), String> {
        let state = &mut self.engine.state;
        if state.blocks.number(&part.block).is_some() || state.blocks.is_lost(&part.block) {
            return Err("it is listed twice".to_owned());
        }
        if part.added > state.now {
            return Err(format!(
                "it was added at {}: that must be {} at most, the time of the head",
                part.added.micros(),
                state.now.micros()
            ));
        }
        let coordinates = state.rules.composition.coordinates();
        for (field, given) in [
            ("capacity", part.capacity.units().len()),
            ("allocated", part.allocated.len()),
            ("consumed", part.consumed.len()),
        ] {
            if given != coordinates {
                return Err(format!(
                    "{field} has {given} coordinates: it must have {coordinates}"
                ));
            }
        }
        if part.written_off && !part.retired {
            return Err("it is written off and not retired: it must be both".to_owned());
        }
        let unlocking = state.rules.unlocking;
        let number = state
            .blocks
            .add(&part.block, &part.capacity, unlocking, part.added)
            .map_err(|refusal| refusal.to_string())?;
        let (now, fit_rule) = (state.now, state.fit_rule);
        let block = state.blocks.get_mut(number);
        block.retired = part.retired;
        block.written_off = part.written_off;
        block.restore_steps(part.arrivals, now);
        for (account, (allocated, consumed)) in block
            .accounts
            .iter_mut()
            .zip(part.allocated.iter().zip(&part.consumed))
        {
            restore(account, *allocated, *consumed, part.written_off)?;
        }
        check(block, fit_rule)?;
        state.waiting.add_block();
        state.wake_of.push(None);
        self.sums.add_block(coordinates);
        let block = self.engine.state.blocks.get(number);
        self.engine.policy.block_added(block);
        self.engine.policy.restore_block(block, part.policy)
    }
}

fn restore(
    account: &mut Account,
    allocated: Units,
    consumed: Units,
    written_off: bool,
) -> Result<(), String> {
    let (allocated, consumed) = (allocated.get(), consumed.get());
    if allocated < 0 || consumed < 0 {
        return Err(format!(
            "{allocated} is allocated and {consumed} consumed at a coordinate: both must be 0 or more"
        ));
    }
    if written_off {
        account.locked = 0;
    }
    account.allocated = allocated;
    account.consumed = consumed;
    // Amounts of 120 bits at most.
    account.available = i128::from(account.capacity) - account.locked - allocated - consumed;
    Ok(())
}

/// Checks that no more was granted than the guarantee of the block allows: at each coordinate (basic
/// composition), or at one order at least (Renyi).
fn check(block: &Block, fit_rule: FitRule) -> Result<(), String> {
    let is_unused = |account: &Account| account.allocated == 0 && account.consumed == 0;
    let is_kept = match fit_rule {
        FitRule::EveryCoordinate => block.accounts.iter().all(|account| account.available >= 0),
        FitRule::SomeOrder => {
            let mut usable = block.accounts.iter().filter(|account| account.capacity > 0);
            block.accounts.iter().all(is_unused) || usable.any(|account| account.available >= 0)
        }
    };
    if !is_kept {
        return Err("more is allocated and consumed than was ever unlocked".to_owned());
    }
    if block.written_off && block.accounts.iter().any(|account| account.available > 0) {
        return Err("it is written off, and not all that isn't allocated is consumed".to_owned());
    }
    Ok(())
}
