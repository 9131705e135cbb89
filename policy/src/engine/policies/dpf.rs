//! Dominant Private Block Fairness: the smallest dominant share first (OSDI'21, Algorithms 1 to 3).

use super::{Cause, Decide};
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
pub(super) struct Dpf;

impl Decide for Dpf {
    fn shares(&self, parts: Parts<'_>, blocks: &[Block]) -> Shares {
        dominant_shares(parts, blocks)
    }

    fn decide(&self, engine: &mut Engine, cause: &Cause, records: &mut Vec<Record>) {
        engine.walk_awakened(cause, records);
    }
}
