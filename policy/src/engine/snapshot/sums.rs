//! What the claims of a state hold of each block in all, and what forgotten ones consumed. The accounts of the
//! blocks must say the same.

use super::StateError;
use crate::engine::blocks::{Account, Block};

/// The sums of each block, coordinate by coordinate.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Vec<Box<[Sum]>>);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    allocated: i128,
    consumed: i128,
}

impl Sums {
    /// Adds the sums of the next block.
    pub(super) fn add_block(&mut self, coordinates: usize) {
        self.0.push(vec![Sum::default(); coordinates].into());
    }

    pub(super) fn add(&mut self, block: u32, coordinate: usize, allocated: i64, consumed: i64) {
        let sum = &mut self.0[block as usize][coordinate];
        sum.allocated += i128::from(allocated);
        sum.consumed = sum.consumed.saturating_add(i128::from(consumed));
    }

    pub(super) fn add_consumed(&mut self, block: u32, coordinate: usize, consumed: i128) {
        let sum = &mut self.0[block as usize][coordinate].consumed;
        // No account has as much as where this stops.
        *sum = sum.saturating_add(consumed);
    }

    pub(super) fn check(&self, blocks: &[Block]) -> Result<(), StateError> {
        for (block, sums) in blocks.iter().zip(&self.0) {
            for (at, (account, sum)) in block.accounts.iter().zip(sums).enumerate() {
                let Some(problem) = difference(account, *sum, block.written_off) else {
                    continue;
                };
                return Err(StateError::Block {
                    block: block.name.clone(),
                    problem: format!("at coordinate {at}, {problem}"),
                });
            }
        }
        Ok(())
    }
}

/// What an account says other than the claims do.
fn difference(account: &Account, sum: Sum, written_off: bool) -> Option<String> {
    let (allocated, consumed) = (account.allocated, account.consumed);
    if allocated != sum.allocated {
        let claims = sum.allocated;
        return Some(format!("{allocated} is allocated, and {claims} to all claims"));
    }
    // A write-off consumes what no claim consumed.
    if consumed < sum.consumed || !written_off && consumed > sum.consumed {
        let claims = sum.consumed;
        return Some(format!("{consumed} is consumed, and {claims} by all claims"));
    }
    None
}
