//! What is true, from what the store was told alone: each change of an object is looked at when it happens. Budgets are sums of
//! what entries say, and of what pods on nodes were told; no engine decides anything here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use privatekube_api::{ManagedPod, PrivacyBudgetClaim, Subject};
use serde_json::Value;

use super::{ledger::Ledger, told};
use crate::testing::{BLOCKS, CLAIMS, DATASETS, ENTRIES};

/// The namespace that somebody attacks, in worlds in which only one dataset suffers.
pub(super) const ATTACKED: &str = "a";
/// What a block has, in millionths of epsilon.
const CAPACITY: i64 = 10_000_000;

#[derive(Default)]
pub(super) struct Truth {
    /// By namespace: each has one dataset.
    pub(super) ledgers: BTreeMap<String, Ledger>,
    /// The claims of pods that were put on a node.
    ran: BTreeSet<String>,
    /// What pods on nodes were told that they may spend, by namespace and block, in millionths of epsilon.
    spent: BTreeMap<(String, String), i64>,
    /// The namespace that is being deleted right now.
    pub(super) deleting: Option<String>,
    /// Whether somebody changes entries right now.
    pub(super) tampering: bool,
    /// What was violated.
    pub(super) violations: Vec<String>,
    pub(super) history: Vec<String>,
    /// How many pods were put on nodes.
    pub(super) bound: u32,
    /// How many entries were committed.
    pub(super) entries: u32,
}

impl Truth {
    fn violated(&mut self, what: String) {
        self.history.push(format!("{} VIOLATION {what}", told()));
        self.violations.push(what);
    }

    /// Looks at a change of an object.
    pub(super) fn observe(&mut self, resource: &str, before: Option<&Value>, after: Option<&Value>) {
        let Some(object) = after.or(before) else { return };
        let namespace = text(&object["metadata"]["namespace"]).to_owned();
        match resource {
            "namespaces" if after.is_none() => {
                let name = text(&object["metadata"]["name"]).to_owned();
                self.ledgers.remove(&name);
                self.spent.retain(|(namespace, _), _| *namespace != name);
            }
            ENTRIES => self.entry(&namespace, before, after),
            "privacyledgercheckpoints" => {
                let floor = after.map_or(0, |after| number(&after["spec"]["sequence"]));
                let ledger = self.ledgers.entry(namespace.clone()).or_default();
                let earlier = ledger.floor;
                ledger.floor = floor;
                let gone = self.deleting.as_deref() == Some(namespace.as_str());
                if floor <= earlier && !gone {
                    self.violated(format!("checkpoint {floor} of {namespace} replaces {earlier}"));
                }
            }
            CLAIMS => {
                if let Some(after) = after {
                    self.claim_status(after);
                }
            }
            BLOCKS => {
                let sequence = after.map_or(0, |after| number(&after["status"]["ledgerSequence"]));
                let known = self.ledgers.get(&namespace);
                let last = known.map_or(0, |ledger| ledger.now().sequence);
                if sequence > last
                    && !known.is_some_and(|ledger| ledger.tampered)
                    && changes_status(before, after)
                {
                    self.violated(format!(
                        "the status of a block in {namespace} names entry {sequence}, and the last one is {last}"
                    ));
                }
            }
            DATASETS => {
                let status = after.map(|after| &after["status"]["conditions"][0]);
                let stopped = status.filter(|status| status["reason"] == "Stopped");
                if let Some(message) = stopped.map(|status| text(&status["message"]).to_owned())
                    && namespace != ATTACKED
                    && self.deleting.as_deref() != Some(namespace.as_str())
                    && ["quota", "deleted", "changed", "replaced"]
                        .iter()
                        .any(|word| message.contains(word))
                {
                    self.violated(format!("{namespace} suffers what is done to another: {message}"));
                }
            }
            "pods" => self.pod(&namespace, before, after),
            _ => {}
        }
    }

    fn entry(&mut self, namespace: &str, before: Option<&Value>, after: Option<&Value>) {
        if self.deleting.as_deref() == Some(namespace) {
            return;
        }
        let ledger = self.ledgers.entry(namespace.to_owned()).or_default();
        let sequence = number(&after.or(before).unwrap()["spec"]["sequence"]);
        if self.tampering {
            // The entry is as true as before, for who has read it. Who reads the ledger now knows nothing of it.
            ledger.tampered = true;
            return;
        }
        let Some(after) = after else {
            if sequence > ledger.floor {
                let floor = ledger.floor;
                self.violated(format!(
                    "entry {sequence} of {namespace} is removed, and the checkpoint stands at {floor}"
                ));
            }
            return;
        };
        if before.is_some() {
            self.violated(format!("entry {sequence} of {namespace} is changed"));
            return;
        }
        if sequence <= ledger.floor {
            self.history.push(format!(
                "{} entry {sequence} of {namespace} comes again, covered",
                told()
            ));
            return;
        }
        self.history.push(format!(
            "{} {} commits entry {sequence} of {namespace}: {} -> {}",
            told(),
            text(&after["spec"]["writer"]),
            after["spec"]["events"],
            after["spec"]["records"],
        ));
        self.entries += 1;
        if let Err(why) = ledger.add(after, &self.ran) {
            self.violated(format!("entry {sequence} of {namespace}: {why}"));
        }
    }

