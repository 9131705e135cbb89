//! The JSON types of kube-scheduler's extender protocol, `k8s.io/kube-scheduler/extender/v1`.
//!
//! The Go types have no JSON tags, so field names are written as in Go. Lists may be `null`. Every answer is sent with
//! status 200, because the scheduler ignores the body of any other.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::core::ObjectMeta;
use privatekube_api::{PodKey, excerpt, is_label_name, is_object_name};
use serde::{Deserialize, Deserializer, Serialize};

/// The most bytes of a name that a message quotes: enough for every valid name.
const MOST_NAME: usize = 253;

/// What the scheduler sends to `filter`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderArgs {
    /// The pod to place: its name, namespace, UID and annotations.
    #[serde(deserialize_with = "pod_metadata")]
    pub pod: Pod,
    /// Whole nodes, from a scheduler that is not configured with `nodeCacheCapable`.
    #[serde(default)]
    pub nodes: Option<NodeList>,
    /// Names of nodes, from a scheduler configured with `nodeCacheCapable`.
    #[serde(default)]
    pub node_names: Option<Vec<String>>,
}

/// Reads the fields of a pod that a verdict needs. A whole pod can take a hundred times as much memory as its text.
fn pod_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pod, D::Error> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let Object { metadata } = Object::deserialize(deserializer)?;
    Ok(Pod {
        metadata: ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        },
        ..Pod::default()
    })
}

/// A list of nodes as Go writes it: its items may be `null`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NodeList {
    /// The nodes.
    #[serde(default)]
    pub items: Option<Vec<Identified>>,
}

/// A node or pod of which only the name and UID are kept. A whole one can take a hundred times as much memory as its text. The
/// scheduler reads no more of the nodes in an answer either.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Identified {
    /// Its name and UID.
    #[serde(default)]
    pub metadata: Identity,
}

/// A node's or pod's name and UID.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Identity {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// The answer to `filter`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderFilterResult {
    /// Nodes that fit, if the scheduler sent whole nodes.
    pub nodes: Option<serde_json::Value>,
    /// Names of nodes that fit, if the scheduler sent names.
    pub node_names: Option<Vec<String>>,
    /// Nodes on which the pod would fit after a preemption. Never used, because no eviction yields privacy budget.
    pub failed_nodes: Option<BTreeMap<String, String>>,
    /// Nodes on which the pod wouldn't fit after a preemption either, with the reason.
    pub failed_and_unresolvable_nodes: Option<BTreeMap<String, String>>,
    /// If not empty, the scheduler tries the pod again after a back-off. The scheduler uses it as a Go format string,
    /// so it must not have a `%`.
    pub error: String,
}

/// What the scheduler sends to `bind`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderBindingArgs {
    /// The pod's name.
    pub pod_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's UID.
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    /// The node that the scheduler chose.
    pub node: String,
}

impl ExtenderBindingArgs {
    /// Refuses names that no object can have, before they become parts of paths.
    pub fn check_names(&self) -> Result<(), String> {
        for (field, text, is_name) in [
            (
                "PodNamespace",
                &self.pod_namespace,
                is_label_name as fn(&str) -> bool,
            ),
            ("PodName", &self.pod_name, is_object_name),
            ("Node", &self.node, is_object_name),
        ] {
            if !is_name(text) {
                return Err(format!(
                    "{field} {:?} is not the name of an object",
                    excerpt(text, MOST_NAME)
                ));
            }
        }
        if self.pod_uid.len() > MOST_NAME {
            return Err("PodUID is longer than any UID".to_owned());
        }
        Ok(())
    }

    /// The pod's namespace and name.
    #[must_use]
    pub fn pod(&self) -> PodKey {
        PodKey {
            namespace: self.pod_namespace.clone(),
            name: self.pod_name.clone(),
        }
    }
}

/// The answer to `bind`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderBindingResult {
    /// Empty if the pod is bound. The scheduler uses it as a Go format string, so it must not have a `%`.
    pub error: String,
}

/// What the scheduler sends to `preempt`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderPreemptionArgs {
    /// The pod to place: its name, namespace, UID and annotations.
    #[serde(deserialize_with = "pod_metadata")]
    pub pod: Pod,
    /// Whole victims by node, from a scheduler that is not configured with `nodeCacheCapable`.
    #[serde(default)]
    pub node_name_to_victims: Option<BTreeMap<String, Victims>>,
    /// Victims' UIDs by node, from a scheduler configured with `nodeCacheCapable`.
    #[serde(default)]
    pub node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

/// Pods that would be evicted from a node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Victims {
    /// The pods.
    pub pods: Option<Vec<Identified>>,
    /// How many PodDisruptionBudgets the evictions violate.
    #[serde(rename = "NumPDBViolations")]
    pub num_pdb_violations: i64,
}

/// Pods that would be evicted from a node, by UID.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetaVictims {
    /// The pods.
    pub pods: Option<Vec<MetaPod>>,
    /// How many PodDisruptionBudgets the evictions violate.
    #[serde(rename = "NumPDBViolations")]
    pub num_pdb_violations: i64,
}

/// A pod by UID.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct MetaPod {
    /// The pod's UID.
    #[serde(rename = "UID")]
    pub uid: String,
}

