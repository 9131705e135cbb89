//! What a bookkeeper is told.

use std::sync::Arc;

use privatekube_api::{AmountRequest, ClaimRequest, PrivateDataBlock, PrivateDataset};
use privatekube_policy::ClaimId;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::subject::Subject;

/// Something that happens to a dataset.
#[derive(Debug)]
pub enum Message {
    /// A block's object is there, or was changed.
    Block(Arc<PrivateDataBlock>),
    /// A block's object is gone; this is how it was last seen.
    BlockGone(Arc<PrivateDataBlock>),
    /// The dataset's object is there, or was changed.
    Dataset(Arc<PrivateDataset>),
    /// The dataset's object is gone; this is how it was last seen.
    DatasetGone(Arc<PrivateDataset>),
    /// Somebody asks.
    Claim {
        /// Who.
        subject: Subject,
        /// What.
        request: Arc<ClaimRequest>,
    },
    /// Who asked is gone.
    Withdraw(ClaimId),
    /// What a claim was consumed for provably never ran.
    NeverRan(ClaimId),
    /// A claim is spent, because its pod is about to run. The answer comes when that is durable.
    Spend {
        /// The claim.
        claim: ClaimId,
        /// Told how it ended.
        reply: SpendReply,
    },
    /// A claim's object says how much of it is to be consumed or released, in all.
    Use {
        /// The claim.
        claim: ClaimId,
        /// Which of the two.
        kind: UseKind,
        /// How much.
        amount: AmountRequest,
    },
    /// Every object that exists was sent: what the ledger knows and nobody sent is gone.
    AllSeen,
    /// Tells when everything that was sent before is done.
    Flush(oneshot::Sender<()>),
}

/// Which use an object's spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    /// Spending.
    Consume,
    /// Giving back.
    Release,
}

/// Where the end of a [`Message::Spend`] is told.
pub(super) type SpendReply = oneshot::Sender<Result<(), SpendError>>;

/// Why a claim was not spent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpendError {
    /// It can't be.
    #[error("{0}")]
    Refused(String),
    /// The bookkeeper is gone.
    #[error("the ledger is not open")]
    Closed,
}
