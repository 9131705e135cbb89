//! The sequence of parts: which part comes when, and the indices that are built once all are there.

use super::{Head, StateError, StatePart, VERSION, sums::Sums};
use crate::{Engine, Time, engine::decisions::PolicyContext};

/// An engine in the making: takes the parts of a state in their order, and checks each. What it checks is that
/// the state is one that an engine may have, so that whoever changed a part can't make an engine overspend, or
/// end the process; which state it is, a hash of the parts has to tell.
///
/// See [`Engine::parts`] for an example.
#[derive(Clone, Debug, Default)]
pub struct Restoring {
    begun: Option<Begun>,
    /// Why a part was refused.
    failed: Option<StateError>,
}

/// What follows the head.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) engine: Engine,
    counts: [Count; 4],
    pub(super) sums: Sums,
    /// When the last claim arrived.
    pub(super) last_arrival: Time,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    kind: &'static str,
    announced: u64,
    found: u64,
}

impl Count {
    const fn new(kind: &'static str, announced: u64) -> Self {
        Self {
            kind,
            announced,
            found: 0,
        }
    }

    const fn check(&self) -> Result<(), StateError> {
        let Self {
            kind,
            announced,
            found,
        } = *self;
        if found < announced {
            return Err(StateError::Missing {
                kind,
                found,
                announced,
            });
        }
        Ok(())
    }
}

impl Restoring {
    /// Without any part yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part. After an error there is no engine: every later call gives the same error.
    pub fn push(&mut self, part: StatePart) -> Result<(), StateError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let pushed = self.take(part);
        if let Err(error) = &pushed {
            self.failed = Some(error.clone());
        }
        pushed
    }

    /// The engine, once all parts were taken. It decides as the engine does whose parts they are.
    pub fn finish(self) -> Result<Engine, StateError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.begun.ok_or(StateError::NoHead)?.finish()
    }

    fn take(&mut self, part: StatePart) -> Result<(), StateError> {
        match (&mut self.begun, part) {
            (None, StatePart::Head(head)) => {
                self.begun = Some(Begun::new(*head)?);
                Ok(())
            }
            (None, _) => Err(StateError::NoHead),
            (Some(_), StatePart::Head(_)) => Err(StateError::SecondHead),
            (Some(begun), StatePart::LostBlock(block)) => {
                begun.count(0)?;
                begun.add_lost_block(block)
            }
            (Some(begun), StatePart::Block(part)) => {
                begun.count(1)?;
                begun.add_block(*part)
            }
            (Some(begun), StatePart::Folded(part)) => {
                begun.count(2)?;
                begun.add_folded(*part)
            }
            (Some(begun), StatePart::Claim(part)) => {
                begun.count(3)?;
                begun.add_claim(*part)
            }
        }
    }
}

impl Begun {
    fn new(head: Head) -> Result<Self, StateError> {
        if head.version != VERSION {
            return Err(StateError::UnknownVersion(head.version));
        }
        let mut engine = Engine::new(head.rules)?;
        engine.state.now = head.now;
        engine.state.last_write_off = head.last_write_off;
        Ok(Self {
            engine,
            counts: [
                Count::new("lost block", head.lost_blocks),
                Count::new("block", head.blocks),
                Count::new("sum of forgotten claims", head.folded),
                Count::new("claim", head.claims),
            ],
            sums: Sums::default(),
            last_arrival: Time::default(),
        })
    }

    /// Counts a part of a kind. All parts of the kinds before it must be there, and none of those after it.
    fn count(&mut self, kind: usize) -> Result<(), StateError> {
        for before in &self.counts[..kind] {
            before.check()?;
        }
        let any_after = self.counts[kind + 1..].iter().any(|after| after.found > 0);
        let count = &mut self.counts[kind];
        if count.found >= count.announced || any_after {
            return Err(StateError::TooMany {
                kind: count.kind,
                announced: count.announced,
            });
        }
        count.found += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Engine, StateError> {
        for count in &self.counts {
            count.check()?;
        }
        self.sums.check(self.engine.state.blocks.list())?;
        let engine = &mut self.engine;
        engine
            .policy
            .check_restored(PolicyContext::new(&engine.state))
            .map_err(|(block, problem)| {
                let block = engine.state.blocks.get(block).name.clone();
                StateError::Block { block, problem }
            })?;
        self.build_indices()?;
        Ok(self.engine)
    }

    /// Builds what makes events cheap: lists each waiting class at its blocks, lets each family watch a block
    /// that keeps it waiting, and plans when the clock next matters.
    fn build_indices(&mut self) -> Result<(), StateError> {
        let Engine { state, policy } = &mut self.engine;
        let classes: Vec<u32> = state.waiting.classes().map(|(class, _)| class).collect();
        for class in classes {
            state
                .waiting
                .add_feasible(class, state.blocks.list(), &state.demand_store);
        }
        if policy.grants_what_fits() {
            for family in state.waiting.families() {
                let fitting = state.first_fitting(family);
                if let Some(claim) = fitting.and_then(|class| state.waiting.class(class)?.head()) {
                    return Err(StateError::Claim {
                        claim: state.claims.get(claim).name.clone(),
                        problem: "it waits, but it fits: it would have been granted".to_owned(),
                    });
                }
            }
        }
        let blocks = (0..).zip(state.blocks.list()).map(|(number, _)| number);
        state.waiting.changed = blocks.collect();
        self.engine.plan_wakes();
        Ok(())
    }
}
