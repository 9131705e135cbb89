//! Checks a sum of forgotten claims and adds it to the engine.

use super::{FoldedPart, StateError, restoring::Begun};
use crate::engine::{
    Phase,
    forget::{FoldedKey, FoldedSum},
};

impl Begun {
    pub(super) fn add_folded(&mut self, part: FoldedPart) -> Result<(), StateError> {
        let described = match (&part.block, &part.group) {
            (Some(block), Some(group)) => format!("of block {block} and group {group}"),
            (Some(block), None) => format!("of block {block}"),
            (None, Some(group)) => format!("of group {group}"),
            (None, None) => "of no block and no group".to_owned(),
        };
        self.try_folded(part)
            .map_err(|problem| StateError::Folded { described, problem })
    }

    fn try_folded(&mut self, part: FoldedPart) -> Result<(), String> {
        let FoldedPart {
            block: name,
            group,
            outcome,
            claims,
            consumed,
        } = part;
        let state = &mut self.engine.state;
        let phase = Phase::from(outcome);
        let block = name.as_ref().map(|name| {
            let number = state.blocks.number(name);
            number.ok_or_else(|| "it is no block of the state".to_owned())
        });
        let block = block.transpose()?;
        if block.is_some() && phase.is_without_grant() {
            return Err("it is of a block, and of claims that were never granted".to_owned());
        }
        let length = block.map_or(0, |_| state.rules.composition.coordinates());
        if consumed.len() != length {
            return Err(format!(
                "consumed has {} coordinates: it must have {length}",
                consumed.len()
            ));
        }
        let consumed: Box<[i128]> = consumed.iter().map(|units| units.get()).collect();
        let consumes_rightly = |units: &i128| *units == 0 || *units > 0 && phase == Phase::Consumed;
        if !consumed.iter().all(consumes_rightly) {
            return Err("consumed must be 0 or more, and 0 if nothing of the claims was consumed".to_owned());
        }
        let group = group.map(Into::into);
        let all = FoldedKey {
            block: None,
            group: group.clone(),
            phase,
        };
        // The sum of all claims of a group comes before those of blocks.
        let most = match block {
            None => u64::MAX,
            Some(_) => state.folded.get(&all).map_or(0, |sum| sum.claims),
        };
        if claims == 0 || claims > most {
            return Err(format!("claims is {claims}: it must be from 1 to {most}"));
        }
        if let Some(block) = block {
            for (at, units) in consumed.iter().enumerate() {
                if *units > i128::from(claims) * i128::from(i64::MAX) {
                    return Err(format!("{units} is more than {claims} claims can consume"));
                }
                self.sums.add_consumed(block, at, *units);
            }
        }
        let key = FoldedKey { block, ..all };
        if state
            .folded
            .last_key_value()
            .is_some_and(|(last, _)| *last >= key)
        {
            return Err("it is there twice, or out of order".to_owned());
        }
        state.folded.insert(key, FoldedSum { claims, consumed });
        Ok(())
    }
}
