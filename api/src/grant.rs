//! The grant of a pod, as its containers read it.
//!
//! The same JSON is in the pod's annotation [`ANNOTATION_GRANT`], which the containers have as a file, and, if it is small,
//! in the environment variable [`ENV_GRANT`](crate::ENV_GRANT). A grant that is too large for an annotation says where its
//! blocks are listed instead. [`GrantAnnotations::of`] decides this before anything is consumed.

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, BudgetRequest, Dimensions, GRANT_FILE, GROUP,
    PrivacyBudgetClaimSpec, PrivacyUnit, RenyiAmount, VERSION,
};

/// The version of the format. A change that a program could misunderstand gets another number.
pub const GRANT_VERSION: u32 = 1;

/// The most bytes of the environment variable. Linux starts no program with a string of 128 KiB in its environment.
pub const MOST_VARIABLE_BYTES: usize = 96 << 10;

/// The most bytes of all annotations of a pod, keys and values, that the API server accepts.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// How many bytes of a bound pod's annotations are left for what others write there after the grant. The API server copies
/// a Binding's annotations to the pod without looking at their size, and refuses every later status of a pod that has too
/// many.
const SPARE_ANNOTATION_BYTES: usize = 16 << 10;

/// How many bytes of a pod's annotations are enough for one claim that says where its blocks are listed: names, a mechanism,
/// and a curve of 32 orders.
const REFERENCE_BYTES: usize = 5 << 10;

/// The most bytes of annotations, keys and values, of a pod that requests budget by `claims` claims: so many that its
/// grant always fits beside them, at least in the form that says where the blocks are listed.
#[must_use]
pub const fn most_own_annotation_bytes(claims: usize) -> usize {
    // Another 1 KiB for the keys and for what the variable has then.
    let reserved = SPARE_ANNOTATION_BYTES + REFERENCE_BYTES * claims + (1 << 10);
    MOST_ANNOTATION_BYTES.saturating_sub(reserved)
}

/// What a pod was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The version of this format: 1.
    pub version: u32,
    /// Each granted claim of the pod. Absent if `file` is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<GrantedClaim>,
    /// The file that has the grant. Only in the environment variable, of a grant that is too large for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub file: Option<String>,
}

/// One granted claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedClaim {
    /// The claim, `namespace/name`.
    pub claim: String,
    /// The dataset, `namespace/name`.
    pub dataset: String,
    /// What differs between two sets of data that the budget makes hard to tell apart, as the dataset states it: the pod has to
    /// bound what one such unit adds. Absent if the dataset states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PrivacyUnit")]
    pub privacy_unit: Option<PrivacyUnit>,
    /// The budget as it was requested on each block. Absent if it was requested as a Renyi curve or for each block by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RequestedBudget")]
    pub requested: Option<RequestedBudget>,
    /// How many blocks the pod may read.
    pub block_count: u64,
    /// What the pod may consume, each different budget once, with the blocks on which it has that budget.
    pub budgets: Vec<BlockBudget>,
    /// Where the blocks are listed, if there are too many to list them here. There is one budget then, the same on each of
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BlocksFrom")]
    pub blocks_from: Option<BlocksFrom>,
}

impl GrantedClaim {
    /// Each block that is listed, and the budget that the pod has there.
    pub fn blocks(&self) -> impl Iterator<Item = (&GrantedBlock, &GrantedBudget)> {
        self.budgets
            .iter()
            .flat_map(|of| of.blocks.iter().map(move |block| (block, &of.budget)))
    }
}

/// A budget, and the blocks on each of which the pod has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockBudget {
    /// The budget that the pod may consume on each of the blocks.
    #[serde(flatten)]
    pub budget: GrantedBudget,
    /// The blocks. Absent if the claim has `blocksFrom`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<GrantedBlock>,
}

/// A block that a pod may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedBlock {
    /// Its name, in the dataset's namespace.
    pub name: String,
    /// Where its data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub data_source: Option<String>,
    /// What portion of the data it is.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    pub dimensions: Dimensions,
}

