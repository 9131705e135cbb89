//! The weights of claims on a dataset, by the claims' namespaces.

use std::collections::BTreeMap;

use kube::KubeSchema;
use privatekube_policy::Weight;
use serde::{Deserialize, Serialize};

use crate::{FieldError, FieldErrors, PrivateDatasetSpec, names::is_label_name};

/// The largest weight: as in the Gateway API, more than any share needs, and few enough digits to read.
const MOST_WEIGHT: u32 = 1_000_000;
/// The most namespaces that a dataset may give a weight.
const MOST_WEIGHTS: usize = 1000;

/// The weight of a namespace's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NamespaceWeight {
    /// The namespace of the claims, not of the dataset. Example: team-a.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "write a namespace's name: at most 63 lower-case letters, digits and '-', like team-a"))]
    pub namespace: String,
    /// The weight of each of its claims, between 1 and 1000000. Claims of namespaces that aren't listed have
    /// weight 1. Example: 3.
    #[schemars(range(min = 1, max = MOST_WEIGHT))]
    pub weight: u32,
}

/// The weights of claims, by their namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(BTreeMap<String, Weight>);

impl Weights {
    /// Returns the weight of a claim in this namespace; 1 if it isn't listed.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Weight {
        self.0.get(namespace).copied().unwrap_or_default()
    }
}

impl PrivateDatasetSpec {
    /// Returns the weights of claims that arrive from now on. They are none of the dataset's rules: they may
    /// change.
    pub fn weights(&self) -> Result<Weights, FieldErrors> {
        const FIELD: &str = "spec.weights";
        if !self.weights.is_empty() && !self.policy.uses_weights() {
            return Err(FieldError::new(
                FIELD,
                format_args!(
                    "weights count with policy DPF, DPack and Blend, and policy is {}: leave them out",
                    self.policy.as_str()
                ),
            )
            .into());
        }
        if self.weights.len() > MOST_WEIGHTS {
            return Err(FieldError::new(
                FIELD,
                format_args!("are {}: at most {MOST_WEIGHTS} are accepted", self.weights.len()),
            )
            .into());
        }
        let mut errors = Vec::new();
        let mut weights = BTreeMap::new();
        for (at, own) in self.weights.iter().enumerate() {
            if !is_label_name(&own.namespace) {
                errors.push(FieldError::new(
                    format!("{FIELD}[{at}].namespace"),
                    format_args!(
                        "{:?} is not the name of a namespace: write at most 63 lower-case letters, digits and '-', \
                         like team-a",
                        own.namespace
                    ),
                ));
            }
            let weight = Weight::new(own.weight).filter(|weight| weight.get() <= MOST_WEIGHT);
            if weight.is_none() {
                errors.push(FieldError::new(
                    format!("{FIELD}[{at}].weight"),
                    format_args!(
                        "{} is out of range: write an integer between 1 and {MOST_WEIGHT}",
                        own.weight
                    ),
                ));
            }
            if weights
                .insert(own.namespace.clone(), weight.unwrap_or_default())
                .is_some()
            {
                errors.push(FieldError::new(
                    format!("{FIELD}[{at}].namespace"),
                    format_args!("{:?} is given twice: write each namespace once", own.namespace),
                ));
            }
        }
        FieldErrors::unless_empty(errors, Some(Weights(weights)))
    }
}
