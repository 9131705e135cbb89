//! The messages that a bookkeeper takes: what happened to its dataset's objects, and requests to consume.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use privatekube_api::{AmountRequest, ClaimRequest, PrivateDataBlock, PrivateDataset, Subject};
use privatekube_ledger::Requester;
use privatekube_policy::ClaimId;
use privatekube_view::PhaseReason;
use thiserror::Error;
use tokio::sync::oneshot;

use super::Question;

/// Something that happened to a dataset.
#[derive(Debug)]
pub enum Message {
    /// A block's object exists, or was changed.
    BlockApplied(Arc<PrivateDataBlock>),
    /// A block's object was deleted; this is how it was last seen.
    BlockDeleted(Arc<PrivateDataBlock>),
    /// The dataset's object exists, or was changed.
    DatasetApplied(Arc<PrivateDataset>),
    /// The dataset's object was deleted; this is how it was last seen.
    DatasetDeleted(Arc<PrivateDataset>),
    /// A pod or a claim object requests budget.
    Requested(Box<ClaimInput>),
    /// The object of a claim exists that is in the ledger and needs no more blocks.
    Exists(ClaimId),
    /// The pod or claim object of a claim was deleted, or can't run any more.
    Withdrawn(ClaimId),
    /// The pod of a claim was deleted, and had a node: whatever the claim has is consumed.
    Ran(ClaimId),
    /// The pod that a claim was consumed for provably never ran.
    NeverRan(ClaimId),
    /// The pod of these claims is about to run, so all of each claim is consumed; none is, if one of them can't be. The answer
    /// comes when that is durable.
    ConsumeAll {
        /// The claims, none of them twice.
        claims: Vec<ClaimId>,
        /// Receives the outcome.
        reply: ConsumeReply,
    },
    /// A claim's object states how much of the claim is to be consumed or released, in all so far.
    UseRequested {
        /// The claim.
        claim: ClaimId,
        /// Which of the two, and how much.
        usage: RequestedUse,
    },
    /// The status of a claim's object names this ledger entry, which the ledger doesn't seem to have.
    StatusNames {
        /// The entry's number.
        sequence: u64,
        /// When the claim arrived, as its status says.
        arrived: Option<Time>,
    },
    /// Every object that exists was sent: an object that the ledger knows and that wasn't sent was deleted.
    AllListed,
    /// The ledger has entries that it didn't have before, or lacks some that it had. Says nothing to whoever writes the ledger.
    EntriesChanged,
    /// This process leads from now on. Answers when everything that others have written to the ledger was read.
    Lead(oneshot::Sender<()>),
    /// Somebody wants to know something that only the engine knows. Changes nothing.
    Asked(Question),
    /// Answers when everything that was sent before is done.
    Flush(oneshot::Sender<()>),
}

// After a start, there may be one for each of a hundred thousand claims.
const _: () = assert!(size_of::<Message>() <= 64);

impl Message {
    /// Whether it reports a deletion, which may be one of a whole namespace.
    pub(super) const fn is_deletion(&self) -> bool {
        matches!(
            self,
            Self::BlockDeleted(_)
                | Self::DatasetDeleted(_)
                | Self::Withdrawn(_)
                | Self::Ran(_)
                | Self::NeverRan(_)
        )
    }
}

/// A request for budget, and what it is for.
#[derive(Clone, Debug)]
pub struct ClaimInput {
    /// The pod or claim object.
    pub subject: Subject,
    /// Its request.
    pub request: Arc<ClaimRequest>,
    /// Whether the object's status says that the claim was granted. While the ledger can't be read, the status stays.
    pub was_granted: bool,
    /// Why the object's status says that the claim was denied, if it does. What was denied stays denied, also if no ledger knows
    /// it: claims that a dataset isn't open to are in none, and ledgers go with their namespaces.
    pub was_denied: Option<PhaseReason>,
    /// Who asked for it, for the entry in which the claim arrives. None once it has arrived.
    pub requester: Option<Box<Requester>>,
}

/// An amount of a claim that its object wants consumed or released, in all so far.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestedUse {
    /// `spec.consume`.
    Consume(AmountRequest),
    /// `spec.release`.
    Release(AmountRequest),
}

/// Receives the outcome of a [`Message::ConsumeAll`].
pub(super) type ConsumeReply = oneshot::Sender<Result<(), ConsumeError>>;

/// Why claims were not consumed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConsumeError {
    /// The engine refused it.
    #[error("{0}")]
    Refused(String),
    /// The dataset has no ledger, or its bookkeeper has ended.
    #[error("the ledger is not open")]
    Closed,
}
