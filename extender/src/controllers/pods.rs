//! Follows managed pods: requests budget for those with a demand of their own, withdraws it when they are deleted, and finds
//! those that got a node around the extender.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use privatekube_api::{ANNOTATION_PREFIX, ClaimPhase, DatasetKey, ManagedPod, PodKey};
use privatekube_policy::ClaimId;
use privatekube_view::Verdict;
use tracing::{error, warn};

use super::{
    follow::{Follower, WhenListed},
    requesters, say_it_exists,
};
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};
use crate::{
    bookkeeper::{ClaimInput, Message},
    handles::Handles,
    registry::Registry,
    writers::{ClaimObject, StatusKey},
};

pub(super) struct ManagedPods {
    registry: Arc<Registry>,
    /// The statuses of claim objects say which pods were denied. Until all were listed, no pod requests budget.
    claims: WhenListed,
}

impl ManagedPods {
    /// A follower of pods, and what waits for the claim objects.
    pub(super) const fn new(registry: Arc<Registry>, claims: WhenListed) -> Self {
        Self { registry, claims }
    }

    /// Requests budget for a pod with a demand of its own, if all claim objects were listed. All pods are requested again when
    /// they are.
    fn request(&self, pod: &ManagedPod) {
        if !self.claims.is_listed() {
            return;
        }
        if let (Some((subject, dataset)), Some(Ok(request))) = (pod.own(), &pod.request) {
            if say_it_exists(&self.registry, dataset, &subject.id()) {
                return;
            }
            let (subject, request) = (subject.clone(), Arc::clone(request));
            self.registry.send(
                dataset,
                Message::Requested(Box::new(ClaimInput {
                    was_granted: false,
                    was_denied: self.registry.handles().pods.denied(&pod.uid),
                    requester: Some(Box::new(requesters::of_pod(pod, &subject))),
                    subject,
                    request,
                })),
            );
        }
    }
}

impl Follower<Pod> for ManagedPods {
    /// Keeps what [`ManagedPod::read`] reads.
    fn trim(pod: &mut Pod) {
        let (spec, status) = (pod.spec.take(), pod.status.take());
        pod.spec = spec.map(|spec| PodSpec {
            node_name: spec.node_name,
            scheduling_gates: spec.scheduling_gates,
            service_account_name: spec.service_account_name,
            containers: images(spec.containers),
            init_containers: spec.init_containers.map(images),
            ..PodSpec::default()
        });
        pod.status = status.map(|status| PodStatus {
            phase: status.phase,
            ..PodStatus::default()
        });
        pod.metadata.labels = None;
        if let Some(owners) = &mut pod.metadata.owner_references {
            owners.retain(|owner| owner.controller == Some(true));
        }
        if let Some(annotations) = &mut pod.metadata.annotations {
            annotations.retain(|name, _| name.starts_with(ANNOTATION_PREFIX));
        }
    }

    /// What it runs is kept by its [`ManagedPod`], as long as that is needed.
    fn slim(pod: &Pod) -> Option<Pod> {
        let mut pod = pod.clone();
        if let Some(spec) = &mut pod.spec {
            spec.service_account_name = None;
            spec.containers = Vec::new();
            spec.init_containers = None;
        }
        Some(pod)
    }

    fn applied(&mut self, pod: Pod) {
        let handles = self.registry.handles();
        let (pod, before) = handles.pods.apply(&pod);
        let before = before.filter(|before| before.uid == pod.uid);
        if pod.is_bound() {
            let was_bound = before.is_some_and(|before| before.is_bound());
            check_bound(&self.registry, &pod, was_bound);
            if !was_bound {
                // It ends what is kept of the pod, and measures how long the pod had no node.
                handles.gates.check(pod.key.clone());
            }
            return;
        }
        if pod.is_ending {
            // It can't be bound any more.
            if let Some((subject, dataset)) = pod.own() {
                self.registry.send(dataset, Message::Withdrawn(subject.id()));
            }
            return;
        }
        if before.is_none() {
            announce_unreadable(&self.registry, &pod);
            announce_named_claims(&self.registry, &pod);
            self.request(&pod);
        }
        handles.gates.check(pod.key.clone());
    }

    fn request_again(&mut self, pod: &Pod, dataset: Option<&DatasetKey>) {
        let handles = self.registry.handles();
        let pod = handles.pods.get(&PodKey::of(pod));
        let is_requested = |pod: &ManagedPod| {
            pod.own()
                .is_some_and(|(_, requested)| dataset.is_none_or(|dataset| requested == dataset))
        };
        let Some(pod) = pod.filter(|pod| is_requested(pod)) else {
            return;
        };
        // The claims of a dataset that was stopped at the start are known only now.
        show_claim(handles, &pod);
        if pod.is_bound() {
            check_bound(&self.registry, &pod, true);
            announce_if_unknown(&self.registry, &pod);
        } else if !pod.is_ending {
            self.request(&pod);
            handles.gates.check(pod.key.clone());
        }
    }

