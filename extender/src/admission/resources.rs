//! Webhooks of datasets, blocks and claims: the checks that a CRD's schema can't express.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use privatekube_api::{
    AmountRequest, BudgetRequest, ClaimRefusal, ClaimRequest, DatasetKey, DemandRequest, Dimensions, Made,
    PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset, check_selector, excerpt, is_label_name,
};
use privatekube_kubernetes::{count_blocks, each_block};
use privatekube_policy::Composition;
use tokio::{sync::Semaphore, time::timeout};

use super::{Admission, AdmissionRequest, Answer, Attempt, refusal::Refusal, warnings};
use crate::{clock, handles::Handles, registry::Registry};

/// Reviews a dataset: its rules, and that its guarantee allows some budget.
pub(super) async fn dataset(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let dataset: PrivateDataset = match request.object().await {
        Ok(dataset) => dataset,
        Err(answer) => return answer,
    };
    let rules = match dataset.spec.check() {
        Ok(rules) => rules,
        Err(errors) => return Answer::Deny(errors.to_string()),
    };
    if let Some(why) = unusable_schedule(admission, &dataset, &rules.composition) {
        return Answer::Deny(why);
    }
    let schedule = dataset.spec.block_schedule().ok().flatten();
    let warning = schedule.and_then(|schedule| schedule.warning(dataset.spec.privacy_unit));
    Answer::Allow.with_warnings(warning.into_iter().collect())
}

/// Returns an error message if the blocks that come by themselves could not be used, or would be too many at once.
fn unusable_schedule(
    admission: &Admission,
    dataset: &PrivateDataset,
    composition: &Composition,
) -> Option<String> {
    let spec = &dataset.spec;
    let schedule = spec.block_schedule().ok().flatten()?;
    // It is empty while the API server is still to generate it.
    let name = dataset
        .metadata
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or("dataset");
    let status = dataset.status.as_ref();
    let made = Made::of(status.and_then(|status| status.last_block.as_ref()));
    let handles = admission.registry.handles();
    let now = handles.server_clock.now().unwrap_or_else(clock::now);
    if let Err(errors) = schedule.check(name, made, now) {
        return Some(errors.to_string());
    }
    let block = schedule.first_block(name)?;
    let budget = block.spec.capacity(composition, spec.guarantee().ok().flatten());
    let declared = spec.declared_dimensions().ok()?;
    let dimensions = declared.check(&block.spec.dimensions);
    let faults = [budget.err(), dimensions.err()].into_iter().flatten();
    let faults: Vec<String> = faults.map(|errors| errors.to_string()).collect();
    let block = block.metadata.name.unwrap_or_default();
    (!faults.is_empty()).then(|| {
        format!(
            "spec.blocks: block {block} could not be used: {}",
            faults.join("; ")
        )
    })
}

/// Reviews a block: that its capacity can be stated in its dataset's composition, and that it has the dimensions that its
/// dataset declares. The bookkeeper checks the same, since the dataset may be created or changed later.
pub(super) async fn block(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let block: PrivateDataBlock = match request.object().await {
        Ok(block) => block,
        Err(answer) => return answer,
    };
    let namespace = request.namespace.clone().unwrap_or_default();
    let key = DatasetKey {
        namespace,
        name: block.spec.dataset.clone(),
    };
    let facts = match dataset_facts(&admission.registry, &key).await {
        Ok(Some(facts)) => facts,
        // It may come before its dataset. The bookkeeper checks it by the dataset's rules then.
        Ok(None) => {
            let (name, namespace) = (&key.name, &key.namespace);
            let waits = format!(
                "there is no PrivateDataset {name} in namespace {namespace}: the block has no budget until there is"
            );
            return Answer::Allow.with_warnings(vec![waits]);
        }
        Err(refusal) => return refusal.into(),
    };
    let guarantee = facts
        .object
        .as_ref()
        .and_then(|object| object.spec.guarantee().ok().flatten());
    let declared = facts
        .object
        .as_ref()
        .and_then(|object| object.spec.declared_dimensions().ok())
        .unwrap_or_default();
    let dimensions = declared.check(&block.spec.dimensions).err();
    let budget = block.spec.capacity(&facts.composition, guarantee).err();
    let faults: Vec<String> = [dimensions, budget]
        .into_iter()
        .flatten()
        .map(|errors| errors.to_string())
        .collect();
    if !faults.is_empty() {
        return Answer::Deny(faults.join("; "));
    }
    let name = block.metadata.name.as_deref();
    let warnings = warnings::of_block(
        &admission.registry,
        &key,
        name,
        &block.spec,
        &facts.composition,
        guarantee,
    );
    Answer::Allow.with_warnings(warnings)
}

