//! What claims consume, entry by entry.

use std::collections::HashMap;

use privatekube_ledger::Committed;
use privatekube_policy::{BlockId, ClaimId, Engine, Record};

use crate::ledger::claim_of_record;

/// Follows what claims have consumed while a ledger is replayed.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    /// What claims had consumed of blocks after the last entry that changed it.
    consumed: HashMap<(ClaimId, BlockId), Vec<i128>>,
}

/// What a claim consumed of a block in an entry: less than 0 where it returned, since the claim's pod never ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) claim: ClaimId,
    pub(crate) block: BlockId,
    /// The amount at each coordinate.
    pub(crate) units: Vec<i128>,
}

impl Spending {
    /// Begins with what the claims of a state have consumed.
    pub(crate) fn begin(engine: &Engine) -> Self {
        let mut consumed = HashMap::new();
        for id in engine.claims() {
            let claim = engine.claim(id);
            for (block, budget) in claim.iter().flat_map(|claim| &claim.consumed) {
                let units: Vec<i128> = budget.units().iter().map(|units| (*units).into()).collect();
                if units.iter().any(|units| *units != 0) {
                    consumed.insert((id.clone(), (*block).clone()), units);
                }
            }
        }
        Self { consumed }
    }

    /// What each claim has consumed of each block, sorted.
    pub(crate) fn consumed(&self) -> Vec<Spent> {
        let mut spent: Vec<Spent> = self
            .consumed
            .iter()
            .map(|((claim, block), units)| Spent {
                claim: claim.clone(),
                block: block.clone(),
                units: units.clone(),
            })
            .collect();
        spent.sort_by(|spent, other| {
            let of = |spent: &Spent| (spent.block.as_str().to_owned(), spent.claim.as_str().to_owned());
            of(spent).cmp(&of(other))
        });
        spent
    }

    /// What was consumed in an entry. `engine` is the state after it.
    pub(crate) fn entry(&mut self, committed: &Committed, engine: &Engine) -> Vec<Spent> {
        let mut claims: Vec<&ClaimId> = Vec::new();
        for record in committed.records() {
            if matches!(record, Record::Consumed { .. } | Record::Released { .. })
                && let Some(id) = claim_of_record(record)
                && !claims.contains(&id)
            {
                claims.push(id);
            }
        }
        let mut spent = Vec::new();
        for id in claims {
            let Some(claim) = engine.claim(id) else { continue };
            for (block, budget) in &claim.consumed {
                let now: Vec<i128> = budget.units().iter().map(|units| (*units).into()).collect();
                let key = (id.clone(), (*block).clone());
                let before = self.consumed.insert(key, now.clone());
                let before = before.unwrap_or_else(|| vec![0; now.len()]);
                let units: Vec<i128> = now
                    .iter()
                    .zip(&before)
                    .map(|(now, before)| now - before)
                    .collect();
                if units.iter().any(|units| *units != 0) {
                    spent.push(Spent {
                        claim: id.clone(),
                        block: (*block).clone(),
                        units,
                    });
                }
            }
        }
        spent
    }
}
