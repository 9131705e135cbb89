//! How a world ends: faults cease, all becomes quiet, and nothing is wrong or hangs.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use super::{
    cluster::Cluster,
    truth::{claim_of, millionths, pod_claim, text},
};
use crate::testing::{BLOCKS, CLAIMS, DATASETS};

/// How long a world may take to become quiet once faults have ended, in minutes.
const MOST_MINUTES: u32 = 30;
/// For how many minutes nothing must be written until it counts as quiet.
const QUIET_MINUTES: u32 = 6;
/// For how long nothing happens then.
const IDLE: Duration = Duration::from_secs(900);
/// How many units of a coordinate are a millionth of epsilon.
const UNITS_IN_A_MILLIONTH: i64 = 1_000_000;

impl Cluster {
    /// Ends all faults, waits until the world is quiet, and looks at what is left.
    pub(super) async fn end(&mut self) {
        self.note("all faults end");
        self.faults.lock().unwrap().end();
        if self.taken.is_some() {
            self.tamper();
        }
        for process in &self.processes {
            process.ahead.store(0, Ordering::Relaxed);
            self.server.resume_watches_of(&process.name);
        }
        // Two that both believe to lead write in turns for ever. Of replicas that elect one, the others stay.
        if !self.habits.elects {
            self.wanted = 1;
        }
        while self.processes.len() > self.wanted {
            self.crash_some();
        }
        let mut quiet = 0;
        let mut writes = self.faults.lock().unwrap().writes;
        for minute in 0.. {
            self.processes.retain(|process| !process.has_ended());
            self.habits.jumps = false;
            while self.processes.len() < self.wanted {
                self.start();
            }
            for _ in 0..3 {
                self.schedule();
                sleep(Duration::from_secs(20)).await;
            }
            self.finish_pods();
            let now = self.faults.lock().unwrap().writes;
            self.server.clear_log();
            quiet = if now == writes { quiet + 1 } else { 0 };
            writes = now;
            if quiet >= QUIET_MINUTES {
                break;
            }
            if minute == MOST_MINUTES {
                self.violated("the world does not become quiet".to_owned());
                return;
            }
        }
        self.note("the world is quiet");
        self.check_end();
        sleep(IDLE).await;
        let faults = self.faults.lock().unwrap();
        let (later, last) = (faults.writes, faults.last_write.clone());
        drop(faults);
        if later != writes {
            let count = later - writes;
            self.violated(format!(
                "{count} writes while nothing happens: the last is {last}"
            ));
        }
    }

    pub(super) fn violated(&self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.truth.lock().unwrap().violations.push(what);
    }

    /// Checks that nothing hangs, and that statuses say what the ledger says.
    pub(super) fn check_end(&self) {
        let mut wrong = Vec::new();
        let truth = self.truth.lock().unwrap();
        let (pods, claims) = (self.server.all("pods"), self.server.all(CLAIMS));
        let exist: Vec<String> = pods
            .iter()
            .filter_map(pod_claim)
            .chain(claims.iter().filter_map(claim_of))
            .collect();
        for dataset in self.server.all(DATASETS) {
            let ready = &dataset["status"]["conditions"][0];
            if ready["reason"] == "Stopped" {
                wrong.push(format!(
                    "{} is stopped: {}",
                    dataset["metadata"]["namespace"], ready["message"]
                ));
            }
        }
        for object in &claims {
            let (Some(claim), status) = (claim_of(object), &object["status"]) else {
                continue;
            };
            let namespace = text(&object["metadata"]["namespace"]);
            let known = truth
                .ledgers
                .get(namespace)
                .and_then(|ledger| ledger.now().claims.get(&claim));
            let phase = text(&status["phase"]);
            if text(&status["message"]).is_empty() {
                wrong.push(format!("{claim} has no message: {status}"));
            }
            if let Some(known) = known.filter(|known| known.phase != phase) {
                wrong.push(format!(
                    "the ledger says that {claim} is {}, and its status {status}",
                    known.phase
                ));
            }
        }
        for pod in &pods {
            let Some(claim) = pod_claim(pod) else { continue };
            let namespace = text(&pod["metadata"]["namespace"]);
            let known = truth
                .ledgers
                .get(namespace)
                .and_then(|ledger| ledger.now().claims.get(&claim));
            let phase = known.map_or("", |known| known.phase);
            let bound = !pod["spec"]["nodeName"].is_null();
            if !bound && ["Granted", "Consumed"].contains(&phase) {
                wrong.push(format!(
                    "{claim} is {phase}, and its pod has no node: {}",
                    pod["spec"]
                ));
            }
            let has_object = claims
                .iter()
                .any(|object| claim_of(object).as_ref() == Some(&claim));
            if !bound && !has_object {
                wrong.push(format!("{claim} ({phase}) has no object that says why it waits"));
            }
        }
        for (namespace, ledger) in &truth.ledgers {
            let state = ledger.now();
            for (id, claim) in &state.claims {
                if claim.phase == "Waiting" && !exist.contains(id) {
                    wrong.push(format!("{id} waits, and its object is gone"));
                }
                if claim.holds && !claim.consumed && !exist.contains(id) {
                    wrong.push(format!("{id} is granted, and its object is gone"));
                }
            }
            for block in self.server.all(BLOCKS) {
                let name = text(&block["metadata"]["name"]);
                if block["metadata"]["namespace"] != namespace.as_str() || !state.knows(name) {
                    continue;
                }
                let status = &block["status"];
                for (part, held) in [
                    ("allocated", state.held(name, |claim| !claim.consumed)),
                    ("consumed", state.held(name, |claim| claim.consumed)),
                ] {
                    let told = millionths(text(&status[part]["epsilon"]));
                    let units = held.first().copied().unwrap_or_default();
                    // The first coordinate is epsilon, in a finer unit.
                    let is = units / UNITS_IN_A_MILLIONTH;
                    if told != is {
                        wrong.push(format!(
                            "{namespace}/{name} has {is} millionths {part}, and its status {status}"
                        ));
                    }
                }
            }
        }
        drop(truth);
        for what in wrong {
            self.violated(what);
        }
    }
}
