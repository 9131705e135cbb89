//! PrivateKube's Kubernetes resources, annotations and names, and how each becomes a value of the policy's
//! vocabulary.
//!
//! What a user writes is parsed here, once: what [`PrivateDatasetSpec::rules`],
//! [`PrivateDataBlockSpec::capacity`], [`PrivacyBudgetClaim::request`] and [`pod_request`] return is typed
//! and valid. The crate does not decide claims, knows nothing of the ledger's content, and talks to no
//! cluster.
//!
//! Begin reading at [`PrivateDatasetSpec`], [`PrivateDataBlockSpec`] and [`PrivacyBudgetClaimSpec`] (what a
//! user writes), then at [`ClaimRequest`] (what it means), then at [`Selector`].
#![forbid(unsafe_code)]
#![allow(
    clippy::duplicated_attributes,
    reason = "each printed column of a resource has a type, and clippy takes them for one attribute"
)]
#![allow(
    unreachable_pub,
    reason = "kube's derive repeats each struct within a function, with its visibility"
)]

mod amounts;
mod block;
mod block_schedule;
mod claim;
mod claim_blocks;
mod claim_phase;
mod claim_reason;
mod claimants;
mod counted;
mod crd;
mod dataset;
mod decimal;
mod declared_dimensions;
mod dimension;
mod error;
mod excerpt;
mod grant;
mod ledger_checkpoint;
mod ledger_entry;
mod managed_pod;
mod match_index;
mod matching;
mod names;
mod pod;
mod policy;
mod purpose;
mod recency;
mod recovery;
mod request;
mod requested_by;
mod restarts;
mod schema;
mod selector;
mod subject;
mod timestamps;
mod weights;

pub use amounts::{Amounts, BudgetAmount, CurvePoint, Guarantee, RenyiAmount};
pub use block::{
    BlockTable, PortionSpec, PrivateDataBlock, PrivateDataBlockSpec, PrivateDataBlockStatus, SpentBefore,
};
pub use block_schedule::{BlockSchedule, BlocksSpec, DueBlock, Made, PeriodicBlocks, UserBlocks};
pub use claim::{
    BlockCount, BudgetSpec, ClaimBlock, ClaimPod, PrivacyBudgetClaim, PrivacyBudgetClaimSpec,
    PrivacyBudgetClaimStatus, Settlement, Which, conditions,
};
pub use claim_blocks::{MOST_LISTED_BYTES, are_all_listed, listed_blocks, name_bytes};
pub use claim_phase::ClaimPhase;
pub use claim_reason::ClaimReason;
pub use claimants::{
    ClaimRefusal, Claimants, ClaimantsFrom, ClaimantsSpec, LabelOperator, LabelRequirement, NamespaceSelector,
};
pub use counted::counted;
pub use crd::{crd_files, crds};
pub use dataset::{
    CompositionName, LastBlock, PrivacyUnit, PrivateDataset, PrivateDatasetSpec, PrivateDatasetStatus,
    RefusedPods, Restarts, UnlockingSpec,
};
pub use decimal::{Decimal, Duration};
pub use declared_dimensions::{DeclaredDimensions, DimensionSpec, DimensionType};
pub use dimension::{Dimension, Dimensions};
pub use error::{FieldError, FieldErrors};
pub use excerpt::{MOST_LISTED_CHARACTERS, beginning, excerpt};
pub use grant::{
    BlockBudget, BlocksFrom, ClaimToGrant, GRANT_VERSION, Grant, GrantAnnotations, GrantTooLarge,
    GrantedBlock, GrantedBudget, GrantedClaim, MOST_VARIABLE_BYTES, RequestedBudget, grant_schema,
    most_own_annotation_bytes, own_annotation_bytes,
};
pub use ledger_checkpoint::{
    PrivacyLedgerCheckpoint, PrivacyLedgerCheckpointPiece, PrivacyLedgerCheckpointPieceSpec,
    PrivacyLedgerCheckpointSpec, checkpoint_piece_name,
};
pub use ledger_entry::{PrivacyLedgerEntry, PrivacyLedgerEntrySpec, entry_name};
pub use managed_pod::{BudgetSource, ManagedPod, PodKey, Runs, node_of};
pub use match_index::{LeftOut, MOST_NAMED, MatchIndex};
pub use matching::{Candidate, are_enough, block_count, left_out_blocks, match_blocks, per_block_demands};
pub use names::{
    ANNOTATION_BLOCKS, ANNOTATION_CLAIM, ANNOTATION_DATASET, ANNOTATION_DELTA, ANNOTATION_EPSILON,
    ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, ANNOTATION_MAX_BLOCKS, ANNOTATION_MECHANISM,
    ANNOTATION_MIN_BLOCKS, ANNOTATION_PREFIX, ANNOTATION_PRIORITY, ANNOTATION_PURPOSE,
    ANNOTATION_REQUESTED_BY, ANNOTATION_RESTARTS, ANNOTATION_TIMEOUT, ANNOTATION_WOKEN, DatasetKey,
    ENV_GRANT, GATE, GRANT_FILE, GRANT_FILE_NAME, GRANT_FOLDER, GROUP, LABEL_DATASET, LABEL_MANAGED,
    NameError, RESOURCE, VERSION, VOLUME_GRANT, is_label_name, is_object_name,
};
pub use pod::{
    PodRequest, USER_ANNOTATIONS, are_restarts_free, check_labels, claim_spec, is_like_ours, is_managed,
    new_pod_request, pod_request,
};
pub use policy::{BlendSpec, DpackSpec, FcfsSpec, PolicyName};
pub use purpose::{MOST_PURPOSE_CHARACTERS, check_purpose};
pub use recovery::{Recovery, RecoverySpec};
pub use request::{AmountRequest, BudgetRequest, ClaimRequest, DemandRequest, RequestError};
pub use requested_by::requested_by;
pub use restarts::{ContainerRestarts, restarting_field, restarts_not_stated};
pub use schema::field_names;
pub use selector::{Selector, SelectorError, check_selector};
pub use subject::{Subject, SubjectKind};
pub use timestamps::{differ_by_countdown_only, meta_time, moment, parse_rfc3339, rfc3339, when};
pub use weights::{NamespaceWeight, Weights};
