//! Claimants: which namespaces may claim on a dataset, and up to which priority.
//!
//! [`ClaimantsSpec`] is what a dataset's owner writes, [`Claimants`] what it means. They are none of the
//! dataset's rules: they may change, and hold for claims that arrive later.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ClaimReason, DatasetKey, FieldError, FieldErrors, PrivateDatasetSpec,
    names::{is_label_key, is_label_name, is_label_value},
    request::{check_priority, keep},
};

const FIELD: &str = "spec.claimants";
/// The most namespaces that a dataset may list.
const MOST_NAMESPACES: usize = 1000;
/// The most labels, requirements and values of a selector.
const MOST_LABELS: usize = 64;

/// Which namespaces may claim on a dataset, and up to which priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.from == 'Selected' || (!has(self.namespaces) && !has(self.namespaceSelector))").message(
        "namespaces and namespaceSelector go with from: Selected").field_path(".from"),
    validation = Rule::new("self.from != 'Selected' || has(self.namespaces) || has(self.namespaceSelector)").message(
        "Selected needs namespaces, namespaceSelector, or both").field_path(".from"),
)]
pub struct ClaimantsSpec {
    /// Whose claims are accepted. Same: those of the dataset's own namespace. All: those of every namespace.
    /// Selected: those of the namespaces that namespaces lists or namespaceSelector selects; the dataset's
    /// own only if it is among them.
    #[serde(default)]
    pub from: ClaimantsFrom,
    /// At most 1000 namespaces whose claims are accepted. With from: Selected only. Example: [research,
    /// reports].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message(
        "write names of namespaces: each at most 63 lower-case letters, digits and '-', like research"))]
    pub namespaces: Vec<String>,
    /// Selects namespaces by their labels when a claim arrives; their claims are accepted. With from: Selected
    /// only. Example: {matchLabels: {privacy: approved}}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NamespaceSelector")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// The highest priority that a claim may have; between -1000 and 1000. Example: 10.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub max_priority: i32,
}

/// Whose claims a dataset accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimantsFrom {
    /// Those of the dataset's own namespace.
    #[default]
    Same,
    /// Those of every namespace.
    All,
    /// Those of the namespaces that are listed or selected.
    Selected,
}

/// A selector of namespaces by their labels. All of its requirements have to hold. At least one is needed: to
/// select every namespace, write from: All.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.matchLabels) || has(self.matchExpressions)").message(
    "selects nothing: give matchLabels, matchExpressions, or both (to accept every namespace, write from: All)"))]
pub struct NamespaceSelector {
    /// Labels that a namespace has to have, each with its value. Example: {privacy: approved}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = MOST_LABELS))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that a namespace's labels have to meet. Example: [{key: team, operator: In, values:
    /// [research, reports]}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = MOST_LABELS))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement on one label of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(self.operator in ['In', 'NotIn']) == has(self.values)").message(
        "values go with the operators In and NotIn, which need some").field_path(".values"),
)]
pub struct LabelRequirement {
    /// The label's key. Example: team.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In: the label has one of the values. NotIn: it has none of them, or is absent. Exists: the label is
    /// there. DoesNotExist: it is absent.
    pub operator: LabelOperator,
    /// Values of the label. With the operators In and NotIn only. Example: [research, reports].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = MOST_LABELS), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// What is required of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

/// The claimants of a dataset, valid. The default is that of a dataset which says nothing: its own namespace,
/// priority 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimants {
    from: Namespaces,
    max_priority: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Namespaces {
    #[default]
    Same,
    All,
    Selected {
        listed: BTreeSet<String>,
        selector: Option<NamespaceSelector>,
    },
}

/// Why a claim is not accepted on a dataset.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// The dataset is not open to the claim's namespace. The words are the same if there is no such dataset, so
    /// that nobody learns which datasets exist by claiming on them.
    #[error(
        "dataset {dataset} isn't open to namespace {namespace}, or doesn't exist: ask its owner to add the namespace to \
         spec.claimants, and create this again after that"
    )]
    NotAllowed {
        /// The dataset.
        dataset: DatasetKey,
        /// The claim's namespace.
        namespace: String,
    },
    /// The claim's priority is above the dataset's limit.
    #[error(
        "priority {priority} is above {most}, the highest that dataset {dataset} accepts (spec.claimants.maxPriority): \
         create this again with a lower one"
    )]
    PriorityTooHigh {
        /// The dataset.
        dataset: DatasetKey,
        /// The claim's priority.
        priority: i32,
        /// The highest that is accepted.
        most: i32,
    },
}

