//! The scheduler's verbs. `filter` and `preempt` are pure reads of what is committed; `bind` spends first and binds
//! then.

pub mod protocol;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::post};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{
    Api, Error,
    api::{ObjectMeta, PostParams},
};
use privatekube_api::{ANNOTATION_GRANT, Grant};
use privatekube_policy::{ClaimId, Phase};
use protocol::{
    ExtenderArgs, ExtenderBindingArgs, ExtenderBindingResult, ExtenderFilterResult, ExtenderPreemptionArgs,
    ExtenderPreemptionResult, MetaVictims, node_names,
};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::{
    body::Body, bookkeeper::Message, pods::key_of, registry::Registry, subject::SubjectKind, verdict::Verdict,
};

/// Below the scheduler's `httpTimeout` of 10 s, so that its answer and ours agree.
const BIND_PATIENCE: Duration = Duration::from_secs(8);

/// The scheduler's verbs below `/scheduler`.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/scheduler/filter", post(filter))
        .route("/scheduler/bind", post(bind))
        .route("/scheduler/preempt", post(preempt))
        .with_state(registry)
}

async fn filter(
    State(registry): State<Arc<Registry>>,
    Body(args): Body<ExtenderArgs>,
) -> Json<ExtenderFilterResult> {
    let began = Instant::now();
    let (outcome, result) = match args {
        Ok(args) => {
            let verdict = Verdict::of(&args.pod, &registry.desk().view);
            let (namespace, name) = key_of(&args.pod);
            debug!(pod = %format!("{namespace}/{name}"), outcome = verdict.label(), "filter");
            (verdict.label(), filtered(args, &verdict))
        }
        Err(problem) => (
            "unreadable",
            ExtenderFilterResult {
                error: no_format(&problem),
                ..Default::default()
            },
        ),
    };
    registry
        .desk()
        .metrics
        .count_scheduler_request("filter", outcome, began.elapsed());
    Json(result)
}

/// All nodes if the budget is granted; else none, since budget is not a node's and nothing on one would help.
fn filtered(args: ExtenderArgs, verdict: &Verdict) -> ExtenderFilterResult {
    match verdict {
        Verdict::Granted(_) => ExtenderFilterResult {
            nodes: args.nodes.and_then(|nodes| serde_json::to_value(nodes).ok()),
            node_names: args.node_names,
            ..Default::default()
        },
        // Nothing wakes the pod when we are ready: the scheduler tries it again by itself only after an error.
        Verdict::Starting => ExtenderFilterResult {
            error: no_format(&verdict.to_string()),
            ..Default::default()
        },
        _ => {
            let message = no_format(&verdict.to_string());
            let names = node_names(&args);
            ExtenderFilterResult {
                node_names: Some(Vec::new()),
                failed_and_unresolvable_nodes: Some(
                    names
                        .into_iter()
                        .map(|node| (node, message.clone()))
                        .collect::<BTreeMap<_, _>>(),
                ),
                ..Default::default()
            }
        }
    }
}

/// The scheduler uses our texts as format strings.
fn no_format(text: &str) -> String {
    text.replace('%', " percent")
}

async fn preempt(
    State(registry): State<Arc<Registry>>,
    Body(args): Body<ExtenderPreemptionArgs>,
) -> Json<ExtenderPreemptionResult> {
    let began = Instant::now();
    let (outcome, candidates) = match args {
        Err(_) => ("unreadable", BTreeMap::new()),
        Ok(args) => {
            let verdict = Verdict::of(&args.pod, &registry.desk().view);
            // Nobody is evicted for a pod that could not run anyway.
            let candidates = match verdict {
                Verdict::Granted(_) => args.node_name_to_meta_victims.unwrap_or_else(|| {
                    let whole = args.node_name_to_victims.unwrap_or_default();
                    whole
                        .into_iter()
                        .map(|(node, victims)| (node, MetaVictims::from(victims)))
                        .collect()
                }),
                _ => BTreeMap::new(),
            };
            (verdict.label(), candidates)
        }
    };
    registry
        .desk()
        .metrics
        .count_scheduler_request("preempt", outcome, began.elapsed());
    Json(ExtenderPreemptionResult {
        node_name_to_meta_victims: Some(candidates),
    })
}

