//! Serves the scheduler's verbs. `filter` and `preempt` only read the view; `bind` consumes the pod's claims first, and creates
//! the Binding then.

mod grant;
mod metrics;
pub mod protocol;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::post};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{Api, Error, api::ObjectMeta};
use privatekube_api::{
    BudgetSource, ClaimPhase, DatasetKey, GrantAnnotations, PodKey, SubjectKind, excerpt, node_of,
};
use privatekube_kubernetes::{plain, post_params};
use privatekube_policy::ClaimId;
use privatekube_view::{ClaimView, Verdict};
use protocol::{
    ExtenderArgs, ExtenderBindingArgs, ExtenderBindingResult, ExtenderFilterResult, ExtenderPreemptionArgs,
    ExtenderPreemptionResult, MetaVictims, node_names,
};
use tokio::time::timeout;
use tracing::{debug, info, warn};

pub use self::metrics::SchedulerMetrics;
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};
use crate::{
    bookkeeper::Message,
    json_body::{JsonBody, MOST_MESSAGE},
    leadership::NotLeading,
    registry::Registry,
    writers::StatusKey,
};

/// How long a bind may take: less than the scheduler's `httpTimeout` of 10 s, so that the scheduler hears how it ended.
const BIND_LIMIT: Duration = Duration::from_secs(8);

/// The longest message of `filter`, in bytes. The answer has one for each node.
const MOST_NODE_MESSAGE: usize = 512;

/// Routes the scheduler's verbs below `/scheduler`.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/scheduler/filter", post(filter))
        .route("/scheduler/bind", post(bind))
        .route("/scheduler/preempt", post(preempt))
        .with_state(registry)
}

async fn filter(
    State(registry): State<Arc<Registry>>,
    JsonBody(args): JsonBody<ExtenderArgs>,
) -> Json<ExtenderFilterResult> {
    let began = Instant::now();
    let (outcome, result) = match args {
        Ok(args) => {
            if let Err(why) = registry.handles().leadership.check() {
                let result = ExtenderFilterResult {
                    error: escape_format(&why.to_string(), MOST_MESSAGE),
                    ..Default::default()
                };
                return counted(&registry, "filter", why.label(), began, result);
            }
            let verdict = verdict(&registry, &args.pod);
            let pod = PodKey::of(&args.pod).to_string();
            debug!(pod = %excerpt(&pod, MOST_MESSAGE), outcome = verdict.label(), "filter");
            (verdict.label(), filter_result(args, &verdict))
        }
        Err(problem) => (
            "unreadable",
            ExtenderFilterResult {
                error: escape_format(&problem, MOST_MESSAGE),
                ..Default::default()
            },
        ),
    };
    counted(&registry, "filter", outcome, began, result)
}

/// Counts an answer.
fn counted<T>(
    registry: &Registry,
    verb: &'static str,
    outcome: &'static str,
    began: Instant,
    answer: T,
) -> Json<T> {
    let metrics = &registry.handles().metrics.scheduler;
    metrics.count(verb, outcome, began.elapsed());
    Json(answer)
}

/// The verdict on a pod as the scheduler has it.
fn verdict(registry: &Registry, pod: &Pod) -> Verdict {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Verdict::of(&BudgetSource::of(pod), namespace, &registry.handles().view)
}

