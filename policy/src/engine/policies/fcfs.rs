//! First come, first served. What does not fit waits and is skipped, or is refused.

use super::{Cause, Decide};
use crate::{Denial, Record, engine::Engine};

#[derive(Debug)]
pub(super) struct Fcfs {
    pub(super) refusing: bool,
}

impl Decide for Fcfs {
    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>) {
        engine.walk_awakened(cause, records);
        if let Some(class) = cause.new.filter(|_| self.refusing) {
            for claim in engine.waiting.dissolve(class, &engine.asks) {
                if let Some(reason) = lacks(engine, claim) {
                    engine.deny(claim, reason, records);
                }
            }
        }
    }
}

/// The first block at which a claim does not fit.
fn lacks(engine: &Engine, claim: u32) -> Option<Denial> {
    engine.parts(claim).iter().find_map(|part| {
        let block = engine.blocks.get(part.block);
        let coordinate = block.lacks_least(part.asked, engine.rule)?;
        let unlocked = block.accounts.get(coordinate)?.available;
        Some(Denial::DoesNotFit {
            block: block.name.clone(),
            coordinate: u32::try_from(coordinate).unwrap_or(u32::MAX),
            asked: part.asked.get(coordinate).copied()?,
            // Below its capacity, and overdrawn by an amount beyond 64 bits at most.
            unlocked: i64::try_from(unlocked).unwrap_or(i64::MIN),
        })
    })
}
