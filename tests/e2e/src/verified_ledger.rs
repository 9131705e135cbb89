//! [`VerifiedLedger`]: what a dataset's ledger says, once it is verified.

use anyhow::{Context, Result};
use privatekube_api::DatasetKey;
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Replay, Store};
use privatekube_policy::{BlockState, ClaimId, Phase, Record};

use crate::TestEnvironment;

/// A dataset's ledger, read and verified as an auditor would.
pub struct VerifiedLedger {
    /// Every entry.
    pub entries: Vec<Entry>,
    /// The state after all of them, with every entry checked.
    pub replay: Replay,
}

impl TestEnvironment {
    /// Reads a dataset's ledger, and verifies it. An error if it doesn't replay to the records that are
    /// written.
    pub async fn ledger(&self, namespace: &str, dataset: &str) -> Result<VerifiedLedger> {
        let key = DatasetKey {
            namespace: namespace.to_owned(),
            name: dataset.to_owned(),
        };
        let store = KubernetesStore::new(self.client.clone(), key);
        let mut entries = Vec::new();
        let mut replay = Replay::new();
        loop {
            // A page, which may not be the last.
            let page = store.read_after(replay.head().sequence).await?;
            if page.is_empty() {
                break;
            }
            for entry in &page {
                replay
                    .push(entry)
                    .with_context(|| format!("verify entry {}", entry.sequence))?;
            }
            entries.extend(page);
        }
        replay.check().context("check the blocks' sums")?;
        Ok(VerifiedLedger { entries, replay })
    }
}

impl VerifiedLedger {
    /// A block's budget; None if the ledger has no such block.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<BlockState> {
        self.replay.engine()?.block(&name.into())
    }

    /// A block's epsilons as (available, allocated, consumed), written as a block's status shows them; with
    /// Renyi composition at the lowest order.
    #[must_use]
    pub fn shows(&self, block: &str) -> Option<(String, String, String)> {
        let composition = &self.replay.engine()?.rules().composition;
        let ledger = self.block(block)?;
        let shown = |units: &[i128]| composition.display_units(0, units.first().copied().unwrap_or_default());
        Some((
            shown(&ledger.available),
            shown(&ledger.allocated),
            shown(&ledger.consumed),
        ))
    }

    /// Every claim's phase, in the order of arrival.
    #[must_use]
    pub fn phases(&self) -> Vec<(ClaimId, Phase)> {
        let Some(engine) = self.replay.engine() else {
            return Vec::new();
        };
        engine
            .claims()
            .filter_map(|id| Some((id.clone(), engine.claim(id)?.phase)))
            .collect()
    }

    /// The phase of the claim of a pod or claim object with this name.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<Phase> {
        let named = |id: &ClaimId| id.as_str().split('/').nth(2) == Some(name);
        self.phases()
            .into_iter()
            .find(|(id, _)| named(id))
            .map(|(_, phase)| phase)
    }

    /// The granted claims in the order of their grants, each by the name of its object or pod.
    #[must_use]
    pub fn grant_order(&self) -> Vec<String> {
        let records = self.entries.iter().flat_map(|entry| &entry.records);
        let granted = records.filter_map(|record| match record {
            Record::Granted { claim, .. } => claim.as_str().split('/').nth(2).map(str::to_owned),
            _ => None,
        });
        granted.collect()
    }
}
