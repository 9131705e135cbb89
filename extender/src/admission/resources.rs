//! Datasets, blocks and claims: what the schema can't say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use privatekube_api::{
    AmountRequest, BudgetRequest, ClaimRefusal, ClaimRequest, DatasetKey, DemandRequest, Dimensions,
    PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset, Subject, SubjectKind, check_selector, excerpt,
    is_label_name,
};
use privatekube_policy::Composition;

use super::{Admission, AdmissionRequest, Answer};
use crate::registry::Registry;

pub(super) async fn dataset(_: &Admission, request: &AdmissionRequest) -> Answer {
    let dataset: PrivateDataset = match request.object() {
        Ok(dataset) => dataset,
        Err(answer) => return answer,
    };
    let spec = &dataset.spec;
    let checked = spec.check();
    match checked.and_then(|rules| Ok((rules, spec.guarantee()?))) {
        Err(error) => Answer::Deny(error.to_string()),
        Ok((_, None)) => Answer::Allow,
        Ok((rules, Some((epsilon, delta)))) => match rules.composition.capacity(epsilon, delta) {
            Ok(capacity) if capacity.is_zero() => Answer::Deny(
                "spec.guarantee: allows nothing at any coordinate: epsilon must be larger".to_owned(),
            ),
            Ok(_) => Answer::Allow,
            Err(error) => Answer::Deny(format!("spec.guarantee: {error}")),
        },
    }
}

pub(super) async fn block(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let block: PrivateDataBlock = match request.object() {
        Ok(block) => block,
        Err(answer) => return answer,
    };
    let namespace = request.namespace.clone().unwrap_or_default();
    let key = DatasetKey {
        namespace,
        name: block.spec.dataset.clone(),
    };
    let known = match known(&admission.registry, &key).await {
        Ok(known) => known,
        Err(error) => return Answer::Deny(error),
    };
    let guarantee = known
        .object
        .as_ref()
        .and_then(|object| object.spec.guarantee().ok().flatten());
    match block.spec.capacity(&known.composition, guarantee) {
        Ok(_) => Answer::Allow,
        Err(error) => Answer::Deny(error.to_string()),
    }
}