/// Reviews a claim object: its request, and how much of it is to be consumed and released.
pub(super) async fn claim(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let mut claim: PrivacyBudgetClaim = match request.object().await {
        Ok(claim) => claim,
        Err(answer) => return answer,
    };
    // The extender writes the claim object of a pod's inline request, which was checked when the pod was created.
    if request.user_info.username.as_deref() == Some(&*admission.user) {
        return Answer::Allow;
    }
    claim.metadata.namespace.clone_from(&request.namespace);
    let mut faults: Vec<String> = foreign_to_pod(&claim, request.old_object.is_some())
        .into_iter()
        .collect();
    let amounts = [claim.consume().map(|_| ()), claim.release().map(|_| ())];
    let wrong = amounts.into_iter().filter_map(Result::err);
    faults.extend(wrong.map(|errors| errors.to_string()));
    let requested = if request.old_object.is_none() {
        claim.new_request()
    } else {
        claim.request()
    };
    let requested = match requested {
        Ok(requested) if faults.is_empty() => requested,
        Ok(_) => return Answer::Deny(faults.join("; ")),
        Err(errors) => {
            faults.push(errors.to_string());
            return Answer::Deny(faults.join("; "));
        }
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    // This check comes first, so that no other message tells about a dataset that isn't open to the namespace. A claim
    // that exists was accepted, and can be consumed and released whatever the claimants are now.
    if request.old_object.is_none()
        && let Err(why) = check_claimant(&admission.registry, &requested, namespace, "spec.").await
    {
        return why.into();
    }
    let uses = claim.spec.consume.is_some() || claim.spec.release.is_some();
    if uses || request.old_object.is_some() {
        let facts = match dataset_facts(&admission.registry, &requested.dataset).await {
            Ok(Some(facts)) => facts,
            Ok(None) => return Answer::Deny(unknown_dataset("spec.dataset", &requested.dataset)),
            Err(why) => return why.into(),
        };
        if let Some(why) = excess_use(&claim, &requested, &facts.composition) {
            return Answer::Deny(why);
        }
        // The request needs no check on an update: by the schema, it never changes.
        if let Some(before) = request.old_object().await {
            return match before {
                Err(error) => Answer::Deny(format!(
                    "the object can't be read as it was before the update: {error}"
                )),
                Ok(before) => match reduced_use(&before, &claim, &facts.composition) {
                    Some(why) => Answer::Deny(why),
                    None => Answer::Allow,
                },
            };
        }
    }
    if let Err(why) = check_request(&admission.registry, &requested, "spec").await {
        return why.into();
    }
    let attempt = if request.dry_run {
        Attempt::Dry
    } else {
        Attempt::New
    };
    match admission.count_claim(&requested.dataset, namespace, attempt) {
        Ok(()) if request.dry_run => {
            let warnings = warnings::of_claim(&admission.registry, &requested).await;
            Answer::Allow.with_warnings(warnings)
        }
        Ok(()) => Answer::Allow,
        Err(reached) => Answer::Later(reached),
    }
}

/// Returns an error message if the claim is to consume and release together more of a block than it demands. The engine
/// would refuse that, and the user could never reduce the amounts again.
fn excess_use(
    claim: &PrivacyBudgetClaim,
    requested: &ClaimRequest,
    composition: &Composition,
) -> Option<String> {
    let demanded_of = |block: &str| match &requested.demand {
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
            let Some(requested) = demanded_of(&block) else {
                return Some(format!("{field}: the claim demands nothing of this block"));
            };
            let amount = match amount.demand(composition) {
                Ok(amount) => amount,
                Err(error) => return Some(format!("{field}: {error}")),
            };
            let sums = used
                .entry(block)
                .or_insert_with(|| vec![0; requested.units().len()]);
            for (sum, units) in sums.iter_mut().zip(amount.units()) {
                *sum += i128::from(*units);
            }
            if sums
                .iter()
                .zip(requested.units())
                .any(|(sum, requested)| *sum > i128::from(*requested))
            {
                return Some(format!(
                    "{field}: is more than the claim asks of the block, what is consumed and released together"
                ));
            }
        }
    }
    None
}

