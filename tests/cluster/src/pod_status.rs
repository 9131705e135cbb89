//! The statuses that the fake kubelet writes to pods, as patches that keep what others wrote.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// How a pod ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeed,
    Fail,
}

impl Outcome {
    fn phase(self) -> &'static str {
        match self {
            Self::Succeed => "Succeeded",
            Self::Fail => "Failed",
        }
    }

    fn exit_code(self) -> i32 {
        match self {
            Self::Succeed => 0,
            Self::Fail => 1,
        }
    }

    fn container_reason(self) -> &'static str {
        match self {
            Self::Succeed => "Completed",
            Self::Fail => "Error",
        }
    }

    fn pod_reason(self) -> &'static str {
        match self {
            Self::Succeed => "PodCompleted",
            Self::Fail => "PodFailed",
        }
    }
}

/// The status of a pod that has been running since `start`.
pub(crate) fn running(pod: &Pod, ip: &str, start: Timestamp) -> Value {
    let now = second(Timestamp::now());
    let start = second(start);
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
    json!({
        // The patch must not apply to a pod that was created again under the same name.
        "metadata": {"uid": pod.metadata.uid},
        "status": {
            "phase": "Running",
            "startTime": start,
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [
                condition("PodReadyToStartContainers"),
                condition("Initialized"),
                condition("ContainersReady"),
                condition("Ready"),
            ],
            "initContainerStatuses": statuses(pod, initial(pod), false, &json!({
                "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": start, "finishedAt": start},
            })),
            "containerStatuses": statuses(pod, main(pod), true, &json!({"running": {"startedAt": start}})),
        },
    })
}

/// The status of a pod that ran since `start` and has ended; `message` is what its containers say at last.
pub(crate) fn ended(pod: &Pod, start: Timestamp, outcome: Outcome, message: Option<&str>) -> Value {
    let now = second(Timestamp::now());
    let condition = |name: &str| json!({"type": name, "status": "False", "reason": outcome.pod_reason(), "lastTransitionTime": now});
    json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {
            "phase": outcome.phase(),
            "conditions": [condition("ContainersReady"), condition("Ready")],
            "containerStatuses": statuses(pod, main(pod), false, &json!({
                "terminated": {
                    "exitCode": outcome.exit_code(),
                    "reason": outcome.container_reason(),
                    "message": message,
                    "startedAt": second(start),
                    "finishedAt": now,
                },
            })),
        },
    })
}

fn main(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

fn initial(pod: &Pod) -> &[Container] {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default()
}

fn statuses(pod: &Pod, containers: &[Container], ready: bool, state: &Value) -> Vec<Value> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let status = |container: &Container| {
        let image = container.image.as_deref().unwrap_or_default();
        json!({
            "name": container.name,
            "image": image,
            "imageID": format!("fake://{image}"),
            "containerID": format!("fake://{uid}/{}", container.name),
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        })
    };
    containers.iter().map(status).collect()
}

/// A time in whole seconds, as Kubernetes' times are.
fn second(time: Timestamp) -> String {
    time.round(jiff::Unit::Second).unwrap_or(time).to_string()
}