async fn bind(
    State(registry): State<Arc<Registry>>,
    Body(args): Body<ExtenderBindingArgs>,
) -> Json<ExtenderBindingResult> {
    let began = Instant::now();
    let outcome = match args {
        Err(problem) => Outcome::Failed(problem),
        // Goes on by itself if the scheduler hangs up: what was begun is finished.
        Ok(args) => {
            let work = tokio::spawn({
                let (registry, args) = (Arc::clone(&registry), args.clone());
                async move { bound(&registry, &args).await }
            });
            let outcome = match timeout(BIND_PATIENCE, work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => Outcome::Failed(error.to_string()),
                Err(_) => Outcome::Failed(format!(
                    "the pod was not bound within {BIND_PATIENCE:?}, it is tried again"
                )),
            };
            let pod = format!("{}/{}", args.pod_namespace, args.pod_name);
            match &outcome {
                Outcome::Bound => info!(%pod, uid = args.pod_uid, node = args.node, "a pod is bound"),
                other => {
                    warn!(%pod, uid = args.pod_uid, node = args.node, outcome = ?other, "a pod is not bound");
                }
            }
            outcome
        }
    };
    registry
        .desk()
        .metrics
        .count_scheduler_request("bind", outcome.label(), began.elapsed());
    let error = match outcome {
        Outcome::Bound => String::new(),
        Outcome::Refused(why) | Outcome::Gone(why) | Outcome::Failed(why) => no_format(&why),
    };
    Json(ExtenderBindingResult { error })
}

/// How a binding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The pod is on the node.
    Bound,
    /// The pod may not run.
    Refused(String),
    /// The pod can never be bound any more, so what was spent for it returns.
    Gone(String),
    /// It is not known, or may succeed when it is tried again.
    Failed(String),
}

impl Outcome {
    const fn label(&self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Refused(_) => "refused",
            Self::Gone(_) => "gone",
            Self::Failed(_) => "failed",
        }
    }
}

async fn bound(registry: &Registry, args: &ExtenderBindingArgs) -> Outcome {
    let desk = registry.desk();
    let api: Api<Pod> = Api::namespaced(desk.client.clone(), &args.pod_namespace);
    let seen = desk
        .pods
        .get(&(args.pod_namespace.clone(), args.pod_name.clone()));
    let pod = match seen.filter(|pod| pod.metadata.uid.as_deref() == Some(&args.pod_uid)) {
        Some(pod) => (*pod).clone(),
        None => match api.get_opt(&args.pod_name).await {
            Ok(Some(pod)) if pod.metadata.uid.as_deref() == Some(&args.pod_uid) => pod,
            Ok(_) => return Outcome::Failed("the pod is gone".to_owned()),
            Err(error) => return Outcome::Failed(error.to_string()),
        },
    };
    let claims = match Verdict::of(&pod, &desk.view) {
        Verdict::Granted(claims) => claims,
        Verdict::Starting => return Outcome::Failed(Verdict::Starting.to_string()),
        verdict => return Outcome::Refused(verdict.to_string()),
    };
    for (id, _) in &claims {
        if let Err(error) = spend(registry, id).await {
            return Outcome::Failed(error);
        }
    }
    // Something may have been given back until it was spent, and nothing can be any more.
    let claims = match Verdict::of(&pod, &desk.view) {
        Verdict::Granted(claims) => claims,
        verdict => return Outcome::Refused(verdict.to_string()),
    };
    let grant = Grant {
        claims: claims.iter().map(|(_, grant)| grant.clone()).collect(),
    };
    let grant = match serde_json::to_string(&grant) {
        Ok(grant) => grant,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(args.pod_name.clone()),
            namespace: Some(args.pod_namespace.clone()),
            uid: Some(args.pod_uid.clone()),
            annotations: Some([(ANNOTATION_GRANT.to_owned(), grant)].into()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(args.node.clone()),
            ..ObjectReference::default()
        },
    };
    let answer: Result<serde_json::Value, Error> = api
        .create_subresource("binding", &args.pod_name, &PostParams::default(), &binding)
        .await;
    desk.metrics.count_write("binding", &answer);
    let Err(error) = answer else {
        return Outcome::Bound;
    };
    let outcome = after_refusal(&api, args, &error).await;
    if let Outcome::Gone(_) = &outcome {
        never_ran(
            registry,
            &claims.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        );
    }
    outcome
}