    fn deleted(&mut self, pod: Pod, is_final: bool) {
        let handles = self.registry.handles();
        let before = handles.pods.get(&PodKey::of(&pod));
        let pod = ManagedPod::read(&pod, before.as_deref());
        handles.pods.delete(&pod.key, &pod.uid);
        let Some((subject, dataset)) = pod.own() else {
            return;
        };
        let id = subject.id();
        let ran = pod.is_bound();
        #[cfg(test)]
        let ran = ran && !planted::is(Planted::ReleasesBeforeProof);
        handles.events.claim_object_deleted(&id);
        handles.gates.check(pod.key.clone());
        // A granted claim may be being consumed at this moment. No bind that begins from now on finds the pod.
        let may_be_consumed = handles
            .view
            .claim(&id)
            .is_some_and(|claim| matches!(claim.phase, ClaimPhase::Granted | ClaimPhase::Consumed));
        if is_final && may_be_consumed && !ran {
            tokio::spawn(never_ran(
                Arc::clone(&self.registry),
                pod.key.clone(),
                pod.uid.clone(),
                dataset.clone(),
                id.clone(),
            ));
        }
        let end = if ran {
            Message::Ran(id)
        } else {
            Message::Withdrawn(id)
        };
        self.registry.send(dataset, end);
    }
}

/// Containers with nothing but their images.
fn images(containers: Vec<Container>) -> Vec<Container> {
    let image = |container: Container| Container {
        image: container.image,
        ..Container::default()
    };
    containers.into_iter().map(image).collect()
}

/// Announces what is wrong with a new pod's annotations, for a pod that came while no webhook checked it.
fn announce_unreadable(registry: &Registry, pod: &ManagedPod) {
    if let Some(Err(errors)) = &pod.request {
        warn!(pod = %pod.key, %errors, "a pod's annotations are invalid");
        let note = format!("the pod can't be given privacy budget: {errors}");
        let reason = ClaimPhase::Denied.event_reason();
        registry.handles().events.about_pod(pod, reason, true, &note);
    }
}

/// Announces on a new pod how the claim objects that it names are now. It is told of all that happens to them later.
fn announce_named_claims(registry: &Registry, pod: &ManagedPod) {
    if pod.own().is_some() {
        return;
    }
    let handles = registry.handles();
    let verdict = Verdict::of(&pod.source, &pod.key.namespace, &handles.view);
    let (phase, note) = match &verdict {
        Verdict::Unknown { .. } | Verdict::Stopped { .. } => (ClaimPhase::Waiting, verdict.to_string()),
        Verdict::Held { claim, phase } => {
            let id = claim
                .split_once('/')
                .and_then(|(namespace, name)| handles.view.named(namespace, name));
            let message = id
                .and_then(|id| handles.view.claim(&id))
                .map(|claim| claim.message().to_owned());
            let message = message.unwrap_or_default();
            let phase_word = phase.lower_case();
            (
                *phase,
                format!("privacy budget claim {claim} {phase_word}: {message}"),
            )
        }
        Verdict::NotForPods { .. } => (ClaimPhase::Denied, verdict.to_string()),
        Verdict::Starting => {
            handles.pods.add_unannounced(pod.key.clone());
            return;
        }
        Verdict::Granted(_) | Verdict::Malformed(_) => return,
    };
    handles
        .events
        .about_pod(pod, phase.event_reason(), phase != ClaimPhase::Waiting, &note);
}

/// A pod that has no node, and may get one.
fn without_node(registry: &Registry, pod: &PodKey) -> Option<Arc<ManagedPod>> {
    let pod = registry.handles().pods.get(pod);
    pod.filter(|pod| !pod.is_bound() && !pod.is_ending)
}

/// Announces on a pod without a node that it can't use a claim object that it names, if that is so.
pub(super) fn announce_not_for_pods(registry: &Registry, pod: &PodKey) {
    let Some(pod) = without_node(registry, pod) else {
        return;
    };
    let verdict = Verdict::of(&pod.source, &pod.key.namespace, &registry.handles().view);
    if matches!(verdict, Verdict::NotForPods { .. }) {
        announce_named_claims(registry, &pod);
    }
}

/// Releases what was consumed for a pod that was deleted without ever having had a node. The API server is asked whether it
/// is gone, since a watch reports a pod that lost its label as deleted, too.
async fn never_ran(registry: Arc<Registry>, pod: PodKey, uid: String, dataset: DatasetKey, claim: ClaimId) {
    let api: Api<Pod> = Api::namespaced(registry.handles().client.clone(), &pod.namespace);
    match api.get_opt(&pod.name).await {
        Ok(other)
            if other
                .as_ref()
                .is_none_or(|other| other.metadata.uid.as_ref() != Some(&uid)) =>
        {
            registry.send(&dataset, Message::NeverRan(claim));
        }
        Ok(_) => {
            warn!(%claim, "a pod left the watch and still exists; what is consumed for it stays consumed");
        }
        Err(error) => {
            warn!(%claim, %error, "whether a pod is gone is unknown; what is consumed for it stays consumed");
        }
    }
}

