//! PrivacyBudgetClaim: one request for budget on blocks of a dataset.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BudgetAmount, ClaimPhase, Duration};

/// One request for privacy budget on blocks of a dataset: granted on all of them or on none.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivacyBudgetClaim",
    namespaced,
    shortname = "pbc",
    category = "privatekube",
    status = "PrivacyBudgetClaimStatus",
    derive = "PartialEq",
    derive = "Default",
    selectable = ".spec.dataset",
    doc = "A demand for privacy budget on blocks of a dataset. It waits until the dataset's policy grants it on all its \
           blocks, or until it is denied or expires. `kubectl wait --for=condition=Granted pbc/NAME` waits with it.",
    printcolumn(
        name = "Dataset",
        type_ = "string",
        json_path = ".spec.dataset",
        description = "The dataset."
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "Waiting, Granted, Consumed, Released, Denied, Expired or Withdrawn."
    ),
    printcolumn(
        name = "Blocks",
        type_ = "integer",
        json_path = ".status.blockCount",
        description = "How many blocks it has."
    ),
    printcolumn(
        name = "Share",
        type_ = "string",
        json_path = ".status.dominantShare",
        description = "Its dominant share: the largest share that it takes of any of its blocks. Under DPF the \
                       claim with the smallest, divided by its weight, is granted first."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why, in a word."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Weight",
        type_ = "integer",
        json_path = ".status.weight",
        priority = "1",
        description = "Its weight: under DPF its dominant share is divided by it."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.summary",
        priority = "1",
        description = "Why, and what would change it. kubectl describe has all of a long one."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.budget) != has(self.perBlock)").message(
        "give exactly one of budget (the same on each block) and perBlock (for each block by name)"),
    validation = Rule::new("!has(self.perBlock) || (!has(self.selector) && !has(self.blocks))").message(
        "perBlock names its blocks: leave out selector and blocks").field_path(".perBlock"),
    validation = Rule::new("self.dataset == oldSelf.dataset").message(
        "dataset never changes: make another claim").field_path(".dataset"),
    validation = Rule::new(
        "has(self.selector) == has(oldSelf.selector) && (!has(self.selector) || self.selector == oldSelf.selector)")
        .message("selector never changes: make another claim").field_path(".selector"),
    validation = Rule::new(
        "has(self.blocks) == has(oldSelf.blocks) && (!has(self.blocks) || self.blocks == oldSelf.blocks)")
        .message("blocks never change: make another claim").field_path(".blocks"),
    validation = Rule::new(
        "has(self.budget) == has(oldSelf.budget) && (!has(self.budget) || self.budget == oldSelf.budget)")
        .message("budget never changes: make another claim").field_path(".budget"),
    validation = Rule::new(
        "has(self.perBlock) == has(oldSelf.perBlock) && (!has(self.perBlock) || self.perBlock == oldSelf.perBlock)")
        .message("perBlock never changes: make another claim").field_path(".perBlock"),
    validation = Rule::new(
        "has(self.timeout) == has(oldSelf.timeout) && (!has(self.timeout) || self.timeout == oldSelf.timeout)")
        .message("timeout never changes: make another claim").field_path(".timeout"),
    validation = Rule::new("self.priority == oldSelf.priority").message(
        "priority never changes: make another claim").field_path(".priority"),
    validation = Rule::new(
        "has(self.purpose) == has(oldSelf.purpose) && (!has(self.purpose) || self.purpose == oldSelf.purpose)")
        .message("purpose never changes: make another claim").field_path(".purpose"),
    validation = Rule::new("has(self.pod) == has(oldSelf.pod) && (!has(self.pod) || self.pod == oldSelf.pod)").message(
        "pod is written by the system and never changes: leave it as it is").field_path(".pod"),
    validation = Rule::new("!has(oldSelf.consume) || has(self.consume)").message(
        "consume can't be taken back").field_path(".consume"),
    validation = Rule::new("!has(oldSelf.release) || has(self.release)").message(
        "release can't be taken back").field_path(".release"),
)]
pub struct PrivacyBudgetClaimSpec {
    /// The dataset: its name if it is in the claim's namespace, else namespace/name. Example: data/taxi.
    /// Never changes.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = Rule::new(
        "self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message(
        "write the dataset's name, or namespace/name, each at most 63 lower-case letters, digits and '-'"))]
    pub dataset: String,
    /// Which blocks: a CEL expression that compares a block's dimensions with constants, true for the blocks
    /// that match. A block that lacks a dimension that the expression reads does not match; has(block.city)
    /// tests for one. If absent, blocks has to say which. Never changes. Example: block.startTime >= 20770 && block.city
    /// == "nyc".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 2000))]
    pub selector: Option<String>,
    /// How many of the blocks that match, and which. If absent: all that the selector matches, at least one.
    /// {which: all} for every block of the dataset. Never changes. Example: {max: 7}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BlockCount")]
    pub blocks: Option<BlockCount>,
    /// The budget requested on each block. Exactly one of: epsilon and delta, mechanism, renyi. With Renyi
    /// composition epsilon and delta stand for the Gaussian mechanism that has this guarantee; name another
    /// one by mechanism. Never changes. Example: {epsilon: "0.01", delta: "1e-9"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BudgetSpec")]
    pub budget: Option<BudgetSpec>,
    /// The budget requested on each block, by the block's name, in place of budget, selector and blocks.
    /// Never changes. Example: {taxi-2026-11-21: {epsilon: "0.01", delta: "1e-9"}}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, BudgetSpec>", extend("minProperties" = 1, "maxProperties" = 256))]
    pub per_block: Option<BTreeMap<String, BudgetSpec>>,
    /// How long it waits at most, as numbers with units ms, s, m, h or d. If absent: its dataset's timeout.
    /// Never changes. Example: 1h30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub timeout: Option<Duration>,
    /// A claim with a higher priority is granted before one with a lower, whatever their shares; between
    /// -1000 and 1000. Not under policy RoundRobin. Never changes. Example: 10.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// What the budget is for, in one line of at most 256 characters. The ledger keeps it, with the user who made the claim.
    /// Never changes. Example: weekly report of fares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(r"self.matches(r'^[^\p{Cc}]*$')").message(
        "say in one line what the budget is for, without line breaks and other control characters"))]
    pub purpose: Option<String>,
    /// The pod whose own claim this object shows. Written by the system when it makes the object, and by nobody
    /// else. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClaimPod")]
    pub pod: Option<ClaimPod>,
    /// How much of the granted budget is consumed, in total since the grant. It may only grow.
    /// Example: {all: true}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Settlement")]
    pub consume: Option<Settlement>,
    /// How much of the granted budget is released without being consumed, in total since the grant. It may
    /// only grow. Example: {all: true}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Settlement")]
    pub release: Option<Settlement>,
}

