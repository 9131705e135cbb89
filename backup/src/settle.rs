//! What becomes of claims that were granted when the ledger ended, and whose pods or objects are gone with their cluster.
//!
//! An extender that starts withdraws a granted claim whose object is gone: somebody deleted it. Here nobody did, and whether
//! the claim's budget was used is known to nobody. So the restored ledger goes on with entries that consume what such
//! claims still have. They are made of the ledger and the clock of its last entry alone: a restore that is repeated makes
//! the same ones.

use privatekube_ledger::{ApplyError, CommitError, Entry, Ledger, MemoryStore, OpenError, Poisoned, Replay};
use privatekube_policy::{Amount, ClaimId, Event, Phase};
use thiserror::Error;

/// The writer that these entries name.
const WRITER: &str = "privatekube-extender restore";

/// Why no entries can be made. Each is a fault of PrivateKube: the ledger was verified before.
#[derive(Debug, Error)]
pub(crate) enum SettleError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The claims that are granted, and of which some is neither consumed nor released.
pub(crate) fn granted(replay: &Replay) -> Vec<ClaimId> {
    let Some(engine) = replay.engine() else {
        return Vec::new();
    };
    let granted = |claim: &&ClaimId| engine.phase(claim) == Some(Phase::Granted);
    engine.claims().filter(granted).cloned().collect()
}

/// The entries after those of `replay` that consume all of `claims`.
pub(crate) async fn consume_all(replay: Replay, claims: Vec<ClaimId>) -> Result<Vec<Entry>, SettleError> {
    let Some(rules) = replay.engine().map(|engine| engine.rules().clone()) else {
        return Ok(Vec::new());
    };
    let time = replay.head().time;
    let store = MemoryStore::new();
    let mut ledger = Ledger::resume(store.clone(), WRITER.to_owned(), rules, replay).await?;
    let mut claims = claims.into_iter().peekable();
    while claims.peek().is_some() {
        let mut draft = ledger.draft(time)?;
        while !draft.is_full()
            && let Some(claim) = claims.peek()
        {
            let (claim, amount) = (claim.clone(), Amount::All);
            match draft.apply(Event::Consume { claim, amount }) {
                Ok(_) => claims.next(),
                Err(ApplyError::Full) => break,
                Err(error) => return Err(error.into()),
            };
        }
        draft.commit().await?;
    }
    Ok(store.entries())
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use privatekube_ledger::verify;
    use privatekube_policy::{
        Arrival, BlockId, Composition, DatasetRules, Demand, Policy, Revision, Time, Unlocking, Weight,
    };

    use super::*;

    #[tokio::test]
    async fn many_claims_are_consumed_in_several_entries_which_are_the_same_each_time() -> Result<()> {
        const CLAIMS: usize = 4000;
        let composition = Composition::Basic;
        let amount =
            |epsilon: &str| -> Result<_> { Ok(composition.capacity(epsilon.parse()?, "0".parse()?)?) };
        let rules = DatasetRules {
            policy: Policy::Dpf,
            unlocking: Unlocking::Immediate,
            composition: Composition::Basic,
            revision: Revision::CURRENT,
        };
        let store = MemoryStore::new();
        let mut ledger = Ledger::open(store.clone(), "extender".to_owned(), rules).await?;
        let added = Event::AddBlock {
            block: "a".into(),
            capacity: amount("10000")?,
        };
        let mut events = vec![added];
        for number in 0..CLAIMS {
            events.push(Event::Arrive(Arrival {
                claim: format!("claim/data/{}/{number}", "x".repeat(200)).into(),
                demands: vec![Demand {
                    blocks: vec![BlockId::from("a")],
                    budget: amount("1")?,
                }],
                min_blocks: 1,
                timeout: None,
                priority: 0,
                weight: Weight::default(),
            }));
        }
        for events in events.chunks(500) {
            let mut draft = ledger.draft(Time::from_micros(1))?;
            for event in events {
                draft.apply(event.clone())?;
            }
            draft.commit().await?;
        }
        let replayed = || -> Result<Replay> {
            let mut replay = Replay::new();
            for entry in store.entries() {
                replay.push(&entry)?;
            }
            Ok(replay)
        };
        let claims = granted(&replayed()?);
        assert_eq!(claims.len(), CLAIMS);
        let settling = consume_all(replayed()?, claims.clone()).await?;
        assert!(settling.len() > 1, "{}", settling.len());
        assert_eq!(consume_all(replayed()?, claims).await?, settling);
        let mut replay = replayed()?;
        for entry in &settling {
            replay.push(entry)?;
        }
        assert!(granted(&replay).is_empty());
        verify(store.entries().into_iter().chain(settling))?;
        Ok(())
    }
}
