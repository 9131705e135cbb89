//! Who asked for a claim, from its pod or claim object: for the ledger's entry in which the claim arrives.

use privatekube_api::{
    ANNOTATION_PURPOSE, ANNOTATION_REQUESTED_BY, BudgetRequest, ClaimRequest, DemandRequest, ManagedPod,
    PrivacyBudgetClaim, Subject,
};
use privatekube_ledger::Requester;

/// Who asked for a pod's own claim.
pub(super) fn of_pod(pod: &ManagedPod, subject: &Subject) -> Requester {
    let annotation = |name: &str| pod.annotations.get(name).map(|value| value.trim().to_owned());
    let runs = pod.runs.as_deref();
    let owner = pod.controller.as_ref();
    let request = pod.request.as_ref().and_then(|request| request.as_ref().ok());
    Requester {
        claim: subject.id(),
        user: annotation(ANNOTATION_REQUESTED_BY),
        service_account: runs.and_then(|runs| runs.service_account.clone()),
        owner: owner.and_then(|owner| Some(format!("{}/{}", owner.kind.as_ref()?, owner.name.as_ref()?))),
        images: runs.map_or_else(Vec::new, |runs| runs.images.clone()),
        mechanism: request.and_then(|request| mechanism(request)),
        purpose: annotation(ANNOTATION_PURPOSE),
    }
}

/// Who asked for the claim that a user's object requests.
pub(super) fn of_claim(object: &PrivacyBudgetClaim, subject: &Subject, request: &ClaimRequest) -> Requester {
    let annotations = object.metadata.annotations.as_ref();
    Requester {
        user: annotations.and_then(|all| all.get(ANNOTATION_REQUESTED_BY).cloned()),
        mechanism: mechanism(request),
        purpose: object.spec.purpose.clone(),
        ..Requester::unknown(subject.id())
    }
}

/// What is asked for on each block, if it is the same on each. Amounts are in the entry in any case.
fn mechanism(request: &ClaimRequest) -> Option<String> {
    match &request.demand {
        DemandRequest::Selected { budget, .. } => BudgetRequest::mechanism_text(budget),
        DemandRequest::PerBlock(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{claim_object, epsilon, pod_object};

    #[test]
    fn of_a_pod_it_is_told_who_made_it_as_what_it_runs_and_what_for() {
        let mut pod = pod_object("train");
        let annotations = &mut pod["metadata"]["annotations"];
        annotations["privatekube.dev/requested-by"] =
            json!("system:serviceaccount:kube-system:job-controller");
        annotations["privatekube.dev/purpose"] = json!(" a report ");
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "batch/v1", "kind": "Job", "name": "weekly", "uid": "1", "controller": true},
        ]);
        pod["spec"]["serviceAccountName"] = json!("trainer");
        let pod = ManagedPod::read(&serde_json::from_value(pod).unwrap(), None);
        let (subject, _) = pod.own().unwrap();
        let requester = of_pod(&pod, subject);
        let expected = json!({
            "claim": "pod/data/train/train",
            "user": "system:serviceaccount:kube-system:job-controller",
            "serviceAccount": "trainer",
            "owner": "Job/weekly",
            "images": ["train:1"],
            "mechanism": "guarantee(epsilon=1,delta=0)",
            "purpose": "a report",
        });
        assert_eq!(serde_json::to_value(requester).unwrap(), expected);
    }

    #[test]
    fn of_a_claim_object_it_is_told_who_made_it_and_what_for() {
        let spec = json!({"budget": {"mechanism": "gaussian(sigma=20)"}, "purpose": "a report"});
        let mut object = claim_object("weekly", &spec);
        object.metadata.annotations = Some([(ANNOTATION_REQUESTED_BY.to_owned(), "alice".to_owned())].into());
        let told = |object: &PrivacyBudgetClaim| {
            let subject = Subject::of_object(object).unwrap();
            serde_json::to_value(of_claim(object, &subject, &object.request().unwrap())).unwrap()
        };
        let expected = json!({
            "claim": "claim/data/weekly/weekly", "user": "alice", "mechanism": "gaussian(sigma=20)",
            "purpose": "a report",
        });
        assert_eq!(told(&object), expected);
        let bare = claim_object("bare", &json!({"perBlock": {"a": epsilon("1")}}));
        assert_eq!(told(&bare), json!({"claim": "claim/data/bare/bare"}));
    }
}