/// The pod whose own claim an object shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ClaimPod {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(min = 1, max = 128))]
    pub uid: String,
}

/// How many of the blocks that match, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.max) || self.min <= self.max").message("min is above max").field_path(".min"),
    validation = Rule::new("!has(self.max) || !has(self.which) || self.which != 'all'").message(
        "which: all takes every block: leave out max, or write which: newest").field_path(".which"),
)]
pub struct BlockCount {
    /// How many blocks the claim needs at least, 1 or more; it waits until so many match. Example: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min: u32,
    /// How many blocks it takes at most. No limit if absent. Example: 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 100_000))]
    pub max: Option<u32>,
    /// Which blocks it takes: newest (at most max of them) or all. If absent: newest if max is given, else
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Which")]
    pub which: Option<Which>,
}

fn one() -> u32 {
    1
}

impl Default for BlockCount {
    fn default() -> Self {
        Self {
            min: 1,
            max: None,
            which: None,
        }
    }
}

/// Which of the blocks that match a claim takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Which {
    /// The newest, at most `max`.
    Newest,
    /// All.
    All,
}

/// The budget that a claim requests on a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "[has(self.epsilon) || has(self.delta), has(self.mechanism), has(self.renyi)].filter(given, given).size() == 1")
        .message("give exactly one of: epsilon and delta, mechanism, renyi"),
)]
pub struct BudgetSpec {
    /// Epsilon and delta, or a Renyi curve.
    #[serde(flatten)]
    #[schemars(schema_with = "BudgetAmount::flattened_schema")]
    pub amount: BudgetAmount,
    /// A mechanism by name, for sensitivity 1: gaussian(sigma=...), laplace(scale=...),
    /// dp-sgd(noise-multiplier=...,batch-size=...,steps=...), a sum of these, or a multiple like
    /// 3*laplace(scale=10). Example: gaussian(sigma=647.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 1000))]
    pub mechanism: Option<String>,
}

