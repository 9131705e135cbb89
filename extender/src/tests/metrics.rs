//! The metrics that are served, beside their declarations.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{
    post,
    whole::{phase, server, with_registry},
};
use crate::{
    metrics::tests::{differences, served},
    scheduler,
    testing::{BLOCKS, CLAIMS, block, claim_object, epsilon, pod_object},
};

/// Metrics of the client, which is another one here, of webhooks, which aren't called here, of certificates, which nobody has
/// here, of Renyi orders and exports, which aren't asked for, and of unlocking by arrivals; and nobody waits at the end.
const NOT_SERVED: [&str; 10] = [
    "privatekube_api_requests_total",
    "privatekube_api_request_duration_seconds",
    "privatekube_oldest_waiting_claim_timestamp_seconds",
    "privatekube_fair_claims_total",
    "privatekube_admission_requests_total",
    "privatekube_admission_request_duration_seconds",
    "privatekube_block_order_epsilon",
    "privatekube_certificate_expiry_timestamp_seconds",
    "privatekube_ledger_exported_sequence",
    "privatekube_ledger_export_failing",
];

#[tokio::test]
async fn what_is_served_is_what_is_declared() {
    let server = server();
    server.put(BLOCKS, &*block("b", "b", Some("10")));
    server.put("pods", &pod_object("train"));
    with_registry(&server, async |registry| {
        let metrics = registry.handles().metrics.clone();
        let scheduler = scheduler::router(Arc::clone(&registry));
        server
            .until(|server| {
                let pod = server.get("pods", "train").unwrap();
                let gates = pod["spec"]["schedulingGates"].as_array();
                gates.is_none_or(Vec::is_empty)
            })
            .await;
        server.put(CLAIMS, &claim_object("large", &json!({"budget": epsilon("9.5")})));
        server
            .until(|server| phase(server, "large") == json!("Waiting"))
            .await;
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));
        let bound = "privatekube_gate_to_bound_duration_seconds_count{dataset=\"taxi\",namespace=\"data\"} 1";
        // What the pod consumed leaves too little for the other claim.
        let denied = "privatekube_claims{dataset=\"taxi\",namespace=\"data\",phase=\"Denied\"} 1";
        let shared = "privatekube_jain_index{dataset=\"taxi\",namespace=\"data\",weighted=\"true\"} 1";
        // What is measured changes last, and wakes nobody.
        let measured = async {
            loop {
                let text = metrics.text().unwrap();
                if text.contains(bound) && text.contains(denied) && text.contains(shared) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let in_time = timeout(Duration::from_secs(30), measured).await;
        assert!(in_time.is_ok(), "{}", metrics.text().unwrap());
        let text = metrics.text().unwrap();
        assert_eq!(differences(&metrics, &text), [""; 0]);
        let names = served(&text);
        let missing: Vec<&str> = metrics
            .declared()
            .iter()
            .map(|declared| declared.name.as_str())
            .filter(|name| !names.contains(name) && !NOT_SERVED.contains(name))
            .collect();
        assert_eq!(missing, [""; 0]);
        for line in [
            "privatekube_block_epsilon{block=\"a\",dataset=\"taxi\",namespace=\"data\",state=\"consumed\"} 1",
            "privatekube_dataset_epsilon{dataset=\"taxi\",namespace=\"data\",state=\"total\"} 20",
            "privatekube_dataset_consumed_ratio{dataset=\"taxi\",namespace=\"data\"} 0.1",
            "privatekube_claim_arrivals_total{dataset=\"taxi\",namespace=\"data\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    })
    .await;
}