/// Checks a pod that has a node. Our bind consumes before it binds and puts the grant on the Binding, so a pod without a
/// grant was bound by somebody else: its claims are consumed if they are granted, else it is deleted. That is counted and
/// announced once; `was_bound` says that the pod had a node before.
fn check_bound(registry: &Arc<Registry>, pod: &Arc<ManagedPod>, was_bound: bool) {
    let handles = registry.handles();
    // Every pod is checked once more when the view is complete, and by a process that becomes the leader.
    if pod.has_grant || pod.is_ending || !handles.view.is_complete() || !handles.leadership.leads() {
        return;
    }
    let granted = match Verdict::of(&pod.source, &pod.key.namespace, &handles.view) {
        Verdict::Granted(claims) => claims,
        // It is checked again when the dataset's ledger is open again.
        Verdict::Starting | Verdict::Stopped { .. } => return,
        verdict => {
            if !was_bound {
                error!(pod = %pod.key, %verdict, "a pod got a node without privacy budget");
                handles.metrics.watches.bypassed.inc();
                let note = format!("the pod got a node without privacy budget and is deleted: {verdict}");
                handles.events.about_pod(pod, "BudgetBypassed", true, &note);
            }
            delete(registry, pod);
            return;
        }
    };
    for claim in granted {
        if claim.phase == ClaimPhase::Granted {
            warn!(claim = %claim.id, "a pod got a node before its claim was consumed; it is consumed now");
            let registry = Arc::clone(registry);
            tokio::spawn(async move {
                if let Err(error) = registry.consume_all(&claim.dataset, vec![claim.id.clone()]).await {
                    warn!(claim = %claim.id, %error, "a claim could not be consumed");
                }
            });
        }
    }
}

fn delete(registry: &Registry, pod: &Arc<ManagedPod>) {
    let pod = Arc::clone(pod);
    let api: Api<Pod> = Api::namespaced(registry.handles().client.clone(), &pod.key.namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(pod.uid.clone()),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    tokio::spawn(async move {
        if let Err(error) = api.delete(&pod.key.name, &params).await {
            warn!(pod = %pod.key, %error, "a pod could not be deleted");
        }
    });
}

/// Announces on a pod that runs with a grant that no ledger knows it, and returns whether that is so: the ledger was lost, or
/// PrivateKube was removed with its ledgers and installed again. The claim objects that a pod names may be deleted while it
/// runs, so only a pod with a demand of its own tells.
fn announce_if_unknown(registry: &Registry, pod: &ManagedPod) -> bool {
    let handles = registry.handles();
    let Some((_, dataset)) = pod.own().filter(|_| pod.has_grant && !pod.is_ending) else {
        return false;
    };
    let verdict = Verdict::of(&pod.source, &pod.key.namespace, &handles.view);
    if !matches!(verdict, Verdict::Unknown { .. }) {
        return false;
    }
    let note = format!(
        "the pod runs with privacy budget that it was granted before, and the ledger of {dataset} knows nothing of it, so that \
         what it uses isn't counted: put the ledger back (privatekube-extender restore), or delete the pod and don't use these \
         blocks again (docs/operations.md)"
    );
    handles.events.about_pod(pod, "BudgetUnknown", true, &note);
    true
}

/// Has the claim object of a pod's own claim created, if it doesn't exist: creating it may have been refused before a restart.
fn show_claim(handles: &Handles, pod: &ManagedPod) {
    let Some((subject, _)) = pod.own() else { return };
    let id = subject.id();
    if handles.events.claim_object(&id) != Some(ClaimObject::Exists) {
        handles.statuses.write(StatusKey::Claim(id));
    }
}

/// Checks every pod once more, when the view has become complete.
pub(super) fn check_all(registry: &Arc<Registry>) {
    let handles = registry.handles();
    for key in handles.pods.take_unannounced() {
        if let Some(pod) = without_node(registry, &key) {
            announce_named_claims(registry, &pod);
        }
    }
    let mut unknown = Vec::new();
    for pod in handles.pods.all() {
        if pod.is_bound() {
            check_bound(registry, &pod, false);
            if announce_if_unknown(registry, &pod) {
                unknown.push(pod.key.to_string());
            }
        } else {
            handles.gates.check(pod.key.clone());
        }
        show_claim(handles, &pod);
    }
    if let Some(first) = unknown.first() {
        warn!(
            count = unknown.len(),
            first,
            "pods run with privacy budget that no ledger knows: it was granted before the ledgers were lost or removed"
        );
    }
}
