//! The webhook that writes into claim objects who made them, and what writes the same into pods.

use std::collections::BTreeMap;

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, jsonptr::PointerBuf};
use privatekube_api::{ANNOTATION_REQUESTED_BY, requested_by};
use serde::Deserialize;
use serde_json::json;

use super::{Admission, AdmissionRequest, Answer, UserInfo, parse_object};

/// The fields of an object that the webhook reads.
#[derive(Debug, Deserialize)]
struct Annotated {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
}

/// Reviews a claim object: a new one gets the user who makes it, and an update leaves what is there.
pub(super) async fn review(admission: &Admission, request: &AdmissionRequest) -> Answer {
    // The claim object of a pod shows a request of whoever made the pod.
    if request.user_info.username.as_deref() == Some(&*admission.user) {
        return Answer::Allow;
    }
    let Some(object) = &request.object else {
        return Answer::Deny("the request has no object".to_owned());
    };
    let object: Annotated = match parse_object(object).await {
        Ok(object) => object,
        Err(error) => return Answer::Deny(format!("the object is not understood: {error}")),
    };
    let wanted = match &request.old_object {
        None => user(&request.user_info),
        Some(before) => match parse_object::<Annotated>(before).await {
            Ok(before) => before
                .metadata
                .annotations
                .and_then(|mut annotations| annotations.remove(ANNOTATION_REQUESTED_BY)),
            Err(error) => {
                return Answer::Deny(format!(
                    "the object can't be read as it was before the update: {error}"
                ));
            }
        },
    };
    let changes = changes(object.metadata.annotations.as_ref(), wanted);
    if changes.is_empty() {
        Answer::Allow
    } else {
        Answer::Change(Patch(changes))
    }
}

/// The user whom the annotation names; `None` if the API server told of none.
pub(super) fn user(info: &UserInfo) -> Option<String> {
    let user = info.username.as_deref().filter(|user| !user.is_empty());
    user.map(requested_by)
}

/// What has the annotation say `wanted`, and nothing else, in an object with these annotations.
pub(super) fn changes(
    annotations: Option<&BTreeMap<String, String>>,
    wanted: Option<String>,
) -> Vec<PatchOperation> {
    let is = annotations.and_then(|annotations| annotations.get(ANNOTATION_REQUESTED_BY));
    if is == wanted.as_ref() {
        return Vec::new();
    }
    let list = PointerBuf::from_tokens(["metadata", "annotations"]);
    let path = PointerBuf::from_tokens(["metadata", "annotations", ANNOTATION_REQUESTED_BY]);
    let Some(user) = wanted else {
        return vec![PatchOperation::Remove(RemoveOperation { path })];
    };
    let create = annotations.is_none().then(|| {
        PatchOperation::Add(AddOperation {
            path: list,
            value: json!({}),
        })
    });
    let add = PatchOperation::Add(AddOperation {
        path,
        value: json!(user),
    });
    create.into_iter().chain([add]).collect()
}