impl ClaimRefusal {
    /// Returns the reason that the claim's status gives.
    #[must_use]
    pub const fn reason(&self) -> ClaimReason {
        match self {
            Self::NotAllowed { .. } => ClaimReason::NotAllowed,
            Self::PriorityTooHigh { .. } => ClaimReason::PriorityTooHigh,
        }
    }
}

impl Claimants {
    /// Whether the labels of `namespace` decide about a claim from there.
    #[must_use]
    pub fn depend_on_labels(&self, namespace: &str) -> bool {
        match &self.from {
            Namespaces::Same | Namespaces::All => false,
            Namespaces::Selected { listed, selector } => selector.is_some() && !listed.contains(namespace),
        }
    }

    /// Checks that a claim of `priority` in `namespace` is accepted on `dataset`. `labels` are the namespace's,
    /// empty where they decide nothing; `None` if there is no such namespace, which no selector selects.
    pub fn check(
        &self,
        dataset: &DatasetKey,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        priority: i32,
    ) -> Result<(), ClaimRefusal> {
        let is_open = match &self.from {
            Namespaces::Same => namespace == dataset.namespace,
            Namespaces::All => true,
            Namespaces::Selected { listed, selector } => {
                listed.contains(namespace)
                    || matches!((selector, labels), (Some(selector), Some(labels)) if selector.selects(labels))
            }
        };
        if !is_open {
            return Err(ClaimRefusal::NotAllowed {
                dataset: dataset.clone(),
                namespace: namespace.to_owned(),
            });
        }
        if priority > self.max_priority {
            return Err(ClaimRefusal::PriorityTooHigh {
                dataset: dataset.clone(),
                priority,
                most: self.max_priority,
            });
        }
        Ok(())
    }
}

impl NamespaceSelector {
    /// Whether labels meet every requirement. A selector without requirements, which is not accepted, selects
    /// nothing.
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !(self.match_labels.is_empty() && self.match_expressions.is_empty())
            && self
                .match_labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                let is_listed = value.is_some_and(|value| requirement.values.contains(value));
                match requirement.operator {
                    LabelOperator::In => is_listed,
                    LabelOperator::NotIn => !is_listed,
                    LabelOperator::Exists => value.is_some(),
                    LabelOperator::DoesNotExist => value.is_none(),
                }
            })
    }

    fn check(&self) -> Result<(), FieldErrors> {
        let mut errors = Vec::new();
        let mut error = |field: fmt::Arguments<'_>, problem: fmt::Arguments<'_>| {
            errors.push(FieldError::new(
                format!("{FIELD}.namespaceSelector{field}"),
                problem,
            ));
        };
        if self.match_labels.is_empty() && self.match_expressions.is_empty() {
            error(
                format_args!(""),
                format_args!(
                    "selects nothing: give matchLabels, matchExpressions, or both (to accept every namespace, write \
                     from: All)"
                ),
            );
        }
        for (field, count) in [
            ("matchLabels", self.match_labels.len()),
            ("matchExpressions", self.match_expressions.len()),
        ] {
            if count > MOST_LABELS {
                error(
                    format_args!(".{field}"),
                    format_args!("are {count}: at most {MOST_LABELS} are accepted"),
                );
            }
        }
        for (key, value) in self.match_labels.iter().take(MOST_LABELS) {
            if !is_label_key(key) || !is_label_value(value) {
                error(
                    format_args!(".matchLabels"),
                    format_args!(
                        "{key:?}: {value:?} is not a label: write a key and a value, like privacy: approved"
                    ),
                );
            }
        }
        for (at, requirement) in self.match_expressions.iter().enumerate().take(MOST_LABELS) {
            if !is_label_key(&requirement.key) {
                error(
                    format_args!(".matchExpressions[{at}].key"),
                    format_args!(
                        "{:?} is not the key of a label: write one like team",
                        requirement.key
                    ),
                );
            }
            let values = &requirement.values;
            let needs_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
            if needs_values == values.is_empty() {
                error(
                    format_args!(".matchExpressions[{at}].values"),
                    format_args!("values go with the operators In and NotIn, which need some"),
                );
            }
            if values.len() > MOST_LABELS {
                error(
                    format_args!(".matchExpressions[{at}].values"),
                    format_args!("are {}: at most {MOST_LABELS} are accepted", values.len()),
                );
            }
            for value in values
                .iter()
                .take(MOST_LABELS)
                .filter(|value| !is_label_value(value))
            {
                error(
                    format_args!(".matchExpressions[{at}].values"),
                    format_args!(
                        "{value:?} is not the value of a label: write at most 63 letters, digits, '-', '_' and '.', like \
                         research"
                    ),
                );
            }
        }
        FieldErrors::unless_empty(errors, Some(()))
    }
}