    /// What a status acknowledges is in the ledger.
    fn claim_status(&mut self, object: &Value) {
        let phase = text(&object["status"]["phase"]);
        if !["Granted", "Consumed"].contains(&phase) {
            return;
        }
        let Some(claim) = claim_of(object) else { return };
        let dataset = text(&object["spec"]["dataset"]);
        let namespace = dataset.split_once('/').map_or_else(
            || text(&object["metadata"]["namespace"]),
            |(namespace, _)| namespace,
        );
        let is_true = self.ledgers.get(namespace).is_some_and(|ledger| {
            let known = ledger.now().claims.get(&claim);
            ledger.tampered
                || known.is_some_and(|known| {
                    known.granted && (phase == "Granted" || known.consumed || !known.holds)
                })
        });
        if !is_true && self.ledgers.contains_key(namespace) {
            self.violated(format!(
                "the status of {claim} says {phase}, and the ledger doesn't"
            ));
        }
    }

    fn pod(&mut self, namespace: &str, before: Option<&Value>, after: Option<&Value>) {
        let Some(after) = after else { return };
        let Some(claim) = pod_claim(after) else { return };
        let ledger = self.ledgers.get(namespace);
        let trusted = ledger.is_none_or(|ledger| !ledger.tampered);
        let known = ledger
            .and_then(|ledger| ledger.now().claims.get(&claim))
            .cloned()
            .unwrap_or_default();
        let gated = |pod: &Value| {
            pod["spec"]["schedulingGates"]
                .as_array()
                .is_some_and(|gates| !gates.is_empty())
        };
        if before.is_some_and(gated) && !gated(after) && trusted && !known.granted {
            self.violated(format!("the gate of {claim} is removed, and it isn't granted"));
        }
        let node = |pod: &Value| !text(&pod["spec"]["nodeName"]).is_empty();
        if !node(after) || before.is_some_and(node) {
            return;
        }
        self.bound += 1;
        self.ran.insert(claim.clone());
        if trusted && !known.consumed {
            self.violated(format!("{claim} is put on a node, and isn't consumed"));
        }
        let grant = text(&after["metadata"]["annotations"]["privatekube.dev/grant"]);
        let grant: Value = serde_json::from_str(grant).unwrap_or_default();
        let mut over = Vec::new();
        for budget in grant["claims"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|claim| claim["budgets"].as_array().into_iter().flatten())
        {
            let epsilon = millionths(text(&budget["epsilon"]));
            for block in budget["blocks"].as_array().into_iter().flatten() {
                let key = (namespace.to_owned(), text(&block["name"]).to_owned());
                let spent = self.spent.entry(key.clone()).or_default();
                *spent += epsilon;
                if *spent > CAPACITY {
                    over.push(format!(
                        "pods spend {spent} millionths of block {}/{}",
                        key.0, key.1
                    ));
                }
            }
        }
        for what in over {
            self.violated(what);
        }
        self.history.push(format!("{} {claim} is put on a node", told()));
    }
}

fn changes_status(before: Option<&Value>, after: Option<&Value>) -> bool {
    before.map(|before| &before["status"]) != after.map(|after| &after["status"])
}

/// The claim of a claim object.
pub(super) fn claim_of(object: &Value) -> Option<String> {
    let object: PrivacyBudgetClaim = serde_json::from_value(object.clone()).ok()?;
    Some(Subject::of_object(&object)?.id().to_string())
}

/// The claim of a pod with a demand of its own.
pub(super) fn pod_claim(object: &Value) -> Option<String> {
    let pod: Pod = serde_json::from_value(object.clone()).ok()?;
    let pod = ManagedPod::read(&pod, None);
    pod.own().map(|(subject, _)| subject.id().to_string())
}

/// A decimal number in millionths; what is finer is cut off.
pub(super) fn millionths(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    whole.parse::<i64>().unwrap_or_default() * 1_000_000 + part.parse::<i64>().unwrap_or_default()
}

pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
