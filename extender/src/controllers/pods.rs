//! Managed pods: those with a demand of their own ask, those that are gone give back, and those that got a node
//! without us are found.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use privatekube_api::{ANNOTATION_GRANT, ClaimRequest, DatasetKey, PodRequest};
use privatekube_policy::{ClaimId, Phase};
use tracing::{error, warn};

use super::follow::Follower;
use crate::{
    bookkeeper::{Message, phase_reason},
    pods::{Asks, asks_of, key_of, request_of},
    registry::Registry,
    subject::Subject,
    verdict::{Verdict, subject_of},
    writers::{StatusKey, is_placed},
};

pub(super) struct ManagedPods {
    registry: Arc<Registry>,
}

impl ManagedPods {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

/// A pod's own claim and whose budget it asks; none if it asks by claim objects.
fn own_claim(pod: &Pod) -> Option<(Subject, DatasetKey)> {
    match asks_of(pod) {
        Ok(Asks::Itself(dataset)) => Some((subject_of(pod)?, dataset)),
        Ok(Asks::ByClaims(_)) => None,
        Err(problem) => {
            let (namespace, name) = key_of(pod);
            warn!(pod = %format!("{namespace}/{name}"), problem, "a pod's annotations make no sense");
            None
        }
    }
}

/// What a pod asks for itself. One that came while no webhook looked at it is told, if it is `new`, what it did wrong.
fn own_request(registry: &Registry, pod: &Pod, new: bool) -> Option<ClaimRequest> {
    match request_of(pod) {
        Ok(Some(PodRequest::Inline(request))) => Some(request),
        Ok(_) => None,
        Err(errors) => {
            let (namespace, name) = key_of(pod);
            warn!(pod = %format!("{namespace}/{name}"), %errors, "a pod's annotations make no sense");
            if new {
                let note = format!("the pod can't be given privacy budget: {errors}");
                let reason = phase_reason(Phase::Denied);
                registry.desk().announcer.of_pod(pod, reason, true, &note);
            }
            None
        }
    }
}

/// Whether it has ended, so that nothing of it runs any more.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Follower<Pod> for ManagedPods {
    fn there(&mut self, mut pod: Pod) {
        pod.metadata.managed_fields = None;
        let pod = Arc::new(pod);
        let desk = self.registry.desk();
        let before = desk.pods.put(Arc::clone(&pod));
        if is_placed(&pod) {
            let again =
                before.is_some_and(|before| before.metadata.uid == pod.metadata.uid && is_placed(&before));
            check_placed(&self.registry, &pod, again);
            return;
        }
        let own = own_claim(&pod);
        if pod.metadata.deletion_timestamp.is_some() || is_over(&pod) {
            // No pod that is being deleted can be bound.
            if let Some((subject, dataset)) = own {
                self.registry.send(&dataset, Message::Withdraw(subject.id()));
            }
            return;
        }
        let new = before.is_none_or(|before| before.metadata.uid != pod.metadata.uid);
        if own.is_none() && new {
            tell_named(&self.registry, &pod);
        }
        if let Some((subject, dataset)) = own
            && desk
                .view
                .claim(&subject.id())
                .is_none_or(|claim| claim.phase == Phase::Waiting)
            && let Some(request) = own_request(&self.registry, &pod, new)
        {
            let request = Arc::new(request);
            self.registry.send(&dataset, Message::Claim { subject, request });
        }
        desk.gates.look(key_of(&pod));
    }

    fn asks(&self, pod: &Pod, of: &DatasetKey) -> bool {
        !is_placed(pod) && own_claim(pod).is_some_and(|(_, dataset)| dataset == *of)
    }

    fn gone(&mut self, pod: Pod, finally: bool) {
        let desk = self.registry.desk();
        desk.pods.remove(&pod);
        let Some((subject, dataset)) = own_claim(&pod) else {
            return;
        };
        let id = subject.id();
        desk.announcer.unmade(&id);
        desk.gates.look(key_of(&pod));
        // A granted one may be being spent at this moment. No bind that begins from now on finds the pod.
        let may_be_spent = desk
            .view
            .claim(&id)
            .is_some_and(|claim| matches!(claim.phase, Phase::Granted | Phase::Consumed));
        if finally && may_be_spent && !is_placed(&pod) {
            tokio::spawn(never_ran(
                Arc::clone(&self.registry),
                pod,
                dataset.clone(),
                id.clone(),
            ));
        }
        self.registry.send(&dataset, Message::Withdraw(id));
    }
}

