//! A claim as it is committed, in few bytes: its status and its grant are made from these when they are asked for.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{
    ClaimPhase, ClaimReason, ClaimToGrant, DatasetKey, GrantedBudget, PrivacyBudgetClaimStatus, Subject,
};
use privatekube_policy::{BlockId, Budget, ClaimId, Composition, Time};

use crate::{objects::DatasetObjects, shared::Shared, status};

/// A claim as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimView {
    /// Its name in the ledger.
    pub id: ClaimId,
    /// The dataset whose budget it requests.
    pub dataset: Arc<DatasetKey>,
    /// Its phase.
    pub phase: ClaimPhase,
    pub(crate) reason: ClaimReason,
    /// Claims that wait for the same share it.
    pub(crate) message: Arc<str>,
    pub(crate) known: Known,
}

/// What is known of a claim besides its phase.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// It is not in a ledger, since then.
    NotInLedger(v1::Time),
    /// What the ledger has of it.
    InLedger(InLedger),
}

/// What the ledger has of a claim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InLedger {
    pub(crate) composition: Composition,
    pub(crate) demands: Arc<Demands>,
    /// Whether any of it was consumed.
    pub(crate) is_consumed: bool,
    pub(crate) released: Released,
    /// The largest fraction of a block's capacity, at any coordinate, that it demands.
    pub(crate) dominant_share: Option<f64>,
    pub(crate) weight: u32,
    pub(crate) arrived: Time,
    /// When it was granted or denied, expired or was withdrawn.
    pub(crate) decided: Option<Time>,
    /// When it reached its phase, as far as that is known.
    pub(crate) changed: Option<Time>,
    /// The number of the entry that changed it last, or of a later one at which it is the same: after a restart, of the last.
    pub(crate) sequence: Option<u64>,
}

/// How much of its demands a claim has given back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Released {
    Nothing,
    Everything,
    /// An amount at each coordinate of its first block, then of the second, and so on.
    Partly(Box<[i64]>),
}

/// What claims demand: a budget on each of some blocks, and then another on others.
pub(crate) type Demands = [(Arc<BlockSet>, Budget)];

/// Blocks that are demanded together.
pub(crate) type BlockSet = [Arc<NamedBlock>];

/// A block as a claim's status and grant name it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamedBlock {
    pub(crate) name: BlockId,
    /// Where its data is, while its object exists.
    pub(crate) data_source: Option<Box<str>>,
    /// Its dimensions as JSON, which takes a fraction of a map; `None` if it has none, or no object any more.
    pub(crate) dimensions: Option<Box<str>>,
}

impl ClaimView {
    /// The object that it is made for; `None` if its name in the ledger is not that of an object.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        Subject::of(&self.id)
    }

    /// Why it is in its phase, for users.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why it is in its phase, as one word of a closed set.
    #[must_use]
    pub const fn reason(&self) -> ClaimReason {
        self.reason
    }

    /// The largest share of any of its blocks that it demands, for people, before its weight divides it; `None` while it is
    /// not in the ledger or has no blocks.
    #[must_use]
    pub const fn dominant_share(&self) -> Option<f64> {
        match &self.known {
            Known::InLedger(claim) => claim.dominant_share,
            Known::NotInLedger(_) => None,
        }
    }

    /// When it arrived in the ledger.
    #[must_use]
    pub const fn arrived(&self) -> Option<Time> {
        match &self.known {
            Known::InLedger(claim) => Some(claim.arrived),
            Known::NotInLedger(_) => None,
        }
    }

    /// When it reached its phase, as far as that is known: after a restart the time of a use isn't.
    #[must_use]
    pub const fn changed(&self) -> Option<Time> {
        match &self.known {
            Known::InLedger(claim) => claim.changed,
            Known::NotInLedger(_) => None,
        }
    }

    /// What it demands: budgets, each with the names of the blocks on which it is demanded.
    pub fn demands(&self) -> impl Iterator<Item = (GrantedBudget, Vec<&str>)> {
        let known = match &self.known {
            Known::InLedger(claim) => Some(claim),
            Known::NotInLedger(_) => None,
        };
        known.into_iter().flat_map(|claim| {
            claim.demands.iter().map(|(blocks, budget)| {
                let names = blocks.iter().map(|block| block.name.as_str()).collect();
                (status::granted_budget(budget.units(), &claim.composition), names)
            })
        })
    }

    /// When it was granted or denied, expired or was withdrawn in the ledger.
    #[must_use]
    pub const fn decided(&self) -> Option<Time> {
        match &self.known {
            Known::InLedger(claim) => claim.decided,
            Known::NotInLedger(_) => None,
        }
    }

    /// Whether it is in the ledger.
    #[must_use]
    pub const fn is_in_ledger(&self) -> bool {
        matches!(self.known, Known::InLedger(_))
    }

    /// Whether it may wait for more blocks to match it.
    #[must_use]
    pub fn needs_blocks(&self) -> bool {
        self.phase == ClaimPhase::Waiting && self.reason != ClaimReason::TooLittleUnlocked
    }

    /// Its object's status.
    #[must_use]
    pub fn status(&self) -> PrivacyBudgetClaimStatus {
        status::claim_status(self)
    }

    /// What its pods are given, but for what was requested, which the view doesn't have; `None` unless it is granted or
    /// consumed.
    #[must_use]
    pub fn grant(&self) -> Option<ClaimToGrant> {
        status::claim_grant(self)
    }
}

/// What the claims of one dataset share.
#[derive(Debug, Default)]
pub(crate) struct SharedDemands {
    blocks: Shared<NamedBlock>,
    sets: Shared<BlockSet>,
    demands: Shared<Demands>,
}

impl SharedDemands {
    /// What claims with equal demands share.
    pub(crate) fn share(
        &mut self,
        demands: &[privatekube_policy::Demand],
        objects: &DatasetObjects,
    ) -> Arc<Demands> {
        let shared: Arc<Demands> = demands
            .iter()
            .map(|demand| {
                let blocks = demand.blocks.iter().map(|block| self.block(block, objects));
                let blocks: Arc<BlockSet> = blocks.collect();
                (self.sets.share(blocks), demand.budget.clone())
            })
            .collect();
        self.demands.share(shared)
    }

    fn block(&mut self, block: &BlockId, objects: &DatasetObjects) -> Arc<NamedBlock> {
        let object = objects.block(block.as_str()).map(|block| &block.object);
        let data_source = object.and_then(|object| object.spec.data_source.as_deref());
        let dimensions = object.map(|object| &object.spec.dimensions);
        let dimensions = dimensions.filter(|dimensions| !dimensions.is_empty());
        let dimensions = dimensions.and_then(|dimensions| serde_json::to_string(dimensions).ok());
        self.blocks.share(Arc::new(NamedBlock {
            name: block.clone(),
            data_source: data_source.map(Box::from),
            dimensions: dimensions.map(String::into_boxed_str),
        }))
    }
}
