//! Restarts: a container that starts again draws its noise again, and only the first time is charged. So a pod that requests
//! budget doesn't start one again, unless its author states that this is free and the dataset accepts such pods.

use std::collections::BTreeSet;

use kube::Api;
use privatekube_api::{
    ANNOTATION_RESTARTS, DatasetKey, PodRequest, PrivacyBudgetClaim, PrivateDataset, Restarts, excerpt,
};

use super::pods::{Container, Spec};
use crate::registry::Registry;

/// The restart policy of pods that state none.
const DEFAULT_POLICY: &str = "Always";
/// The only restart policy with which nothing starts again.
const NEVER: &str = "Never";
/// The most bytes of a value that a message quotes.
const MOST_VALUE: usize = 60;

/// Names the first field by which a container of a pod may start again, with its value; none if there is no such field. Every
/// container counts, since each can read the grant.
pub(super) fn restarting_field(spec: &Spec) -> Option<String> {
    let policy = spec.restart_policy.as_deref().unwrap_or(DEFAULT_POLICY);
    if policy != NEVER {
        let default = if policy == DEFAULT_POLICY {
            ", the default"
        } else {
            ""
        };
        let policy = excerpt(policy, MOST_VALUE);
        return Some(format!("spec.restartPolicy is {policy:?}{default}"));
    }
    let lists = [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ];
    lists.into_iter().find_map(|(list, containers)| {
        let mut containers = containers.iter().flatten().enumerate();
        containers.find_map(|(at, container)| {
            container_field(container).map(|field| format!("spec.{list}[{at}].{field}"))
        })
    })
}

fn container_field(container: &Container) -> Option<String> {
    let policy = container.restart_policy.as_deref().unwrap_or(NEVER);
    if policy != NEVER {
        let policy = excerpt(policy, MOST_VALUE);
        return Some(format!("restartPolicy is {policy:?}"));
    }
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    (!rules.is_empty()).then(|| "restartPolicyRules is set".to_owned())
}

/// The error message for a pod that may start containers again and doesn't state that this is free.
pub(super) fn not_stated(field: &str) -> String {
    format!(
        "{field}: a container that starts again could draw its noise again, and only the first time is paid for: write \
         spec.restartPolicy: Never and no restartPolicy and restartPolicyRules of containers, or state by the annotation \
         {ANNOTATION_RESTARTS}: free that a restart spends nothing new"
    )
}

/// Returns an error message if a dataset that a pod requests budget of forbids pods whose containers may start again. `field`
/// says why they may.
pub(super) async fn check_datasets(
    registry: &Registry,
    request: &PodRequest,
    namespace: &str,
    field: &str,
) -> Result<(), String> {
    let client = &registry.handles().client;
    let keys = match request {
        PodRequest::Inline(own) => [own.dataset.clone()].into(),
        PodRequest::Claims(names) => {
            let api: Api<PrivacyBudgetClaim> = Api::namespaced(client.clone(), namespace);
            let mut keys = BTreeSet::new();
            for name in names {
                let claim = api
                    .get_opt(name)
                    .await
                    .map_err(|error| format!("claim {name:?} can't be read: {error}"))?;
                let Some(claim) = claim else {
                    return Err(format!(
                        "{field}, and claim {name:?} doesn't exist yet, so that it is not known whether its dataset \
                         accepts this: create the claim first, or write spec.restartPolicy: Never"
                    ));
                };
                // Admission refuses a claim whose dataset isn't a name.
                keys.extend(DatasetKey::parse(&claim.spec.dataset, namespace).ok());
            }
            keys
        }
    };
    for key in keys {
        let api: Api<PrivateDataset> = Api::namespaced(client.clone(), &key.namespace);
        let object = api
            .get_opt(&key.name)
            .await
            .map_err(|error| format!("dataset {key} can't be read: {error}"))?;
        if object.is_some_and(|object| object.spec.restarts == Restarts::Forbidden) {
            return Err(format!(
                "{field}, and dataset {key} accepts no pod whose containers may start again (its spec.restarts is \
                 Forbidden), whatever {ANNOTATION_RESTARTS} says: write spec.restartPolicy: Never and no restartPolicy \
                 and restartPolicyRules of containers"
            ));
        }
    }
    Ok(())
}