/// Returns an error message if an update reduces an amount to consume or release on a block. (The schema denies updates
/// that leave out a block.)
fn reduced_use(
    before: &PrivacyBudgetClaim,
    after: &PrivacyBudgetClaim,
    composition: &Composition,
) -> Option<String> {
    let uses = [
        ("consume", before.consume(), after.consume()),
        ("release", before.release(), after.release()),
    ];
    for (field, before, after) in uses {
        // Only amounts per block can be reduced: the schema denies updates that replace `all`.
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

/// Returns an error message if `claim` is a pod's own claim and anyone but the extender may not write it so: only the
/// extender creates and consumes it. (The schema keeps updates from adding or changing `spec.pod`.)
fn foreign_to_pod(claim: &PrivacyBudgetClaim, exists: bool) -> Option<String> {
    let pod = claim.spec.pod.as_ref()?;
    if !exists {
        let pod = excerpt(&pod.name, 253);
        return Some(format!(
            "spec.pod: is written by the system when it makes the claim of a pod: leave this object out, since pod {pod} gets \
             its claim by itself; or, for a claim of your own, leave out spec.pod, metadata.ownerReferences and status, and \
             give it a name of its own"
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

/// A dataset's composition and object.
pub(super) struct DatasetFacts {
    pub(super) composition: Composition,
    pub(super) object: Option<PrivateDataset>,
}

/// Reads a dataset's object. The composition is the ledger's; without a ledger, the object's; without both, the
/// default. `None` if there is no default either: the dataset has no rules yet.
pub(super) async fn dataset_facts(
    registry: &Registry,
    key: &DatasetKey,
) -> Result<Option<DatasetFacts>, Refusal> {
    // A block's dataset is any text that its author wrote, and becomes a part of a request's path.
    if !is_label_name(&key.name) {
        let name = excerpt(&key.name, 253);
        return Err(format!("spec.dataset: {name:?} is not the name of a dataset").into());
    }
    let handles = registry.handles();
    let api: Api<PrivateDataset> = Api::namespaced(handles.client.clone(), &key.namespace);
    let object = api
        .get_opt(&key.name)
        .await
        .map_err(|error| Refusal::unreadable(format_args!("dataset {key}"), &error))?;
    let composition = match (handles.view.composition(key), &object) {
        (Some(composition), _) => composition,
        (None, Some(object)) => {
            object
                .spec
                .rules()
                .map_err(|error| format!("dataset {key}: {error}"))?
                .composition
        }
        (None, None) => match &handles.defaults {
            Some(defaults) => defaults.composition.clone(),
            None => return Ok(None),
        },
    };
    Ok(Some(DatasetFacts { composition, object }))
}

/// The message that a dataset doesn't exist. `field` names it.
fn unknown_dataset(field: &str, key: &DatasetKey) -> String {
    format!(
        "{field}: {:?} is unknown: there is no PrivateDataset of that name in namespace {}",
        key.name, key.namespace
    )
}

/// Checks that a request's dataset is open to its namespace, and accepts its priority. The error doesn't tell whether
/// the dataset exists. `prefix` is put before the names of fields. The bookkeeper checks the same when the claim
/// arrives, because the dataset may have changed by then; this check tells the user at once.
pub(super) async fn check_claimant(
    registry: &Registry,
    requested: &ClaimRequest,
    namespace: &str,
    prefix: &str,
) -> Result<(), Refusal> {
    let handles = registry.handles();
    let (client, key) = (&handles.client, &requested.dataset);
    // The bookkeeper checks again when the claim arrives. Only a refusal must not follow from what a watch has not delivered.
    let known = handles
        .view
        .dataset(key)
        .and_then(|dataset| dataset.claimants.clone());
    if known.is_some_and(|known| {
        !known.depend_on_labels(namespace)
            && known
                .check(key, namespace, Some(&BTreeMap::new()), requested.priority)
                .is_ok()
    }) {
        return Ok(());
    }
    let datasets: Api<PrivateDataset> = Api::namespaced(client.clone(), &key.namespace);
    let object = datasets
        .get_opt(&key.name)
        .await
        .map_err(|error| Refusal::unreadable(format_args!("dataset {key}"), &error))?;
    // Admission denies a dataset with invalid claimants. Should one exist, the default claimants apply.
    let claimants = object.and_then(|object| object.spec.claimants().ok());
    let claimants = claimants.unwrap_or_default();
    let labels = if claimants.depend_on_labels(namespace) {
        Api::<Namespace>::all(client.clone())
            .get_opt(namespace)
            .await
            .map_err(|error| Refusal::unreadable(format_args!("namespace {namespace}"), &error))?
            .map(|namespace| namespace.metadata.labels.unwrap_or_default())
    } else {
        Some(BTreeMap::new())
    };
    claimants
        .check(key, namespace, labels.as_ref(), requested.priority)
        .map_err(|refusal| {
            let field = match refusal {
                ClaimRefusal::NotAllowed { .. } => "dataset",
                ClaimRefusal::PriorityTooHigh { .. } => "priority",
            };
            format!("{prefix}{field}: {refusal}").into()
        })
}

/// How many reviews read all blocks of a dataset at the same time. The others wait, so that wrong selectors that come together
/// neither fill the memory nor keep the API server busy.
static BLOCK_READS: Semaphore = Semaphore::const_new(2);
/// How long a review may wait and read blocks: the API server waits 5 s for its answer.
const BLOCKS_LIMIT: Duration = Duration::from_secs(4);

/// The dimensions of every block of a dataset, read from the API server; `None` if `seen` in the view are all that there are, so that
/// a request which is refused again and again costs little.
async fn current_dimensions(
    handles: &Handles,
    key: &DatasetKey,
    seen: usize,
) -> Result<Option<Vec<Dimensions>>, Refusal> {
    let read = async {
        let client = &handles.client;
        let count = count_blocks(client, &key.namespace).await?;
        let known = &handles.known_blocks;
        if count == Some(known.in_namespace(&key.namespace)) && known.of(key) == seen {
            return Ok(None);
        }
        // It is never closed.
        let _permit = BLOCK_READS.acquire().await;
        let mut current = Vec::new();
        each_block(client, key, |block| current.push(block.spec.dimensions())).await?;
        Ok(Some(current))
    };
    let read = timeout(BLOCKS_LIMIT, read).await;
    let what = format_args!("the blocks of dataset {key}");
    match read {
        Ok(read) => read.map_err(|error| Refusal::unreadable(what, &error)),
        Err(_) => Err(Refusal::Unavailable(format!(
            "{what} can't be read within {BLOCKS_LIMIT:?}"
        ))),
    }
}

/// Checks a request against its dataset: that the dataset exists, that its composition can express the budget, and that
/// its blocks have the dimensions that the selector reads. `place` is put before the names of fields in errors: `spec`
/// for a claim object, a pod's annotation prefix otherwise.
pub(super) async fn check_request(
    registry: &Registry,
    requested: &ClaimRequest,
    place: &str,
) -> Result<(), Refusal> {
    let handles = registry.handles();
    let key = &requested.dataset;
    let field = |name: &str| {
        if place == "spec" {
            format!("spec.{name}")
        } else {
            format!("{place}/{name}")
        }
    };
    // The view may be behind the API server. Where it would deny the request, the objects are read from the API server.
    let api: Api<PrivateDataBlock> = Api::namespaced(handles.client.clone(), &key.namespace);
    let params = ListParams::default().fields(&format!("spec.dataset={}", key.name));
    let composition = if let Some(composition) = handles.view.composition(key) {
        composition
    } else {
        let unknown = || unknown_dataset(&field("dataset"), key);
        let facts = dataset_facts(registry, key).await?.ok_or_else(unknown)?;
        let found = api
            .list(&params.clone().limit(1))
            .await
            .map_err(|error| Refusal::unreadable(format_args!("the blocks of dataset {key}"), &error))?;
        if facts.object.is_none() && found.items.is_empty() {
            return Err(format!("{}, and no PrivateDataBlock there names it", unknown()).into());
        }
        facts.composition
    };
    let mut faults = Vec::new();
    match &requested.demand {
        DemandRequest::PerBlock(budgets) => {
            let field = field("perBlock");
            for (block, budget) in budgets {
                let refused = budget.demand(&composition).err();
                faults.extend(refused.map(|error| format!("{field}[{block}]: {error}")));
            }
        }
        DemandRequest::Selected { selector, budget, .. } => {
            let name = match budget {
                BudgetRequest::Mechanism(..) if place != "spec" => "mechanism",
                BudgetRequest::Guarantee { .. } if place != "spec" => "epsilon",
                _ => "budget",
            };
            let refused = budget.demand(&composition).err();
            faults.extend(refused.map(|error| format!("{}: {error}", field(name))));
            if let Some(selector) = selector
                .as_ref()
                .filter(|selector| !selector.attributes().is_empty())
            {
                let seen = handles.view.blocks_of(key);
                if seen.is_empty()
                    || check_selector(selector, seen.iter().map(|block| &block.dimensions)).is_err()
                {
                    let current = current_dimensions(handles, key, seen.len()).await?;
                    let current = current
                        .unwrap_or_else(|| seen.iter().map(|block| block.dimensions.clone()).collect());
                    let name = field(if place == "spec" { "selector" } else { "blocks" });
                    let refused = check_selector(selector, current.iter()).err();
                    faults.extend(refused.map(|error| format!("{name}: {}", error.problem)));
                }
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; ").into())
    }
}
