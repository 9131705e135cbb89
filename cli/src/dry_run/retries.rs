//! How many pods a workload may make, each of which is a request of its own.

use serde::Serialize;
use serde_json::Value;

/// How often a Job tries again that doesn't say.
const DEFAULT_BACKOFF_LIMIT: u64 = 6;

/// The pods of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pods {
    /// How many there are if none fails.
    pub(super) at_least: u64,
    /// How many there may be; `None` if there is no limit.
    pub(super) at_most: Option<u64>,
    /// Why so many, and what bounds them.
    pub(super) why: String,
}

/// The pods of an object of a kind; `None` of those that make one pod, or none.
pub(super) fn pods(kind: &str, spec: &Value) -> Option<Pods> {
    match kind {
        "Job" => Some(of_job(spec, "")),
        "CronJob" => Some(of_job(&spec["jobTemplate"]["spec"], " for each run")),
        "DaemonSet" => Some(Pods {
            at_least: 1,
            at_most: None,
            why: "one on each node, and another whenever one is replaced".to_owned(),
        }),
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => Some(Pods {
            at_least: spec["replicas"].as_u64().unwrap_or(1),
            at_most: None,
            why: "spec.replicas, all of them again at each rollout, and another whenever one is replaced"
                .to_owned(),
        }),
        _ => None,
    }
}

fn of_job(spec: &Value, each: &str) -> Pods {
    let number = |field: &str| spec[field].as_u64();
    let completions = number("completions")
        .or(number("parallelism"))
        .unwrap_or(1)
        .max(1);
    let ignores = spec["podFailurePolicy"]["rules"]
        .as_array()
        .is_some_and(|rules| rules.iter().any(|rule| rule["action"] == "Ignore"));
    if ignores {
        return Pods {
            at_least: completions,
            at_most: None,
            why: format!(
                "podFailurePolicy ignores some failures, and each pod that replaces one pays again{each}"
            ),
        };
    }
    if let Some(limit) = number("backoffLimitPerIndex") {
        return Pods {
            at_least: completions,
            at_most: Some(completions.saturating_mul(limit.saturating_add(1))),
            why: format!("backoffLimitPerIndex is {limit}: each index may be tried again as often{each}"),
        };
    }
    let (limit, says) = match number("backoffLimit") {
        Some(limit) => (limit, format!("backoffLimit is {limit}")),
        None => (
            DEFAULT_BACKOFF_LIMIT,
            format!("backoffLimit is {DEFAULT_BACKOFF_LIMIT}, the default"),
        ),
    };
    let again = if limit == 0 {
        "a pod that fails is not replaced"
    } else {
        "each pod that fails is replaced, and pays again"
    };
    Pods {
        at_least: completions,
        at_most: Some(completions.saturating_add(limit)),
        why: format!("{says}: {again}{each}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn retries_of_jobs_are_counted() {
        for (spec, least, most) in [
            (json!({}), 1, Some(7)),
            (json!({"backoffLimit": 0}), 1, Some(1)),
            (json!({"completions": 3, "backoffLimit": 2}), 3, Some(5)),
            (
                json!({"completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1}),
                3,
                Some(6),
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
                1,
                None,
            ),
        ] {
            let pods = pods("Job", &spec).unwrap();
            assert_eq!((pods.at_least, pods.at_most), (least, most), "{spec}");
        }
        assert_eq!(pods("Pod", &json!({})), None);
    }
}