/// How much of a granted claim to consume or to release, in total since the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.all) != has(self.perBlock)").message(
        "give exactly one of: all, perBlock"),
    validation = Rule::new("!has(oldSelf.all) || has(self.all)").message("all can't be taken back"),
    validation = Rule::new(
        "!has(oldSelf.perBlock) || has(self.all) || \
         (has(self.perBlock) && oldSelf.perBlock.all(block, block in self.perBlock))")
        .message("a block can't be taken back: keep every block that was named").field_path(".perBlock"),
)]
pub struct Settlement {
    /// All budget that is still allocated. Only true is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    #[x_kube(validation = Rule::new("self").message("only true is accepted: leave it out for false"))]
    pub all: Option<bool>,
    /// The amount on each block by name, in total since the grant. Other blocks stay as they are.
    /// Example: {taxi-2026-11-21: {epsilon: "0.005", delta: "1e-10"}}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, BudgetAmount>", extend("minProperties" = 1, "maxProperties" = 256))]
    pub per_block: Option<BTreeMap<String, BudgetAmount>>,
}

/// The types of a claim's conditions. `kubectl wait --for=condition=Granted` names one.
pub mod conditions {
    /// It doesn't wait any more: it was granted, denied or withdrawn, or expired.
    pub const DECIDED: &str = "Decided";
    /// It was granted. Stays True when it is consumed or released afterwards.
    pub const GRANTED: &str = "Granted";
    /// It was refused for good.
    pub const DENIED: &str = "Denied";
    /// It waited for its whole timeout.
    pub const EXPIRED: &str = "Expired";
    /// Some or all of its budget was consumed.
    pub const CONSUMED: &str = "Consumed";
    /// Some or all of its budget was released.
    pub const RELEASED: &str = "Released";
    /// Of datasets and blocks: they are in the ledger and in use.
    pub const READY: &str = "Ready";
    /// Of blocks: another block of the dataset has the same data source.
    pub const DATA_SOURCE_SHARED: &str = "DataSourceShared";
    /// Of blocks: the budget is above the guarantee that the dataset states for blocks.
    pub const ABOVE_GUARANTEE: &str = "AboveGuarantee";
}

/// A claim's state after a ledger entry. Derived from the dataset's ledger, and a moment behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivacyBudgetClaimStatus {
    /// Waiting, then Granted, Denied, Expired or Withdrawn; a granted claim becomes Consumed or Released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClaimPhase")]
    pub phase: Option<ClaimPhase>,
    /// Why it is in its phase, as one word in CamelCase, for programs. Example: TooLarge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<String>,
    /// Why it is in its phase, which block lacks how much, and what would change that, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub message: Option<String>,
    /// The beginning of the message, for lists: at most 160 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub summary: Option<String>,
    /// Its blocks: at most 768 KiB. If they take more with their data sources, all data sources are left out (each block's
    /// PrivateDataBlock has its own); if the names alone take more, only the first blocks are listed, and all are in the
    /// ledger entry in which it was matched. blockCount counts all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub blocks: Vec<ClaimBlock>,
    /// How many blocks it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub block_count: Option<u64>,
    /// Its dominant share: the largest share that it takes of any of its blocks (under Renyi composition, at the order where this
    /// is smallest), as a decimal, not divided by
    /// its weight. Under DPF the claim with the smallest is granted first. Example: 0.001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub dominant_share: Option<String>,
    /// Its weight: the one that its dataset gave its namespace when it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    pub weight: Option<u32>,
    /// The number of the ledger entry that this state is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub sequence: Option<u64>,
    /// When it arrived in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub arrived_at: Option<Time>,
    /// When it was granted, denied, expired or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub decided_at: Option<Time>,
    /// Decided, Granted, Denied, Expired, Consumed and Released. Decided says whether it still waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}

/// A block of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimBlock {
    /// Its name, in the dataset's namespace.
    pub name: String,
    /// Where its data is, unless the data sources of all blocks are too long to be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub data_source: Option<String>,
}
