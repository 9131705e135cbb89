//! Weights: how much the claims of a namespace count on a dataset.

use std::collections::BTreeMap;

use kube::KubeSchema;
use privatekube_policy::Weight;
use serde::{Deserialize, Serialize};

use crate::{FieldError, PrivateDatasetSpec, names::is_label_name};

/// The largest weight, which is that of a backend in the Gateway API: more than a share of a whole can need, and few
/// enough digits to read.
const MOST_WEIGHT: u32 = 1_000_000;
/// How many namespaces a dataset may weigh.
const MOST_WEIGHTS: usize = 1000;

/// How much the claims of a namespace count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NamespaceWeight {
    /// The namespace that claims are in; not that of the dataset. Example: team-a.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "write a namespace's name: at most 63 lower-case letters, digits and '-', like team-a"))]
    pub namespace: String,
    /// How much each of its claims counts, where one of a namespace that isn't listed counts 1: between 1 and 1000000.
    /// Example: 3.
    #[schemars(range(min = 1, max = MOST_WEIGHT))]
    pub weight: u32,
}

/// How much claims count, by their namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(BTreeMap<String, Weight>);

impl Weights {
    /// How much a claim in this namespace counts; 1 if nothing is said of it.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Weight {
        self.0.get(namespace).copied().unwrap_or_default()
    }
}

impl PrivateDatasetSpec {
    /// How much claims count that arrive from now on. Not one of the dataset's rules: it may change.
    pub fn weights(&self) -> Result<Weights, FieldError> {
        const FIELD: &str = "spec.weights";
        if !self.weights.is_empty() && !self.policy.weighs() {
            return Err(FieldError::new(
                FIELD,
                format_args!(
                    "weights count with policy DPF, DPack and Blend, and policy is {}: leave them out",
                    self.policy.as_str()
                ),
            ));
        }
        if self.weights.len() > MOST_WEIGHTS {
            return Err(FieldError::new(
                FIELD,
                format_args!("are {}: at most {MOST_WEIGHTS} are accepted", self.weights.len()),
            ));
        }
        let mut weights = BTreeMap::new();
        for (at, own) in self.weights.iter().enumerate() {
            if !is_label_name(&own.namespace) {
                return Err(FieldError::new(
                    format!("{FIELD}[{at}].namespace"),
                    format_args!(
                        "{:?} is not the name of a namespace: write at most 63 lower-case letters, digits and '-', \
                         like team-a",
                        own.namespace
                    ),
                ));
            }
            let weight = Weight::new(own.weight).filter(|weight| weight.get() <= MOST_WEIGHT);
            let Some(weight) = weight else {
                return Err(FieldError::new(
                    format!("{FIELD}[{at}].weight"),
                    format_args!(
                        "{} is out of range: write an integer between 1 and {MOST_WEIGHT}",
                        own.weight
                    ),
                ));
            };
            if weights.insert(own.namespace.clone(), weight).is_some() {
                return Err(FieldError::new(
                    format!("{FIELD}[{at}].namespace"),
                    format_args!("{:?} is given twice: write each namespace once", own.namespace),
                ));
            }
        }
        Ok(Weights(weights))
    }
}