/// Spends a claim, unless that was done before.
async fn spend(registry: &Registry, id: &ClaimId) -> Result<(), String> {
    let Some(claim) = registry.desk().view.claim(id) else {
        return Err(format!("claim {id} is gone"));
    };
    if claim.phase == Phase::Consumed {
        return Ok(());
    }
    registry
        .spend(&claim.dataset, id)
        .await
        .map_err(|error| error.to_string())
}

/// What is true after the API server did not confirm a Binding.
async fn after_refusal(api: &Api<Pod>, args: &ExtenderBindingArgs, error: &Error) -> Outcome {
    let Ok(pod) = api.get_opt(&args.pod_name).await else {
        return Outcome::Failed(error.to_string());
    };
    let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(&args.pod_uid)) else {
        // It may have been bound before it went, by an attempt whose answer was lost. The watch knows how it ended.
        return Outcome::Failed("the pod is gone".to_owned());
    };
    let node = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .filter(|node| !node.is_empty());
    match node {
        Some(node) if node == args.node => Outcome::Bound,
        Some(node) => Outcome::Failed(format!("the pod is on node {node} already")),
        // Nothing takes a deletion back, and no pod that is being deleted can be bound.
        None if pod.metadata.deletion_timestamp.is_some() => {
            Outcome::Gone("the pod is being deleted".to_owned())
        }
        None => Outcome::Failed(error.to_string()),
    }
}

/// Returns what was spent for a pod that provably never ran. A claim object that others may share stays spent.
fn never_ran(registry: &Registry, claims: &[ClaimId]) {
    for id in claims {
        if let Some(claim) = registry.desk().view.claim(id)
            && claim.subject.kind == SubjectKind::Pod
        {
            registry.send(&claim.dataset, Message::NeverRan(id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::Phase;

    use super::*;

    fn args() -> ExtenderArgs {
        ExtenderArgs {
            node_names: Some(vec!["a".into(), "b".into()]),
            ..ExtenderArgs::default()
        }
    }

    #[test]
    fn a_granted_pod_may_go_to_every_node() {
        let result = filtered(args(), &Verdict::Granted(Vec::new()));
        assert_eq!(result.node_names, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(
            (result.failed_and_unresolvable_nodes, result.error.as_str()),
            (None, "")
        );
    }

    #[test]
    fn a_waiting_pod_may_go_nowhere_and_evicts_nobody() {
        let held = Verdict::Held {
            claim: "data/train-1".into(),
            phase: Phase::Waiting,
        };
        let result = filtered(args(), &held);
        assert_eq!(result.node_names, Some(Vec::new()));
        let failed = result.failed_and_unresolvable_nodes.unwrap();
        assert_eq!(failed.len(), 2);
        assert_eq!(failed["a"], failed["b"]);
        assert_eq!(result.failed_nodes, None);
    }

    #[test]
    fn while_starting_the_scheduler_is_told_to_try_again() {
        assert!(!filtered(args(), &Verdict::Starting).error.is_empty());
    }

    #[test]
    fn no_text_is_a_format_string() {
        let malformed = Verdict::Malformed("50% of it".into());
        let result = filtered(args(), &malformed);
        assert!(!result.failed_and_unresolvable_nodes.unwrap()["a"].contains('%'));
    }
}