/// Every node if the pod's budget is granted, else none: budget belongs to no node, so nothing on a node would help.
fn filter_result(args: ExtenderArgs, verdict: &Verdict) -> ExtenderFilterResult {
    match verdict {
        Verdict::Granted(_) => ExtenderFilterResult {
            nodes: args.nodes.and_then(|nodes| serde_json::to_value(nodes).ok()),
            node_names: args.node_names,
            ..Default::default()
        },
        // An error makes the scheduler try the pod again by itself. Nothing else would when the view is complete, or the
        // dataset's ledger is open again.
        Verdict::Starting | Verdict::Stopped { .. } => ExtenderFilterResult {
            error: escape_format(&verdict.to_string(), MOST_MESSAGE),
            ..Default::default()
        },
        _ => {
            let message = escape_format(&verdict.to_string(), MOST_NODE_MESSAGE);
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

/// Replaces `%`, since the scheduler uses our texts as format strings, and cuts what is longer than `most` bytes.
fn escape_format(text: &str, most: usize) -> String {
    excerpt(&text.replace('%', " percent"), most).into_owned()
}

async fn preempt(
    State(registry): State<Arc<Registry>>,
    JsonBody(args): JsonBody<ExtenderPreemptionArgs>,
) -> Json<ExtenderPreemptionResult> {
    let began = Instant::now();
    let (outcome, candidates) = match args {
        Err(_) => ("unreadable", BTreeMap::new()),
        Ok(args) => {
            if let Err(why) = registry.handles().leadership.check() {
                let nowhere = ExtenderPreemptionResult {
                    node_name_to_meta_victims: Some(BTreeMap::new()),
                };
                return counted(&registry, "preempt", why.label(), began, nowhere);
            }
            let verdict = verdict(&registry, &args.pod);
            // No pod is evicted for one that could not run anyway.
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
    let result = ExtenderPreemptionResult {
        node_name_to_meta_victims: Some(candidates),
    };
    counted(&registry, "preempt", outcome, began, result)
}

async fn bind(
    State(registry): State<Arc<Registry>>,
    JsonBody(args): JsonBody<ExtenderBindingArgs>,
) -> Json<ExtenderBindingResult> {
    let began = Instant::now();
    let args = args.and_then(|args| args.check_names().map(|()| args));
    let outcome = match args {
        Err(problem) => Outcome::Failed(problem),
        // A task of its own finishes what was begun, even if the scheduler closes the connection.
        Ok(args) => {
            let work = tokio::spawn({
                let (registry, args) = (Arc::clone(&registry), args.clone());
                async move { bind_pod(&registry, &args).await }
            });
            let outcome = match timeout(BIND_LIMIT, work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => Outcome::Failed(error.to_string()),
                Err(_) => Outcome::Failed(format!(
                    "the pod was not bound within {BIND_LIMIT:?}, it is tried again"
                )),
            };
            let outcome = outcome.cut();
            let pod = args.pod();
            match &outcome {
                Outcome::Bound => info!(%pod, uid = args.pod_uid, node = args.node, "a pod is bound"),
                other => {
                    warn!(%pod, uid = args.pod_uid, node = args.node, outcome = ?other, "a pod is not bound");
                }
            }
            outcome
        }
    };
    let label = outcome.label();
    let error = match outcome {
        Outcome::Bound => String::new(),
        Outcome::Refused(why) | Outcome::Gone(why) | Outcome::Failed(why) => {
            escape_format(&why, MOST_MESSAGE)
        }
        Outcome::NotLeading(why) => escape_format(&why.to_string(), MOST_MESSAGE),
    };
    counted(&registry, "bind", label, began, ExtenderBindingResult { error })
}

/// How a binding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The pod is on the node.
    Bound,
    /// The pod may not run.
    Refused(String),
    /// The pod can never be bound any more, so what was consumed for it is released.
    Gone(String),
    /// The outcome is unknown, or another attempt may succeed.
    Failed(String),
    /// This process doesn't lead.
    NotLeading(NotLeading),
}

impl Outcome {
    /// The same with a text of at most [`MOST_MESSAGE`] bytes: errors of the API server may quote what a user wrote.
    fn cut(self) -> Self {
        let cut = |why: &str| excerpt(why, MOST_MESSAGE).into_owned();
        match self {
            Self::Bound => Self::Bound,
            Self::NotLeading(why) => Self::NotLeading(why),
            Self::Refused(why) => Self::Refused(cut(&why)),
            Self::Gone(why) => Self::Gone(cut(&why)),
            Self::Failed(why) => Self::Failed(cut(&why)),
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Refused(_) => "refused",
            Self::Gone(_) => "gone",
            Self::Failed(_) => "failed",
            Self::NotLeading(why) => why.label(),
        }
    }
}

async fn bind_pod(registry: &Registry, args: &ExtenderBindingArgs) -> Outcome {
    let handles = registry.handles();
    if let Err(why) = handles.leadership.check() {
        return Outcome::NotLeading(why);
    }
    let api: Api<Pod> = Api::namespaced(handles.client.clone(), &args.pod_namespace);
    let pod = match read_pod(&api, args).await {
        Ok(pod) => pod,
        Err(why) => return Outcome::Failed(why),
    };
    let source = BudgetSource::of(&pod);
    let verdict = || Verdict::of(&source, &args.pod_namespace, &handles.view);
    let claims = match verdict() {
        Verdict::Granted(claims) => claims,
        verdict @ (Verdict::Starting | Verdict::Stopped { .. }) => {
            return Outcome::Failed(verdict.to_string());
        }
        verdict => return Outcome::Refused(verdict.to_string()),
    };
    let requested = match grant::requested_budgets(&handles.client, &pod, &claims).await {
        Ok(requested) => requested,
        Err(why) => return Outcome::Failed(why),
    };
    // Before anything is consumed: a pod that can't be told what it has is never charged.
    let annotations = match grant::annotations(&pod, &claims, &requested, &handles.view) {
        Ok(annotations) => annotations,
        Err(why) => return Outcome::Refused(why.to_string()),
    };
    if let Err(why) = grant::check_references(&handles.client, &annotations).await {
        for claim in &claims {
            handles.statuses.write_first(StatusKey::Claim(claim.id.clone()));
        }
        return Outcome::Failed(why);
    }
    let consumed = consume_all(registry, &claims);
    #[cfg(test)]
    let consumed = async {
        if planted::is(Planted::BindsBeforeCommit) {
            return Ok(());
        }
        consumed.await
    };
    if let Err(error) = consumed.await {
        return Outcome::Failed(error);
    }
    // Something may have been released until the claims were consumed, and nothing can be any more.
    let claims = match verdict() {
        Verdict::Granted(claims) => claims,
        verdict => return Outcome::Refused(verdict.to_string()),
    };
    let annotations = match grant::annotations(&pod, &claims, &requested, &handles.view) {
        Ok(annotations) => annotations,
        Err(why) => return Outcome::Refused(why.to_string()),
    };
    let binding = binding(args, annotations);
    let answer: Result<serde_json::Value, Error> = api
        .create_subresource("binding", &args.pod_name, &post_params(), &binding)
        .await;
    handles.metrics.writers.count_write("binding", &answer);
    let Err(error) = answer else {
        return Outcome::Bound;
    };
    let outcome = after_refusal(&api, args, &error).await;
    if let Outcome::Gone(_) = &outcome {
        never_ran(registry, &claims);
    }
    outcome
}

/// Reads the pod that is to be bound as it is now: the watch may be behind, and doesn't keep the annotations beside which the
/// grant has to fit.
async fn read_pod(api: &Api<Pod>, args: &ExtenderBindingArgs) -> Result<Pod, String> {
    match api.get_opt(&args.pod_name).await {
        Ok(Some(pod)) if pod.metadata.uid.as_deref() == Some(&args.pod_uid) => Ok(pod),
        Ok(_) => Err("the pod is gone".to_owned()),
        Err(error) => Err(plain(&error)),
    }
}

/// The Binding of a pod to a node, which carries the pod's grant.
fn binding(args: &ExtenderBindingArgs, annotations: GrantAnnotations) -> Binding {
    Binding {
        metadata: ObjectMeta {
            name: Some(args.pod_name.clone()),
            namespace: Some(args.pod_namespace.clone()),
            uid: Some(args.pod_uid.clone()),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(args.node.clone()),
            ..ObjectReference::default()
        },
    }
}

/// Consumes a pod's claims that aren't consumed yet: those of each dataset together or not at all. Datasets have ledgers of their
/// own, so claims on several are consumed one dataset after the other.
async fn consume_all(registry: &Registry, claims: &[Arc<ClaimView>]) -> Result<(), String> {
    let mut granted: BTreeMap<&DatasetKey, BTreeSet<ClaimId>> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.phase != ClaimPhase::Consumed) {
        granted
            .entry(&claim.dataset)
            .or_default()
            .insert(claim.id.clone());
    }
    for (dataset, claims) in granted {
        let consumed = registry.consume_all(dataset, claims.into_iter().collect()).await;
        consumed.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Finds out how a Binding ended that the API server did not confirm.
async fn after_refusal(api: &Api<Pod>, args: &ExtenderBindingArgs, error: &Error) -> Outcome {
    let Ok(pod) = api.get_opt(&args.pod_name).await else {
        return Outcome::Failed(plain(error));
    };
    let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(&args.pod_uid)) else {
        // It may have been bound before it was deleted, by an attempt whose answer was lost. The watch knows how it ended.
        return Outcome::Failed("the pod is gone".to_owned());
    };
    match node_of(&pod) {
        #[cfg(test)]
        Some(_) if planted::is(Planted::TakesLostBindForRefusal) => Outcome::Gone("not bound".to_owned()),
        Some(node) if node == args.node => Outcome::Bound,
        Some(node) => Outcome::Failed(format!("the pod is on node {node} already")),
        // A deletion is never undone, and no pod that is being deleted can be bound.
        None if pod.metadata.deletion_timestamp.is_some() => {
            Outcome::Gone("the pod is being deleted".to_owned())
        }
        None => Outcome::Failed(plain(error)),
    }
}

/// Releases what was consumed for a pod that provably never ran. A claim object, which other pods may share, stays consumed.
fn never_ran(registry: &Registry, claims: &[Arc<ClaimView>]) {
    for claim in claims {
        if claim
            .subject()
            .is_some_and(|subject| subject.kind == SubjectKind::Pod)
        {
            registry.send(&claim.dataset, Message::NeverRan(claim.id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ExtenderArgs {
        ExtenderArgs {
            node_names: Some(vec!["a".into(), "b".into()]),
            ..ExtenderArgs::default()
        }
    }

    #[test]
    fn a_granted_pod_may_go_to_every_node() {
        let result = filter_result(args(), &Verdict::Granted(Vec::new()));
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
            phase: ClaimPhase::Waiting,
        };
        let result = filter_result(args(), &held);
        assert_eq!(result.node_names, Some(Vec::new()));
        let failed = result.failed_and_unresolvable_nodes.unwrap();
        assert_eq!(failed.len(), 2);
        assert_eq!(failed["a"], failed["b"]);
        assert_eq!(result.failed_nodes, None);
    }

    #[test]
    fn while_starting_the_scheduler_is_told_to_try_again() {
        assert!(!filter_result(args(), &Verdict::Starting).error.is_empty());
    }

    #[test]
    fn no_text_is_a_format_string() {
        let malformed = Verdict::Malformed("50% of it".into());
        let result = filter_result(args(), &malformed);
        assert!(!result.failed_and_unresolvable_nodes.unwrap()["a"].contains('%'));
    }
}