/// The answer to `preempt`: it has UIDs also if the scheduler sent whole victims.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtenderPreemptionResult {
    /// The nodes that remain candidates, with their victims. An empty map prevents the preemption.
    pub node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

impl From<Victims> for MetaVictims {
    fn from(victims: Victims) -> Self {
        let uid = |pod: Identified| MetaPod {
            uid: pod.metadata.uid.unwrap_or_default(),
        };
        Self {
            pods: victims.pods.map(|pods| pods.into_iter().map(uid).collect()),
            num_pdb_violations: victims.num_pdb_violations,
        }
    }
}

/// The names of the nodes that the scheduler sent, in its order, from whichever list it sent.
#[must_use]
pub fn node_names(args: &ExtenderArgs) -> Vec<String> {
    match (&args.node_names, &args.nodes) {
        (Some(names), _) => names.clone(),
        (None, Some(nodes)) => nodes
            .items
            .iter()
            .flatten()
            .filter_map(|node| node.metadata.name.clone())
            .collect(),
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that Go's `encoding/json` writes for these values.
    const FILTER_BY_NAME: &str = r#"{"Pod":{"metadata":{"name":"train","namespace":"data","uid":"u1"},"spec":{"containers":null},"status":{}},"Nodes":null,"NodeNames":["node-0","node-1"]}"#;
    const FILTER_BY_NODE: &str = r#"{"Pod":{"metadata":{"name":"train"},"spec":{"containers":null},"status":{}},"Nodes":{"metadata":{},"items":[{"metadata":{"name":"node-0"},"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}]},"NodeNames":null}"#;
    const BIND: &str = r#"{"PodName":"train","PodNamespace":"data","PodUID":"u1","Node":"node-0"}"#;
    const PREEMPT: &str = r#"{"Pod":{"metadata":{"name":"train"},"spec":{"containers":null},"status":{}},"NodeNameToVictims":null,"NodeNameToMetaVictims":{"node-0":{"Pods":[{"UID":"v1"}],"NumPDBViolations":1}}}"#;

    #[test]
    fn filter_arguments_are_read_in_both_forms() {
        let by_name: ExtenderArgs = serde_json::from_str(FILTER_BY_NAME).unwrap();
        assert_eq!(node_names(&by_name), ["node-0", "node-1"]);
        assert_eq!(by_name.pod.metadata.uid.as_deref(), Some("u1"));
        let by_node: ExtenderArgs = serde_json::from_str(FILTER_BY_NODE).unwrap();
        assert_eq!(node_names(&by_node), ["node-0"]);
        // The scheduler looks the nodes of an answer up by name.
        assert_eq!(
            serde_json::to_string(&by_node.nodes).unwrap(),
            r#"{"items":[{"metadata":{"name":"node-0"}}]}"#
        );
        let nothing: ExtenderArgs = serde_json::from_str(
            r#"{"Pod":{"metadata":{}},"Nodes":{"metadata":{},"items":null},"NodeNames":null}"#,
        )
        .unwrap();
        assert!(node_names(&nothing).is_empty());
    }

    #[test]
    fn bind_arguments_are_byte_for_byte_what_the_scheduler_sends() {
        let args: ExtenderBindingArgs = serde_json::from_str(BIND).unwrap();
        assert_eq!(args.pod_uid, "u1");
        assert_eq!(serde_json::to_string(&args).unwrap(), BIND);
    }

    #[test]
    fn preemption_arguments_are_read_and_answered_with_uids() {
        let args: ExtenderPreemptionArgs = serde_json::from_str(PREEMPT).unwrap();
        let result = ExtenderPreemptionResult {
            node_name_to_meta_victims: args.node_name_to_meta_victims,
        };
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"NodeNameToMetaVictims":{"node-0":{"Pods":[{"UID":"v1"}],"NumPDBViolations":1}}}"#
        );
        let whole: Victims = serde_json::from_str(
            r#"{"Pods":[{"metadata":{"name":"v","uid":"v1"},"spec":{"containers":null},"status":{}}],"NumPDBViolations":0}"#,
        )
        .unwrap();
        let meta = MetaVictims::from(whole);
        assert_eq!(
            serde_json::to_string(&meta).unwrap(),
            r#"{"Pods":[{"UID":"v1"}],"NumPDBViolations":0}"#
        );
    }

    #[test]
    fn answers_are_byte_for_byte_what_the_scheduler_expects() {
        let empty = ExtenderFilterResult::default();
        assert_eq!(
            serde_json::to_string(&empty).unwrap(),
            r#"{"Nodes":null,"NodeNames":null,"FailedNodes":null,"FailedAndUnresolvableNodes":null,"Error":""}"#
        );
        let refused = ExtenderFilterResult {
            node_names: Some(Vec::new()),
            failed_and_unresolvable_nodes: Some(BTreeMap::from([("node-0".into(), "waits".into())])),
            ..ExtenderFilterResult::default()
        };
        assert_eq!(
            serde_json::to_string(&refused).unwrap(),
            r#"{"Nodes":null,"NodeNames":[],"FailedNodes":null,"FailedAndUnresolvableNodes":{"node-0":"waits"},"Error":""}"#
        );
        assert_eq!(
            serde_json::to_string(&ExtenderBindingResult::default()).unwrap(),
            r#"{"Error":""}"#
        );
    }
}
