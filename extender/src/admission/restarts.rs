//! Restarts: a container that starts again draws its noise again, and only the first time is charged. So a pod that requests
//! budget doesn't start one again, unless its author states that this is free and the dataset accepts such pods.

use std::collections::BTreeSet;

use kube::Api;
use privatekube_api::{
    ANNOTATION_RESTARTS, ContainerRestarts, DatasetKey, PodRequest, PrivacyBudgetClaim, PrivateDataset,
    Restarts,
};

use super::{pods::Spec, refusal::Refusal};
use crate::registry::Registry;

/// Names the first field by which a container of a pod may start again, with its value; none if there is no such field.
pub(super) fn restarting_field(spec: &Spec) -> Option<String> {
    let lists = [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ];
    let containers = lists.into_iter().flat_map(|(list, containers)| {
        let containers = containers.iter().flatten().enumerate();
        containers.map(move |(at, container)| ContainerRestarts {
            path: format!("spec.{list}[{at}]"),
            policy: container.restart_policy.as_deref(),
            has_rules: container
                .restart_policy_rules
                .as_ref()
                .is_some_and(|rules| !rules.is_empty()),
        })
    });
    privatekube_api::restarting_field(spec.restart_policy.as_deref(), containers)
}

/// Refuses a pod if a dataset that a pod requests budget of forbids pods whose containers may start again. `field`
/// says why they may.
pub(super) async fn check_datasets(
    registry: &Registry,
    request: &PodRequest,
    namespace: &str,
    field: &str,
) -> Result<(), Refusal> {
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
                    .map_err(|error| Refusal::unreadable(format_args!("claim {name:?}"), &error))?;
                let Some(claim) = claim else {
                    return Err(format!(
                        "{field}, and claim {name:?} doesn't exist yet, so that it is not known whether its dataset \
                         accepts this: create the claim first, or write spec.restartPolicy: Never"
                    )
                    .into());
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
            .map_err(|error| Refusal::unreadable(format_args!("dataset {key}"), &error))?;
        if object.is_some_and(|object| object.spec.restarts == Restarts::Forbidden) {
            return Err(format!(
                "{field}, and dataset {key} accepts no pod whose containers may start again (its spec.restarts is \
                 Forbidden), whatever {ANNOTATION_RESTARTS} says: write spec.restartPolicy: Never and no restartPolicy \
                 and restartPolicyRules of containers"
            )
            .into());
        }
    }
    Ok(())
}
