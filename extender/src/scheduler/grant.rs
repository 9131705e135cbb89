//! What a pod is told with its Binding: the budgets that it was granted, and what was requested.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use privatekube_api::{
    GrantAnnotations, GrantTooLarge, PrivacyBudgetClaim, RequestedBudget, SubjectKind, claim_spec, counted,
    own_annotation_bytes,
};
use privatekube_kubernetes::plain;
use privatekube_policy::ClaimId;
use privatekube_view::{ClaimView, View};

/// What claims requested, as far as that is to be told.
pub(super) type RequestedBudgets = BTreeMap<ClaimId, RequestedBudget>;

/// Reads what the `claims` of a pod requested: from its own annotations, or from the claim objects that it names. The view
/// doesn't keep it.
pub(super) async fn requested_budgets(
    client: &Client,
    pod: &Pod,
    claims: &[Arc<ClaimView>],
) -> Result<RequestedBudgets, String> {
    let mut budgets = BTreeMap::new();
    for claim in claims {
        let Some(subject) = claim.subject() else {
            continue;
        };
        let spec = match subject.kind {
            SubjectKind::Pod => pod.metadata.annotations.as_ref().and_then(claim_spec),
            SubjectKind::Claim => {
                let api: Api<PrivacyBudgetClaim> = Api::namespaced(client.clone(), &subject.namespace);
                let object = api.get_opt(&subject.name).await.map_err(|error| plain(&error))?;
                let object = object.filter(|object| object.metadata.uid.as_deref() == Some(&subject.uid));
                object.map(|object| object.spec)
            }
        };
        if let Some(budget) = spec.and_then(|spec| spec.requested_budget()) {
            budgets.insert(claim.id.clone(), budget);
        }
    }
    Ok(budgets)
}

/// The annotations with which a pod is bound, or why they don't fit beside those that it has.
pub(super) fn annotations(
    pod: &Pod,
    claims: &[Arc<ClaimView>],
    requested: &RequestedBudgets,
    view: &View,
) -> Result<GrantAnnotations, GrantTooLarge> {
    let grants = claims.iter().filter_map(|claim| {
        let mut grant = claim.grant()?;
        grant.claim.requested = requested.get(&claim.id).cloned();
        grant.claim.privacy_unit = view
            .dataset(&claim.dataset)
            .and_then(|dataset| dataset.privacy_unit);
        Some(grant)
    });
    let own = own_annotation_bytes(pod.metadata.annotations.iter().flatten());
    GrantAnnotations::of(grants.collect(), own)
}

/// Checks that the objects to which a grant refers list the blocks: their statuses are written a moment after the decision.
/// What is wrong may be right when the pod is tried again.
pub(super) async fn check_references(client: &Client, annotations: &GrantAnnotations) -> Result<(), String> {
    for (from, count) in &annotations.references {
        let api: Api<PrivacyBudgetClaim> = Api::namespaced(client.clone(), &from.namespace);
        let object = api.get_opt(&from.name).await.map_err(|error| plain(&error))?;
        let listed = object.and_then(|object| Some(object.status?.blocks.len()));
        if listed.and_then(|listed| u64::try_from(listed).ok()) != Some(*count) {
            return Err(format!(
                "the status of claim {}/{} doesn't list its {} yet, where the pod will read them: it is tried again",
                from.namespace,
                from.name,
                counted(*count, "block", "blocks")
            ));
        }
    }
    Ok(())
}