/// A granted budget, in the form in which the dataset's budgets add up. All decimals are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GrantedBudget {
    /// An (epsilon, delta) guarantee: the dataset has Basic composition.
    Guarantee {
        /// Epsilon.
        epsilon: String,
        /// Delta.
        delta: String,
    },
    /// A Renyi curve: the dataset has Renyi composition.
    Curve {
        /// Epsilon at each order.
        renyi: Vec<RenyiAmount>,
    },
}

/// A budget as it was requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestedBudget {
    /// An (epsilon, delta) guarantee.
    Guarantee {
        /// Epsilon.
        epsilon: String,
        /// Delta.
        delta: String,
    },
    /// A mechanism with its parameters.
    Mechanism {
        /// As it was written.
        mechanism: String,
    },
}

impl RequestedBudget {
    /// What a request states; `None` of a curve, which the granted budget states again.
    #[must_use]
    pub fn of(request: &BudgetRequest) -> Option<Self> {
        match request {
            BudgetRequest::Guarantee { epsilon, delta } => Some(Self::Guarantee {
                epsilon: epsilon.to_string(),
                delta: delta.to_string(),
            }),
            BudgetRequest::Mechanism(_, written) => Some(Self::Mechanism {
                mechanism: written.clone(),
            }),
            BudgetRequest::Curve(_) => None,
        }
    }
}

/// An object that lists a claim's blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlocksFrom {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The field that lists the blocks: each with its name, and with its data source unless these are too long. A block's
    /// PrivateDataBlock has its dimensions, and its data source in any case.
    pub field_path: String,
}

/// A claim that a pod is to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToGrant {
    /// The claim with all blocks.
    pub claim: GrantedClaim,
    /// Whether the status of its object lists exactly these blocks.
    pub is_listed: bool,
}

/// Why a pod can't have its grant: even its shortest form doesn't fit the pod's annotations.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the grant takes {bytes} bytes of the pod's annotations, and {room} are left beside the {own} bytes that the pod has \
     ({MOST_ANNOTATION_BYTES} in all, {SPARE_ANNOTATION_BYTES} of them kept for others): {remedy}"
)]
pub struct GrantTooLarge {
    /// The bytes of the shortest form.
    pub bytes: usize,
    /// The bytes that are left for it.
    pub room: usize,
    /// The bytes of the pod's other annotations.
    pub own: usize,
    remedy: &'static str,
}

/// The annotations of a Binding that carry the grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantAnnotations {
    /// The value of [`ANNOTATION_GRANT`].
    pub grant: String,
    /// The value of [`ANNOTATION_GRANT_VARIABLE`].
    pub variable: String,
    /// The objects that list blocks in place of the grant, and how many each has to list.
    pub references: Vec<(BlocksFrom, u64)>,
}

