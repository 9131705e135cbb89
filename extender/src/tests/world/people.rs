//! What people do: they make and delete namespaces, blocks, claims and pods, and touch entries.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    cluster::Cluster,
    truth::{ATTACKED, text},
};
use crate::{
    clock,
    testing::{BLOCKS, CLAIMS, DATASET, DATASETS, ENTRIES},
    tests::post,
};

const CHECKPOINTS: &str = "privacyledgercheckpoints";
const PIECES: &str = "privacyledgercheckpointpieces";

impl Cluster {
    pub(super) fn make_namespace(&mut self, name: &str) {
        self.note(&format!("namespace {name} is made"));
        self.server
            .put("namespaces", &json!({"metadata": {"name": name}}));
        self.server.put(
            DATASETS,
            &json!({
                "apiVersion": "privatekube.dev/v1alpha1",
                "kind": "PrivateDataset",
                "metadata": {"namespace": name, "name": DATASET},
                "spec": {"policy": "DPF", "unlocking": {"arrivals": 4}, "composition": "Basic"},
            }),
        );
        self.make_block(name);
    }

    /// Deletes a namespace: at once, or after all that is in it, one by one.
    pub(super) async fn delete_namespace(&mut self, name: &str) {
        self.note(&format!("namespace {name} is deleted"));
        self.count("namespace deleted");
        self.truth.lock().unwrap().deleting = Some(name.to_owned());
        if let Some(mut namespace) = self.server.get("namespaces", name)
            && self.rng.chance(50)
        {
            namespace["metadata"]["deletionTimestamp"] = json!(clock::timestamp().to_string());
            self.server.put("namespaces", &namespace);
            let kinds = ["pods", CLAIMS, BLOCKS, ENTRIES, CHECKPOINTS, PIECES, DATASETS];
            let mut objects: Vec<(&str, String)> = Vec::new();
            for kind in kinds {
                let all = self.server.all(kind).into_iter();
                let inside = all.filter(|object| object["metadata"]["namespace"] == name);
                objects.extend(inside.map(|object| (kind, text(&object["metadata"]["name"]).to_owned())));
            }
            while !objects.is_empty() {
                let which = self.rng.below(objects.len() as u64);
                let (kind, object) = objects.swap_remove(usize::try_from(which).unwrap());
                self.server.delete(kind, &format!("{name}/{object}"));
                if self.rng.chance(20) {
                    sleep(Duration::from_millis(10 << self.rng.below(8))).await;
                }
            }
        }
        self.server.delete("namespaces", name);
        self.truth.lock().unwrap().deleting = None;
        self.note(&format!("namespace {name} is gone"));
        if name == ATTACKED {
            self.taken = None;
        }
    }