pub(super) async fn claim(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let mut claim: PrivacyBudgetClaim = match request.object() {
        Ok(claim) => claim,
        Err(answer) => return answer,
    };
    // An object that a pod's demand is shown by was checked with the pod.
    if request.user_info.username.as_deref() == Some(&*admission.user) {
        return Answer::Allow;
    }
    claim.metadata.namespace.clone_from(&request.namespace);
    if let Some(why) = foreign_to_pod(&claim, request.old_object.is_some()) {
        return Answer::Deny(why);
    }
    let amounts = [claim.consume().map(|_| ()), claim.release().map(|_| ())];
    if let Some(errors) = amounts.into_iter().find_map(Result::err) {
        return Answer::Deny(errors.to_string());
    }
    let asked = match claim.request() {
        Ok(asked) => asked,
        Err(errors) => return Answer::Deny(errors.to_string()),
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    // First, so that nothing is said of the dataset to somebody that it isn't open to. A claim that exists was accepted,
    // and can be consumed and released whatever the claimants are now.
    if request.old_object.is_none()
        && let Err(why) = check_claimant(&admission.registry, &asked, namespace, "spec.").await
    {
        return Answer::Deny(why);
    }
    let uses = claim.spec.consume.is_some() || claim.spec.release.is_some();
    if uses || request.old_object.is_some() {
        let known = match known(&admission.registry, &asked.dataset).await {
            Ok(known) => known,
            Err(why) => return Answer::Deny(why),
        };
        if let Some(why) = too_much(&claim, &asked, &known.composition) {
            return Answer::Deny(why);
        }
        // Whatever changes on it later, what it asks does not: the schema sees to that.
        if let Some(before) = request.old_object() {
            return match before {
                Err(error) => Answer::Deny(format!("the object before is not understood: {error}")),
                Ok(before) => match taken_back(&before, &claim, &known.composition) {
                    Some(why) => Answer::Deny(why),
                    None => Answer::Allow,
                },
            };
        }
    }
    match check_request(&admission.registry, &asked, "spec").await {
        Ok(()) => Answer::Allow,
        Err(why) => Answer::Deny(why),
    }
}

/// What is consumed and released on some block, together, beyond what the claim asks of it. It could never be done,
/// and never be taken back.
fn too_much(claim: &PrivacyBudgetClaim, asked: &ClaimRequest, composition: &Composition) -> Option<String> {
    let asked_of = |block: &str| match &asked.demand {
        DemandRequest::Selected { budget, .. } => budget.demand(composition).ok(),
        DemandRequest::PerBlock(budgets) => budgets.get(block)?.demand(composition).ok(),
    };
    let mut used: BTreeMap<String, Vec<i128>> = BTreeMap::new();
    for (field, amount) in [("consume", claim.consume()), ("release", claim.release())] {
        let Ok(Some(AmountRequest::PerBlock(amounts))) = amount else {
            continue;
        };
        for (block, amount) in amounts {
            let field = format!("spec.{field}.perBlock[{block}]");
            let Some(asked) = asked_of(&block) else {
                return Some(format!("{field}: the claim asks nothing of it"));
            };
            let amount = match amount.demand(composition) {
                Ok(amount) => amount,
                Err(error) => return Some(format!("{field}: {error}")),
            };
            let sums = used.entry(block).or_insert_with(|| vec![0; asked.units().len()]);
            for (sum, units) in sums.iter_mut().zip(amount.units()) {
                *sum += i128::from(*units);
            }
            if sums
                .iter()
                .zip(asked.units())
                .any(|(sum, asked)| *sum > i128::from(*asked))
            {
                return Some(format!(
                    "{field}: is more than the claim asks of the block, what is consumed and released together"
                ));
            }
        }
    }
    None
}

/// What is less than it was of what was consumed and released on some block. (That none is missing, the schema sees to.)
fn taken_back(
    before: &PrivacyBudgetClaim,
    after: &PrivacyBudgetClaim,
    composition: &Composition,
) -> Option<String> {
    let uses = [
        ("consume", before.consume(), after.consume()),
        ("release", before.release(), after.release()),
    ];
    for (field, before, after) in uses {
        // Of everything, everything is the least.
        let (Ok(Some(AmountRequest::PerBlock(before))), Ok(Some(AmountRequest::PerBlock(after)))) =
            (before, after)
        else {
            continue;
        };
        for (block, after) in &after {
            let Some(before) = before.get(block).filter(|before| *before != after) else {
                continue;
            };
            let field = format!("spec.{field}.perBlock[{block}]");
            match (before.demand(composition), after.demand(composition)) {
                (_, Err(error)) => return Some(format!("{field}: {error}")),
                (Ok(before), Ok(after)) => {
                    let mut units = before.units().iter().zip(after.units());
                    if units.any(|(before, after)| after < before) {
                        return Some(format!(
                            "{field}: is less than before: it is so much in all so far, and can't be taken back"
                        ));
                    }
                }
                (Err(_), Ok(_)) => {}
            }
        }
    }
    None
}

/// Why somebody else than the extender may not write the object of a pod's own claim like that.
fn foreign_to_pod(claim: &PrivacyBudgetClaim, exists: bool) -> Option<String> {
    let pod = Subject::of_object(claim).filter(|subject| subject.kind == SubjectKind::Pod)?;
    if !exists {
        return Some(format!(
            "metadata.ownerReferences: the claim of pod {} is made by the extender: give yours another name",
            pod.name
        ));
    }
    claim.spec.consume.as_ref().map(|_| {
        format!(
            "spec.consume: the claim is that of pod {}, which spends it when it starts: leave this out (release gives \
             it back before that)",
            pod.name
        )
    })
}

/// What is known of a dataset when somebody asks for it.
struct Known {
    composition: Composition,
    object: Option<PrivateDataset>,
}

/// What is known of a dataset: from its ledger, else from its object, else the defaults.
async fn known(registry: &Registry, key: &DatasetKey) -> Result<Known, String> {
    // A block's comes as it was written, and becomes a part of a path.
    if !is_label_name(&key.name) {
        let name = excerpt(&key.name, 253);
        return Err(format!("spec.dataset: {name:?} is not the name of a dataset"));
    }
    let handles = registry.handles();
    let api: Api<PrivateDataset> = Api::namespaced(handles.client.clone(), &key.namespace);
    let object = api
        .get_opt(&key.name)
        .await
        .map_err(|error| format!("dataset {key} can't be read: {error}"))?;
    let composition = match (handles.view.composition(key), &object) {
        (Some(composition), _) => composition,
        (None, Some(object)) => {
            object
                .spec
                .rules()
                .map_err(|error| format!("dataset {key}: {error}"))?
                .composition
        }
        (None, None) => handles.defaults.composition.clone(),
    };
    Ok(Known { composition, object })
}

/// Checks that a request's dataset is open to its namespace, and accepts its priority. What it says is the same whether there
/// is such a dataset or not. `prefix` is what the names of fields begin with. The bookkeeper checks the same when the claim
/// arrives, since much may happen before that: this is the quick answer.
pub(super) async fn check_claimant(
    registry: &Registry,
    asked: &ClaimRequest,
    namespace: &str,
    prefix: &str,
) -> Result<(), String> {
    let client = &registry.handles().client;
    let key = &asked.dataset;
    let datasets: Api<PrivateDataset> = Api::namespaced(client.clone(), &key.namespace);
    let object = datasets
        .get_opt(&key.name)
        .await
        .map_err(|error| format!("dataset {key} can't be read: {error}"))?;
    // Admission refuses a dataset in which they are invalid. Should one exist, they count as not stated.
    let claimants = object.and_then(|object| object.spec.claimants().ok());
    let claimants = claimants.unwrap_or_default();
    let labels = if claimants.depend_on_labels(namespace) {
        Api::<Namespace>::all(client.clone())
            .get_opt(namespace)
            .await
            .map_err(|error| format!("namespace {namespace} can't be read: {error}"))?
            .map(|namespace| namespace.metadata.labels.unwrap_or_default())
    } else {
        Some(BTreeMap::new())
    };
    claimants
        .check(key, namespace, labels.as_ref(), asked.priority)
        .map_err(|refusal| {
            let field = match refusal {
                ClaimRefusal::NotAllowed { .. } => "dataset",
                ClaimRefusal::PriorityTooHigh { .. } => "priority",
            };
            format!("{prefix}{field}: {refusal}")
        })
}

/// Whether a demand makes sense on its dataset: that there is one, that the budget can be asked of it, and that its
/// blocks have what the selector reads. `place` is what the fields are called after.
pub(super) async fn check_request(
    registry: &Registry,
    asked: &ClaimRequest,
    place: &str,
) -> Result<(), String> {
    let handles = registry.handles();
    let key = &asked.dataset;
    let field = |name: &str| {
        if place == "spec" {
            format!("spec.{name}")
        } else {
            format!("{place}/{name}")
        }
    };
    // As they are now, where it matters: what was made a moment ago counts.
    let api: Api<PrivateDataBlock> = Api::namespaced(handles.client.clone(), &key.namespace);
    let params = ListParams::default().fields(&format!("spec.dataset={}", key.name));
    let composition = if let Some(composition) = handles.view.composition(key) {
        composition
    } else {
        let known = known(registry, key).await?;
        let found = api
            .list(&params.clone().limit(1))
            .await
            .map_err(|error| error.to_string())?;
        if known.object.is_none() && found.items.is_empty() {
            return Err(format!(
                "{}: {:?} is unknown: there is no PrivateDataset of that name in namespace {}, and no \
                 PrivateDataBlock there names it",
                field("dataset"),
                key.name,
                key.namespace
            ));
        }
        known.composition
    };
    match &asked.demand {
        DemandRequest::PerBlock(budgets) => {
            for (block, budget) in budgets {
                let field = field("perBlock");
                budget
                    .demand(&composition)
                    .map_err(|error| format!("{field}[{block}]: {error}"))?;
            }
        }
        DemandRequest::Selected { selector, budget, .. } => {
            let name = match budget {
                BudgetRequest::Mechanism(..) if place != "spec" => "mechanism",
                BudgetRequest::Guarantee { .. } if place != "spec" => "epsilon",
                _ => "budget",
            };
            budget
                .demand(&composition)
                .map_err(|error| format!("{}: {error}", field(name)))?;
            if let Some(selector) = selector
                .as_ref()
                .filter(|selector| !selector.attributes().is_empty())
            {
                let seen = handles.view.blocks_of(key);
                if seen.is_empty()
                    || check_selector(selector, seen.iter().map(|block| &block.dimensions)).is_err()
                {
                    let list = api.list(&params).await.map_err(|error| error.to_string())?;
                    let now: Vec<Dimensions> =
                        list.items.iter().map(|block| block.spec.dimensions()).collect();
                    let name = field(if place == "spec" { "selector" } else { "blocks" });
                    check_selector(selector, now.iter())
                        .map_err(|error| format!("{name}: {}", error.problem))?;
                }
            }
        }
    }
    Ok(())
}
