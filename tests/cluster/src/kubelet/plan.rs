//! What the fake kubelet does about a pod, from the pod's spec and annotations, and the words for it in the pod's log.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::pod_status::Outcome;

/// The pod annotation that says how the pod ends: `succeed`, `fail`, or `run`, which lets it run until it is deleted.
/// Without it, the pod succeeds if it says when it ends, or if the cluster's pods end by themselves
/// ([`Config::pods_end_after`](crate::Config::pods_end_after)).
pub const OUTCOME_ANNOTATION: &str = "fake-kubelet.privatekube.dev/outcome";
/// The pod annotation that says how long after its start the pod ends, such as `2s` or `300ms`. A pod that only says
/// how it ends, does so at once.
pub const AFTER_ANNOTATION: &str = "fake-kubelet.privatekube.dev/after";
/// The pod annotation that lets the command of the pod's first container run, if it is `true`: with the pod's real
/// environment and downward API files, and without a container. The pod ends as the program ends; what the program
/// wrote is the container's log, and the end of it the message of its termination. Not with the restart policy
/// `Always`.
pub const RUN_ANNOTATION: &str = "fake-kubelet.privatekube.dev/run";

/// What the kubelet does about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Run,
    RunThen(Outcome, SignedDuration),
    /// Run the pod's program.
    Execute,
    Delete,
}

/// What to do about a pod; `None`: nothing for now. Pods that say nothing else succeed `end_after` their start.
pub(super) fn plan(pod: &Pod, nodes: &BTreeSet<String>, end_after: Option<SignedDuration>) -> Option<Plan> {
    let node = pod.spec.as_ref()?.node_name.as_ref()?;
    if !nodes.contains(node) {
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Plan::Delete);
    }
    if has_ended(pod) {
        return None;
    }
    Some(match as_annotated(pod, end_after) {
        Ok(plan) => plan,
        Err(mistake) => {
            tracing::warn!("pod {}: {mistake}", pod.name_any());
            Plan::Run
        }
    })
}

/// Whether a pod has succeeded or failed.
pub(super) fn has_ended(pod: &Pod) -> bool {
    matches!(super::phase(pod), "Succeeded" | "Failed")
}

/// What is to become of a pod that runs; the error names an annotation that can't be used.
fn as_annotated(pod: &Pod, end_after: Option<SignedDuration>) -> Result<Plan, String> {
    let annotation = |name: &str| pod.annotations().get(name).map(String::as_str);
    let restarts = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if restarts.unwrap_or("Always") == "Always" {
        let given = [RUN_ANNOTATION, OUTCOME_ANNOTATION, AFTER_ANNOTATION];
        return match given.into_iter().find(|name| annotation(name).is_some()) {
            None => Ok(Plan::Run),
            Some(name) => Err(format!("{name} has no effect with restartPolicy Always")),
        };
    }
    match annotation(RUN_ANNOTATION) {
        Some("true") => return Ok(Plan::Execute),
        None | Some("false") => {}
        Some(other) => return Err(format!("{RUN_ANNOTATION} is {other:?}, not true or false")),
    }
    let after = match annotation(AFTER_ANNOTATION).map(str::parse) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(error)) => {
            return Err(format!("{AFTER_ANNOTATION} is no duration such as 2s: {error}"));
        }
    };
    match annotation(OUTCOME_ANNOTATION) {
        Some("succeed") => Ok(Plan::RunThen(Outcome::Succeed, after.unwrap_or_default())),
        Some("fail") => Ok(Plan::RunThen(Outcome::Fail, after.unwrap_or_default())),
        Some("run") => Ok(Plan::Run),
        Some(other) => Err(format!(
            "{OUTCOME_ANNOTATION} is {other:?}, not succeed, fail or run"
        )),
        None => Ok(after
            .or(end_after)
            .map_or(Plan::Run, |after| Plan::RunThen(Outcome::Succeed, after))),
    }
}

/// What the log of a container says of which no program runs: that it only seems to run, what becomes of the pod, and
/// what could be done about that.
pub(super) fn in_words(pod: &Pod, container: &str, end_after: Option<SignedDuration>) -> String {
    let ends = match as_annotated(pod, end_after) {
        Ok(Plan::RunThen(Outcome::Succeed, after)) => format!("The pod succeeds {after:#} after its start."),
        Ok(Plan::RunThen(Outcome::Fail, after)) => format!("The pod fails {after:#} after its start."),
        Ok(Plan::Execute) => {
            "The command of the pod's first container runs, and the pod ends as that ends.".to_owned()
        }
        Ok(Plan::Run | Plan::Delete) => "The pod runs until it is deleted.".to_owned(),
        Err(mistake) => format!("The pod runs until it is deleted, since {mistake}."),
    };
    format!(
        "The nodes of this cluster are fake: container {container} only seems to run. {ends}\n\
         To run the command of a pod's first container as a process of this machine, annotate the pod with \
         {RUN_ANNOTATION}: \"true\"; to end the pod, with {OUTCOME_ANNOTATION}: succeed or fail (or run), and \
         {AFTER_ANNOTATION}: 30s. These need restartPolicy Never or OnFailure.\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LATER: SignedDuration = SignedDuration::from_secs(10);

    fn planned(annotations: &serde_json::Value, end_after: Option<SignedDuration>) -> Option<Plan> {
        let pod = json!({
            "metadata": {"name": "p", "annotations": annotations},
            "spec": {"nodeName": "n", "restartPolicy": "Never", "containers": []},
        });
        plan(
            &serde_json::from_value(pod).unwrap(),
            &["n".to_owned()].into(),
            end_after,
        )
    }

    #[test]
    fn a_pod_ends_as_it_says_and_else_as_the_cluster_says() {
        let succeed = |after| Some(Plan::RunThen(Outcome::Succeed, after));
        assert_eq!(planned(&json!({}), None), Some(Plan::Run));
        assert_eq!(planned(&json!({}), Some(LATER)), succeed(LATER));
        let after = json!({AFTER_ANNOTATION: "2s"});
        assert_eq!(
            planned(&after, Some(LATER)),
            succeed(SignedDuration::from_secs(2))
        );
        let run = json!({OUTCOME_ANNOTATION: "run"});
        assert_eq!(planned(&run, Some(LATER)), Some(Plan::Run));
        let fail = json!({OUTCOME_ANNOTATION: "fail"});
        let at_once = Plan::RunThen(Outcome::Fail, SignedDuration::ZERO);
        assert_eq!(planned(&fail, Some(LATER)), Some(at_once));
    }

    #[test]
    fn the_log_names_an_annotation_that_has_no_effect() {
        let pod = |restarts: &str, name: &str, value: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "annotations": {name: value}},
                "spec": {"nodeName": "n", "restartPolicy": restarts, "containers": []},
            }))
            .unwrap()
        };
        for (pod, says) in [
            (
                pod("Never", OUTCOME_ANNOTATION, "succeeds"),
                "is \"succeeds\", not succeed, fail or run",
            ),
            (
                pod("Never", RUN_ANNOTATION, "yes"),
                "is \"yes\", not true or false",
            ),
            (
                pod("Never", AFTER_ANNOTATION, "soon"),
                "is no duration such as 2s",
            ),
            (
                pod("Always", RUN_ANNOTATION, "true"),
                "has no effect with restartPolicy Always",
            ),
        ] {
            let text = in_words(&pod, "main", Some(LATER));
            assert!(text.contains(says), "{text}");
        }
        let text = in_words(&pod("Never", "example.com/a", "b"), "main", Some(LATER));
        assert!(
            text.contains("container main") && text.contains("succeeds 10s after"),
            "{text}"
        );
    }
}