impl PrivateDatasetSpec {
    /// Returns the claimants of claims that arrive from now on. They are none of the dataset's rules: they may
    /// change.
    pub fn claimants(&self) -> Result<Claimants, FieldErrors> {
        let Some(spec) = &self.claimants else {
            return Ok(Claimants::default());
        };
        let mut errors = Vec::new();
        let max_priority = check_priority("spec.claimants.maxPriority", spec.max_priority);
        let max_priority = keep(max_priority, &mut errors);
        let from = keep(spec.namespaces(), &mut errors);
        let claimants = from
            .zip(max_priority)
            .map(|(from, max_priority)| Claimants { from, max_priority });
        FieldErrors::unless_empty(errors, claimants)
    }
}

impl ClaimantsSpec {
    fn namespaces(&self) -> Result<Namespaces, FieldErrors> {
        let names_some = !self.namespaces.is_empty() || self.namespace_selector.is_some();
        let problem = match self.from {
            ClaimantsFrom::Same | ClaimantsFrom::All if names_some => {
                "namespaces and namespaceSelector go with from: Selected"
            }
            ClaimantsFrom::Same => return Ok(Namespaces::Same),
            ClaimantsFrom::All => return Ok(Namespaces::All),
            ClaimantsFrom::Selected if !names_some => "Selected needs namespaces, namespaceSelector, or both",
            ClaimantsFrom::Selected => {
                let mut errors = Vec::new();
                let listed = keep(listed(&self.namespaces), &mut errors);
                let checked = self.namespace_selector.as_ref().map(NamespaceSelector::check);
                keep(checked.transpose(), &mut errors);
                let selected = listed.map(|listed| Namespaces::Selected {
                    listed,
                    selector: self.namespace_selector.clone(),
                });
                return FieldErrors::unless_empty(errors, selected);
            }
        };
        Err(FieldError::new("spec.claimants.from", problem).into())
    }
}

fn listed(names: &[String]) -> Result<BTreeSet<String>, FieldErrors> {
    if names.len() > MOST_NAMESPACES {
        return Err(FieldError::new(
            "spec.claimants.namespaces",
            format_args!("are {}: at most {MOST_NAMESPACES} are accepted", names.len()),
        )
        .into());
    }
    let wrong = names.iter().enumerate().filter(|(_, name)| !is_label_name(name));
    let errors = wrong.map(|(at, name)| {
        FieldError::new(
            format!("spec.claimants.namespaces[{at}]"),
            format_args!(
                "{name:?} is not the name of a namespace: write at most 63 lower-case letters, digits and '-', like \
                 research"
            ),
        )
    });
    FieldErrors::unless_empty(errors.collect(), Some(names.iter().cloned().collect()))
}
