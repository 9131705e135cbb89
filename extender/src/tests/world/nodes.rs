//! The other parts of a cluster: the scheduler, the kubelet, and the garbage collector.

use std::{sync::Arc, time::Duration};

use axum::Router;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{cluster::Cluster, faults::SharedFaults, truth::text};
use crate::{testing::CLAIMS, tests::post};

impl Cluster {
    /// Deletes the claim objects of pods that are gone, as the garbage collector does.
    pub(super) fn collect_claim_objects(&self) {
        for object in self.server.all(CLAIMS) {
            let namespace = text(&object["metadata"]["namespace"]);
            let owner = &object["metadata"]["ownerReferences"][0];
            if owner.is_null() {
                continue;
            }
            let pod = self
                .server
                .get("pods", &format!("{namespace}/{}", text(&owner["name"])));
            if pod.is_none_or(|pod| pod["metadata"]["uid"] != owner["uid"]) {
                let name = format!("{namespace}/{}", text(&object["metadata"]["name"]));
                self.server.delete(CLAIMS, &name);
            }
        }
    }

    /// Lets the scheduler try every pod without a gate and a node, each with some extender. Its watch may be behind: then it tries
    /// a pod again that has a node already, or is gone.
    pub(super) fn schedule(&mut self) {
        for pod in self.server.all("pods") {
            let gated = pod["spec"]["schedulingGates"]
                .as_array()
                .is_some_and(|gates| !gates.is_empty());
            if gated || !pod["spec"]["nodeName"].is_null() {
                continue;
            }
            let mut schedulers = Vec::new();
            let attempts = if self.rng.chance(30) { 2 } else { 1 };
            for _ in 0..attempts {
                schedulers.extend(self.some_process().map(|process| process.scheduler.clone()));
            }
            let pause = Duration::from_millis(10 << self.rng.below(10));
            let faults = Arc::clone(&self.faults);
            tokio::task::spawn_local(async move {
                for scheduler in schedulers {
                    attempt(scheduler, &pod, &faults).await;
                    sleep(pause).await;
                }
            });
        }
    }

    /// Lets the kubelet run pods and end them, and removes those that are marked as deleted.
    pub(super) fn run_pods(&mut self) {
        for pod in self.server.all("pods") {
            if self.rng.chance(50) {
                self.run_pod(pod);
            }
        }
        self.collect_claim_objects();
    }

    fn run_pod(&mut self, mut pod: Value) {
        let phase = text(&pod["status"]["phase"]);
        let has_ended = ["Succeeded", "Failed"].contains(&phase);
        let has_node = !pod["spec"]["nodeName"].is_null();
        if pod["metadata"]["deletionTimestamp"].is_string() && (has_ended || !has_node) {
            let metadata = &pod["metadata"];
            let name = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
            self.note(&format!("pod {name} is gone"));
            self.server.delete("pods", &name);
            return;
        }
        if !has_node || has_ended {
            return;
        }
        let ends = self.rng.pick(&["Succeeded", "Failed"]);
        pod["status"]["phase"] = json!(if phase == "Running" { ends } else { "Running" });
        self.server.put("pods", &pod);
    }

    /// Lets the kubelet and the garbage collector finish what they have begun.
    pub(super) fn finish_pods(&mut self) {
        for pod in self.server.all("pods") {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                self.run_pod(pod);
            }
        }
        self.collect_claim_objects();
    }
}

/// Lets an extender's verbs place a pod, as the scheduler does.
async fn attempt(scheduler: Router, pod: &Value, faults: &SharedFaults) {
    let limit = Duration::from_secs(10);
    let args = json!({"Pod": pod, "NodeNames": ["n1"]}).to_string();
    let Ok((_, answer)) = timeout(limit, post(&scheduler, "/scheduler/filter", args)).await else {
        return;
    };
    if answer["NodeNames"] != json!(["n1"]) || !text(&answer["Error"]).is_empty() {
        return;
    }
    let metadata = &pod["metadata"];
    let args = json!({
        "PodName": metadata["name"],
        "PodNamespace": metadata["namespace"],
        "PodUID": metadata["uid"],
        "Node": "n1",
    });
    let answer = timeout(limit, post(&scheduler, "/scheduler/bind", args.to_string())).await;
    let mut faults = faults.lock().unwrap();
    let name = text(&metadata["name"]);
    match answer {
        Ok((_, answer)) => faults.note(&format!("bind of {name}: {}", answer["Error"])),
        Err(_) => faults.note(&format!("bind of {name} has no answer")),
    }
    faults.count("bind");
}