    /// Makes a block, often one of a name that there was before.
    pub(super) fn make_block(&mut self, namespace: &str) {
        let name = format!("block-{}", self.rng.below(4));
        if self.server.get(BLOCKS, &format!("{namespace}/{name}")).is_some() {
            return;
        }
        self.note(&format!("block {namespace}/{name} is made"));
        self.server.put(
            BLOCKS,
            &json!({
                "apiVersion": "privatekube.dev/v1alpha1",
                "kind": "PrivateDataBlock",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"dataset": DATASET, "initialBudget": {"epsilon": "10", "delta": "0"}},
            }),
        );
    }

    pub(super) fn epsilon(&mut self) -> &'static str {
        self.rng.pick::<&str>(&["0.5", "1", "2.5", "4", "6", "11"])
    }

    pub(super) fn new_name(&mut self, kind: &str) -> String {
        // A name is sometimes used again.
        if self.rng.chance(80) {
            self.made += 1;
        }
        format!("{kind}-{}", self.made)
    }

    pub(super) fn make_claim(&mut self, namespace: &str) {
        let name = self.new_name("claim");
        if self.server.get(CLAIMS, &format!("{namespace}/{name}")).is_some() {
            return;
        }
        let epsilon = self.epsilon();
        let mut spec = json!({
            "dataset": DATASET,
            "budget": {"epsilon": epsilon, "delta": "0"},
        });
        if self.rng.chance(30) {
            spec["timeout"] = json!("20s");
        }
        if self.rng.chance(20) {
            spec["consume"] = json!({"all": true});
        }
        self.note(&format!("claim {namespace}/{name} of {epsilon} is made"));
        self.server.put(
            CLAIMS,
            &json!({
                "apiVersion": "privatekube.dev/v1alpha1",
                "kind": "PrivacyBudgetClaim",
                "metadata": {"namespace": namespace, "name": name},
                "spec": spec,
            }),
        );
    }

    /// Lets a user make a pod, which an extender's webhook admits and completes.
    pub(super) async fn make_pod(&mut self, namespace: &str) {
        let name = self.new_name("pod");
        if self.server.get("pods", &format!("{namespace}/{name}")).is_some() {
            return;
        }
        let epsilon = self.epsilon();
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "annotations": {
                    "privatekube.dev/dataset": DATASET,
                    "privatekube.dev/epsilon": epsilon,
                    "privatekube.dev/delta": "0",
                    "privatekube.dev/blocks": "all",
                },
            },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "train:1"}],
            },
        });
        let Some(webhooks) = self.some_process().map(|process| process.webhooks.clone()) else {
            return;
        };
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
                "requestResource": {"group": "", "version": "v1", "resource": "pods"},
                "name": name,
                "namespace": namespace,
                "operation": "CREATE",
                "userInfo": {"username": "alice"},
                "object": pod,
                "oldObject": null,
                "dryRun": false,
            },
        });
        let answered = timeout(
            Duration::from_secs(10),
            post(&webhooks, "/webhook/pods", review.to_string()),
        )
        .await;
        let Ok((_, answer)) = answered else {
            self.count("webhook timed out");
            return;
        };
        let response = &answer["response"];
        if response["allowed"] != json!(true) {
            self.count("pod refused");
            self.note(&format!(
                "pod {namespace}/{name} is refused: {}",
                response["status"]["message"]
            ));
            return;
        }
        let patch = response["patch"].as_array().into_iter().flatten();
        let patch: Vec<u8> = patch
            .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
            .collect();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        let exists = |resource: &str, name: &str| self.server.get(resource, name).is_some();
        if exists("pods", &format!("{namespace}/{name}")) || !exists("namespaces", namespace) {
            return;
        }
        self.note(&format!("pod {namespace}/{name} of {epsilon} is made"));
        self.count("pod made");
        self.server.put("pods", &pod);
    }

    pub(super) fn some_object(&mut self, resource: &str, namespace: &str) -> Option<Value> {
        let objects = self.server.all(resource).into_iter();
        let mut objects: Vec<Value> = objects
            .filter(|object| object["metadata"]["namespace"] == namespace)
            .collect();
        if objects.is_empty() {
            return None;
        }
        let which = self.rng.below(objects.len() as u64);
        Some(objects.swap_remove(usize::try_from(which).unwrap()))
    }

    /// Deletes an object. A pod that is on a node, or that a controller still counts, is marked, and gone later.
    pub(super) fn delete_some(&mut self, resource: &str, namespace: &str) {
        let Some(mut object) = self.some_object(resource, namespace) else {
            return;
        };
        let name = format!("{namespace}/{}", text(&object["metadata"]["name"]));
        self.count("object deleted");
        let is_pod = resource == "pods";
        if is_pod && (!object["spec"]["nodeName"].is_null() || self.rng.chance(30)) {
            self.note(&format!("{resource} {name} is marked as deleted"));
            object["metadata"]["deletionTimestamp"] = json!(clock::timestamp().to_string());
            self.server.put(resource, &object);
            return;
        }
        self.note(&format!("{resource} {name} is deleted"));
        self.server.delete(resource, &name);
        if is_pod {
            self.collect_claim_objects();
        }
    }

    pub(super) fn consume_some(&mut self, namespace: &str) {
        let Some(mut object) = self.some_object(CLAIMS, namespace) else {
            return;
        };
        if object["metadata"]["ownerReferences"].is_null() && object["spec"]["consume"].is_null() {
            object["spec"]["consume"] = json!({"all": true});
            let generation = object["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
            self.note(&format!(
                "claim {} is consumed by hand",
                object["metadata"]["name"]
            ));
            self.server.put(CLAIMS, &object);
        }
    }

    /// Somebody deletes or edits the last entry, or puts it back.
    pub(super) fn tamper(&mut self) {
        self.truth.lock().unwrap().tampering = true;
        if let Some(entry) = self.taken.take() {
            let name = format!("{ATTACKED}/{}", text(&entry["metadata"]["name"]));
            let now = self.server.get(ENTRIES, &name);
            if now.is_none_or(|now| now["spec"]["writer"] == "somebody") {
                self.note(&format!("entry {name} is put back"));
                self.server.put(ENTRIES, &entry);
            }
        } else {
            let mut entries = self.server.all(ENTRIES).into_iter();
            let last = entries.rfind(|entry| entry["metadata"]["namespace"] == ATTACKED);
            if let Some(last) = last {
                let name = format!("{ATTACKED}/{}", text(&last["metadata"]["name"]));
                self.count("entry tampered with");
                if self.rng.chance(50) {
                    self.note(&format!("entry {name} is deleted"));
                    self.server.delete(ENTRIES, &name);
                } else {
                    self.note(&format!("entry {name} is edited"));
                    let mut edited = last.clone();
                    edited["spec"]["writer"] = json!("somebody");
                    self.server.put(ENTRIES, &edited);
                }
                self.taken = Some(last);
            }
        }
        self.truth.lock().unwrap().tampering = false;
    }
}
