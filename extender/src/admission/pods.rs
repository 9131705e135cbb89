//! Pods at their creation: what their annotations ask is checked, and they get what makes them wait for it.

use std::collections::BTreeMap;

use json_patch::diff;
use k8s_openapi::{
    api::core::v1::{
        Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSchedulingGate, ResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::core::{DynamicObject, admission::AdmissionRequest};
use privatekube_api::{ANNOTATION_GRANT, ENV_GRANT, GATE, LABEL_MANAGED, PodRequest, RESOURCE, pod_request};

use super::{Admission, Answer, object, resources::check_request};

/// The scheduler of pods that name none.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

pub(super) async fn review(admission: &Admission, request: &AdmissionRequest<DynamicObject>) -> Answer {
    let pod: Pod = match object(request) {
        Ok(pod) => pod,
        Err(answer) => return answer,
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let empty = BTreeMap::new();
    match pod_request(pod.metadata.annotations.as_ref().unwrap_or(&empty), namespace) {
        Err(errors) => return Answer::Deny(errors.to_string()),
        Ok(None) => return Answer::Allow,
        // Claims that are not there yet are waited for, as a pod waits for a volume claim.
        Ok(Some(PodRequest::Claims(_))) => {}
        Ok(Some(PodRequest::Inline(asked))) => {
            if let Err(why) = check_request(&admission.registry, &asked, "annotation privatekube.dev").await {
                return Answer::Deny(why);
            }
        }
    }
    match managed(&pod, &admission.schedulers) {
        Err(why) => Answer::Deny(why),
        // The difference between two pods as we write them: what we know nothing of is not touched.
        Ok(changed) => match (serde_json::to_value(&pod), serde_json::to_value(&changed)) {
            (Ok(before), Ok(after)) => Answer::Change(diff(&before, &after)),
            (Err(error), _) | (_, Err(error)) => Answer::Deny(error.to_string()),
        },
    }
}

/// The pod with all that makes it wait: the resource, the gate, the label and the grant's variable.
fn managed(pod: &Pod, schedulers: &[String]) -> Result<Pod, String> {
    let mut pod = pod.clone();
    let Some(spec) = pod.spec.as_mut() else {
        return Err("the pod has no spec".to_owned());
    };
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Err(format!(
            "spec.nodeName is {node:?}: a pod that asks for privacy budget is placed by the scheduler, so leave it \
             out (nodeSelector or affinity can choose nodes)"
        ));
    }
    let scheduler = spec
        .scheduler_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(DEFAULT_SCHEDULER);
    if !schedulers.iter().any(|known| known == scheduler) {
        return Err(format!(
            "spec.schedulerName is {scheduler:?}, which does not ask for privacy budget: write one of {}",
            schedulers.join(", ")
        ));
    }
    let gates = spec.scheduling_gates.get_or_insert_default();
    if !gates.iter().any(|gate| gate.name == GATE) {
        gates.push(PodSchedulingGate {
            name: GATE.to_owned(),
        });
    }
    let Some(first) = spec.containers.first_mut() else {
        return Err("the pod has no container".to_owned());
    };
    let resources = first.resources.get_or_insert_with(ResourceRequirements::default);
    for list in [&mut resources.requests, &mut resources.limits] {
        list.get_or_insert_default()
            .insert(RESOURCE.to_owned(), Quantity("1".to_owned()));
    }
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        offer_grant(container);
    }
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(LABEL_MANAGED.to_owned(), "true".to_owned());
    Ok(pod)
}

/// The container reads its grant from the environment, unless it has a variable of that name.
fn offer_grant(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == ENV_GRANT) {
        return;
    }
    variables.push(EnvVar {
        name: ENV_GRANT.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: format!("metadata.annotations['{ANNOTATION_GRANT}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "train"}, "spec": spec})).unwrap()
    }

    fn schedulers() -> Vec<String> {
        vec![DEFAULT_SCHEDULER.to_owned()]
    }

    #[test]
    fn a_pod_gets_all_that_makes_it_wait() {
        let pod = pod(&json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}],
            "initContainers": [{"name": "i", "env": [{"name": ENV_GRANT, "value": "mine"}]}],
        }));
        let managed = serde_json::to_value(managed(&pod, &schedulers()).unwrap()).unwrap();
        assert_eq!(managed["metadata"]["labels"][LABEL_MANAGED], "true");
        assert_eq!(managed["spec"]["schedulingGates"], json!([{"name": GATE}]));
        let resources = &managed["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], json!({"cpu": "1", RESOURCE: "1"}));
        assert_eq!(resources["limits"], json!({RESOURCE: "1"}));
        let path = format!("metadata.annotations['{ANNOTATION_GRANT}']");
        for container in [0, 1] {
            let variable = &managed["spec"]["containers"][container]["env"][0];
            assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], path);
        }
        assert_eq!(
            managed["spec"]["initContainers"][0]["env"],
            json!([{"name": ENV_GRANT, "value": "mine"}])
        );
    }

    #[test]
    fn a_pod_that_is_managed_already_is_not_changed_again() {
        let once = managed(&pod(&json!({"containers": [{"name": "a"}]})), &schedulers()).unwrap();
        assert_eq!(managed(&once, &schedulers()).unwrap(), once);
    }

    #[test]
    fn a_preset_node_and_a_scheduler_without_the_extender_are_refused() {
        let placed = managed(
            &pod(&json!({"containers": [{"name": "a"}], "nodeName": "n"})),
            &schedulers(),
        );
        assert!(placed.unwrap_err().contains("spec.nodeName is \"n\""));
        let other = managed(
            &pod(&json!({"containers": [{"name": "a"}], "schedulerName": "other"})),
            &schedulers(),
        );
        assert!(other.unwrap_err().contains("write one of default-scheduler"));
    }
}
