//! Restarts: a container that starts again draws its noise again, and only the first time is charged.

use crate::{ANNOTATION_RESTARTS, excerpt};

/// The restart policy of pods that state none.
const DEFAULT_POLICY: &str = "Always";
/// The only restart policy with which nothing starts again.
const NEVER: &str = "Never";
/// The most bytes of a value that a message quotes.
const MOST_VALUE: usize = 60;

/// What a container says of its restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRestarts<'a> {
    /// Its path: `spec.containers[0]`.
    pub path: String,
    /// Its own `restartPolicy`, if it has one.
    pub policy: Option<&'a str>,
    /// Whether it has `restartPolicyRules`.
    pub has_rules: bool,
}

/// Names the first field by which a container of a pod may start again, with its value; none if there is no such field. Every
/// container counts, since each can read the grant. `policy` is the pod's `spec.restartPolicy`.
pub fn restarting_field<'a>(
    policy: Option<&str>,
    containers: impl IntoIterator<Item = ContainerRestarts<'a>>,
) -> Option<String> {
    let policy = policy.unwrap_or(DEFAULT_POLICY);
    if policy != NEVER {
        let default = if policy == DEFAULT_POLICY {
            ", the default"
        } else {
            ""
        };
        let policy = excerpt(policy, MOST_VALUE);
        return Some(format!("spec.restartPolicy is {policy:?}{default}"));
    }
    containers.into_iter().find_map(|container| {
        let path = &container.path;
        match container.policy {
            Some(policy) if policy != NEVER => {
                let policy = excerpt(policy, MOST_VALUE);
                Some(format!("{path}.restartPolicy is {policy:?}"))
            }
            _ => container
                .has_rules
                .then(|| format!("{path}.restartPolicyRules is set")),
        }
    })
}

/// The error message for a pod that may start containers again, by this field, and doesn't state that this is free.
#[must_use]
pub fn restarts_not_stated(field: &str) -> String {
    format!(
        "{field}: a container that starts again could draw its noise again, and only the first time is paid for: write \
         spec.restartPolicy: Never and no restartPolicy and restartPolicyRules of containers, or state by the annotation \
         {ANNOTATION_RESTARTS}: free that a restart spends nothing new"
    )
}
