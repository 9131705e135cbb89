//! A knob from DPF to DPack.
//!
//! Each time, a part of what is unlocked at each block, rounded up, is granted first in the order of DPF, and then the
//! rest, and what that left, in the order of DPack. At the end nothing that waits fits. Among the first N claims of all
//! its blocks, one that asks at most that part of a fair share of each is granted at once: when it comes, its arrival has
//! unlocked a fair share, and who goes before it in the order of DPF does not fit anyway (theorem 1 of OSDI'21, whose
//! fair share is divided by the knob).

use std::collections::HashMap;

use super::{Cause, Decide, dpack::pack};
use crate::{
    Record,
    engine::{
        Engine,
        asks::Parts,
        books::Block,
        order::{Shares, dominant_shares},
    },
};

#[derive(Debug)]
pub(super) struct Blend {
    /// In thousandths.
    pub(super) fairness: u16,
    pub(super) recompute_after: u32,
}

impl Decide for Blend {
    fn shares(&self, parts: Parts<'_>, blocks: &[Block]) -> Shares {
        dominant_shares(parts, blocks)
    }

    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>) {
        let mut classes = engine.stirred(cause);
        classes.retain(|class| engine.fits(*class));
        if self.fairness > 0 {
            let reserves = self.reserves(engine, &classes);
            let admits = |engine: &mut Engine, class: u32| engine.fits_beside(class, &reserves);
            engine.walk(classes.clone(), admits, records);
        }
        pack(engine, classes, self.recompute_after, records);
    }
}

impl Blend {
    /// What DPF leaves to DPack of each block that `classes` ask for, at each coordinate.
    fn reserves(&self, engine: &Engine, classes: &[u32]) -> HashMap<u32, Vec<i128>> {
        let rest = i128::from(1000_u16.saturating_sub(self.fairness));
        let classes = classes.iter().filter_map(|class| engine.waiting.class(*class));
        let blocks = classes.flat_map(|class| engine.parts_of(class).blocks());
        let reserve = |block: u32| {
            let accounts = engine.blocks.get(block).accounts.iter();
            let reserve = accounts.map(|account| account.available.max(0) * rest / 1000);
            (block, reserve.collect())
        };
        blocks.map(reserve).collect()
    }
}
