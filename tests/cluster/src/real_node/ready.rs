//! When pods can run on the real node.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, NodeCondition, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

use super::NODE_NAME;

/// When the node's kubelet last said how it is; `None` if it never did.
pub(crate) async fn last_heartbeat(client: &Client) -> Result<Option<Time>> {
    let node = Api::<Node>::all(client.clone()).get_opt(NODE_NAME).await;
    let node = node.context("can't read the node")?;
    Ok(node
        .as_ref()
        .and_then(ready_condition)
        .and_then(|ready| ready.last_heartbeat_time.clone()))
}

/// Waits until pods can run: the node is ready, by a heartbeat after `before`, and the namespace `default` has its service
/// account.
pub(crate) async fn until_pods_can_run(client: &Client, before: Option<&Time>) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    await_condition(nodes, NODE_NAME, |node: Option<&Node>| {
        node.is_some_and(|node| is_ready(node, before))
    })
    .await?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    await_condition(accounts, "default", |account: Option<&ServiceAccount>| {
        account.is_some()
    })
    .await?;
    Ok(())
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// Whether a node is ready since `before`, and keeps no pods away.
fn is_ready(node: &Node, before: Option<&Time>) -> bool {
    let is_ready = ready_condition(node)
        .is_some_and(|ready| ready.status == "True" && ready.last_heartbeat_time.as_ref() != before);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    is_ready && taints.is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_ready_by_its_own_word_of_now_and_without_taints() {
        let node = |status: &str, taints: serde_json::Value| -> Node {
            let ready =
                json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:00:10Z"});
            let node = json!({"metadata": {}, "spec": {"taints": taints}, "status": {"conditions": [ready]}});
            serde_json::from_value(node).unwrap()
        };
        let now =
            ready_condition(&node("True", json!([]))).and_then(|ready| ready.last_heartbeat_time.clone());
        assert!(is_ready(&node("True", json!([])), None));
        assert!(!is_ready(&node("True", json!([])), now.as_ref()));
        assert!(!is_ready(&node("Unknown", json!([])), None));
        let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        assert!(!is_ready(&node("True", taint), None));
    }
}
