//! The grant of a pod, as its containers read it.

use serde::{Deserialize, Serialize};

use crate::BudgetRequest;

/// The value of [`ANNOTATION_GRANT`](crate::ANNOTATION_GRANT) and of [`ENV_GRANT`](crate::ENV_GRANT), as
/// JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Each granted claim of the pod.
    pub claims: Vec<GrantedClaim>,
}

/// One granted claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedClaim {
    /// The claim, `namespace/name`.
    pub claim: String,
    /// The dataset, `namespace/name`.
    pub dataset: String,
    /// The blocks that the pod may read.
    pub blocks: Vec<GrantedBlock>,
}

/// A block that a pod may read, and the budget that it may consume there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantedBlock {
    /// Its name, in the dataset's namespace.
    pub name: String,
    /// Where its data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// The budget that the pod may consume.
    #[serde(flatten)]
    pub budget: GrantedBudget,
}

/// A granted budget in the form in which it was requested. All decimals are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GrantedBudget {
    /// An (epsilon, delta) guarantee.
    Guarantee {
        /// Epsilon.
        epsilon: String,
        /// Delta.
        delta: String,
    },
    /// A Renyi curve.
    Curve {
        /// Epsilon at each order.
        renyi: Vec<crate::RenyiAmount>,
    },
    /// A mechanism with its parameters.
    Mechanism {
        /// As it was written.
        mechanism: String,
    },
}

impl From<&BudgetRequest> for GrantedBudget {
    fn from(request: &BudgetRequest) -> Self {
        match request {
            BudgetRequest::Guarantee { epsilon, delta } => Self::Guarantee {
                epsilon: epsilon.to_string(),
                delta: delta.to_string(),
            },
            BudgetRequest::Curve(curve) => Self::Curve {
                renyi: curve
                    .iter()
                    .map(|(order, epsilon)| crate::RenyiAmount {
                        order: order.to_string(),
                        epsilon: epsilon.to_string(),
                    })
                    .collect(),
            },
            BudgetRequest::Mechanism(_, written) => Self::Mechanism {
                mechanism: written.clone(),
            },
        }
    }
}