impl GrantAnnotations {
    /// The annotations that grant `claims` to a pod whose other annotations have `own` bytes. The longest blocks' lists are
    /// left out first if the grant doesn't fit.
    pub fn of(claims: Vec<ClaimToGrant>, own: usize) -> Result<Self, GrantTooLarge> {
        let keys = ANNOTATION_GRANT.len() + ANNOTATION_GRANT_VARIABLE.len();
        let room = (MOST_ANNOTATION_BYTES - SPARE_ANNOTATION_BYTES - keys).saturating_sub(own);
        let pointer = text(&Grant {
            version: GRANT_VERSION,
            claims: Vec::new(),
            file: Some(GRANT_FILE.to_owned()),
        });
        let mut references = Vec::new();
        let mut parts: Vec<(String, Option<GrantedClaim>)> = claims
            .into_iter()
            .map(|ClaimToGrant { claim, is_listed }| {
                (text(&claim), is_listed.then(|| claim.by_reference()).flatten())
            })
            .collect();
        loop {
            let claims: Vec<&str> = parts.iter().map(|(claim, _)| claim.as_str()).collect();
            let grant = format!(
                "{{\"version\":{GRANT_VERSION},\"claims\":[{}]}}",
                claims.join(",")
            );
            if grant.len() <= MOST_VARIABLE_BYTES && 2 * grant.len() <= room {
                let variable = grant.clone();
                return Ok(Self {
                    grant,
                    variable,
                    references,
                });
            }
            if grant.len() + pointer.len() <= room {
                return Ok(Self {
                    grant,
                    variable: pointer,
                    references,
                });
            }
            let saved = |(claim, reference): &(String, Option<GrantedClaim>)| {
                let reference = text(reference.as_ref()?).len();
                claim.len().checked_sub(reference).filter(|saved| *saved > 0)
            };
            let longest = parts
                .iter_mut()
                .filter(|part| saved(part).is_some())
                .max_by_key(|part| saved(part));
            let Some((claim, reference)) = longest else {
                let bytes = grant.len() + pointer.len();
                let remedy = if own > bytes {
                    "take annotations of its own out of the pod"
                } else {
                    "request fewer blocks, or name fewer claims"
                };
                return Err(GrantTooLarge {
                    bytes,
                    room,
                    own,
                    remedy,
                });
            };
            let Some(reference) = reference.take() else {
                continue;
            };
            *claim = text(&reference);
            let count = reference.block_count;
            references.extend(reference.blocks_from.map(|from| (from, count)));
        }
    }
}

/// The annotations by their names.
impl From<GrantAnnotations> for BTreeMap<String, String> {
    fn from(annotations: GrantAnnotations) -> Self {
        [
            (ANNOTATION_GRANT.to_owned(), annotations.grant),
            (ANNOTATION_GRANT_VARIABLE.to_owned(), annotations.variable),
        ]
        .into()
    }
}

impl GrantedClaim {
    /// The same claim with a reference to its object, which lists its blocks; `None` if the object's list says less, since
    /// the budgets on the blocks differ.
    fn by_reference(&self) -> Option<Self> {
        let [BlockBudget { budget, .. }] = self.budgets.as_slice() else {
            return None;
        };
        let (namespace, name) = self.claim.split_once('/')?;
        Some(Self {
            claim: self.claim.clone(),
            dataset: self.dataset.clone(),
            privacy_unit: self.privacy_unit,
            requested: self.requested.clone(),
            block_count: self.block_count,
            budgets: vec![BlockBudget {
                budget: budget.clone(),
                blocks: Vec::new(),
            }],
            blocks_from: Some(BlocksFrom {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: "PrivacyBudgetClaim".to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                field_path: "status.blocks".to_owned(),
            }),
        })
    }
}

/// A value of this module as JSON, which can't fail: there are no maps with other keys than strings, and no floats.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// How many bytes a pod's annotations have, keys and values, without those that carry a grant.
pub fn own_annotation_bytes<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> usize {
    annotations
        .into_iter()
        .filter(|(key, _)| *key != ANNOTATION_GRANT && *key != ANNOTATION_GRANT_VARIABLE)
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

impl PrivacyBudgetClaimSpec {
    /// The budget that it requests on each block, as it is written; `None` of a curve, and if budgets are requested for each
    /// block by name.
    #[must_use]
    pub fn requested_budget(&self) -> Option<RequestedBudget> {
        let budget = self.budget.as_ref()?;
        if let Some(mechanism) = &budget.mechanism {
            return Some(RequestedBudget::Mechanism {
                mechanism: mechanism.clone(),
            });
        }
        Some(RequestedBudget::Guarantee {
            epsilon: budget.amount.epsilon.as_ref()?.to_string(),
            delta: budget.amount.delta.as_ref()?.to_string(),
        })
    }
}

/// The JSON schema of a [`Grant`], as the text of a file.
pub fn grant_schema() -> Result<String, serde_json::Error> {
    let mut schema = schema_for!(Grant).to_value();
    join_lines(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

/// Joins the lines of descriptions: the line breaks of the source mean nothing to a reader of the schema.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    _ => join_lines(field),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(join_lines),
        _ => {}
    }
}
