//! The webhook of bindings: denies each binding of a managed pod that the extender didn't make.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use privatekube_api::{LABEL_MANAGED, is_managed};

use super::{Admission, AdmissionRequest, Answer, refusal::Refusal};

/// Reviews a binding.
pub(super) async fn review(admission: &Admission, request: &AdmissionRequest) -> Answer {
    if request.user_info.username.as_deref() == Some(&*admission.user) {
        return Answer::Allow;
    }
    if request.name.is_empty() {
        return Answer::Deny("the binding names no pod".to_owned());
    }
    let handles = admission.registry.handles();
    let namespace = request.namespace.as_deref().unwrap_or_default();
    // The pod is read from the API server, because the watch may not have delivered a new pod yet.
    let api: Api<Pod> = Api::namespaced(handles.client.clone(), namespace);
    match api.get_opt(&request.name).await {
        Err(error) => Refusal::unreadable("the pod", &error).into(),
        // The API server itself refuses the binding of a pod that doesn't exist.
        Ok(None) => Answer::Allow,
        Ok(Some(pod)) => {
            let labelled = pod
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(LABEL_MANAGED));
            if labelled || pod.metadata.annotations.as_ref().is_some_and(is_managed) {
                Answer::Deny(format!(
                    "pod {namespace}/{} asks for privacy budget, so only the extender binds it, when the budget is \
                     granted and spent",
                    request.name
                ))
            } else {
                Answer::Allow
            }
        }
    }
}