/// A pod that names claim objects is told of all that happens to them from now on. How they are, it is told at once.
fn tell_named(registry: &Registry, pod: &Pod) {
    let desk = registry.desk();
    let verdict = Verdict::of(pod, &desk.view);
    let (phase, note) = match &verdict {
        Verdict::Unknown { .. } => (Phase::Waiting, verdict.to_string()),
        Verdict::Held { claim, phase } => {
            let id = claim
                .split_once('/')
                .and_then(|(namespace, name)| desk.view.named(namespace, name));
            let message = id
                .and_then(|id| desk.view.claim(&id))
                .and_then(|claim| claim.status.message.clone());
            let phase_word = format!("{phase:?}").to_lowercase();
            let message = message.unwrap_or_default();
            (
                *phase,
                format!("privacy budget claim {claim} {phase_word}: {message}"),
            )
        }
        _ => return,
    };
    desk.announcer
        .of_pod(pod, phase_reason(phase), phase != Phase::Waiting, &note);
}

/// A pod went without ever having had a node, so nothing of what was spent for it ran, and that returns. It is made
/// sure that it is gone: a watch also says so of a pod that lost its label.
async fn never_ran(registry: Arc<Registry>, pod: Pod, dataset: DatasetKey, claim: ClaimId) {
    let (namespace, name) = key_of(&pod);
    let api: Api<Pod> = Api::namespaced(registry.desk().client.clone(), &namespace);
    match api.get_opt(&name).await {
        Ok(other)
            if other
                .as_ref()
                .is_none_or(|other| other.metadata.uid != pod.metadata.uid) =>
        {
            registry.send(&dataset, Message::NeverRan(claim));
        }
        Ok(_) => warn!(%claim, "a pod left the watch and still exists; what is spent for it stays spent"),
        Err(error) => {
            warn!(%claim, %error, "whether a pod is gone is unknown; what is spent for it stays spent");
        }
    }
}

/// Our bind spends before it binds and says so on the pod. A pod that has a node without that came there by another
/// way. It is counted and told of once; `again` says that it was seen there before.
fn check_placed(registry: &Arc<Registry>, pod: &Arc<Pod>, again: bool) {
    let desk = registry.desk();
    let annotations = pod.metadata.annotations.as_ref();
    let granted = annotations.is_some_and(|annotations| annotations.contains_key(ANNOTATION_GRANT));
    if granted || is_over(pod) || pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    let granted = match Verdict::of(pod, &desk.view) {
        Verdict::Granted(claims) => claims,
        // Looked at again when everything is there.
        Verdict::Starting => return,
        verdict => {
            if !again {
                let (namespace, name) = key_of(pod);
                error!(pod = %format!("{namespace}/{name}"), %verdict, "a pod got a node without privacy budget");
                desk.metrics.bypassed.inc();
                let note = format!("the pod got a node without privacy budget and is deleted: {verdict}");
                desk.announcer.of_pod(pod, "BudgetBypassed", true, &note);
            }
            delete(registry, pod);
            return;
        }
    };
    for (id, _) in granted {
        if let Some(claim) = desk.view.claim(&id).filter(|claim| claim.phase == Phase::Granted) {
            warn!(claim = %id, "a pod got a node before its claim was spent; it is spent now");
            let registry = Arc::clone(registry);
            tokio::spawn(async move {
                if let Err(error) = registry.spend(&claim.dataset, &id).await {
                    warn!(claim = %id, %error, "a claim could not be spent");
                }
            });
        }
    }
}

fn delete(registry: &Registry, pod: &Pod) {
    let (namespace, name) = key_of(pod);
    let api: Api<Pod> = Api::namespaced(registry.desk().client.clone(), &namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    tokio::spawn(async move {
        if let Err(error) = api.delete(&name, &params).await {
            warn!(pod = %format!("{namespace}/{name}"), %error, "a pod could not be deleted");
        }
    });
}

/// Looks at every pod once more, now that everything that is committed is known.
pub(super) fn look_at_all(registry: &Arc<Registry>) {
    for pod in registry.desk().pods.all() {
        if is_placed(&pod) {
            check_placed(registry, &pod, false);
        } else {
            registry.desk().gates.look(key_of(&pod));
        }
        if let Some((subject, _)) = own_claim(&pod) {
            let id = subject.id();
            if !registry.desk().announcer.is_made(&id) {
                registry.desk().statuses.write(StatusKey::Claim(id));
            }
        }
    }
}
