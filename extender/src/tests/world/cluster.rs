//! The cluster: what there is in a world, what happens next in it, and when extenders start and crash.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use privatekube_fake_api_server::FakeApiServer;
use privatekube_policy::Span;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Outcome,
    faults::{Faults, SharedFaults},
    planted::Planted,
    process::{LEASES, Process},
    rng::Rng,
    truth::{ATTACKED, Truth},
};
use crate::{
    bookkeeper::CheckpointSettings,
    clock,
    testing::{BLOCKS, CLAIMS},
};

const NAMESPACES: [&str; 2] = [ATTACKED, "b"];

pub(super) struct Cluster {
    pub(super) rng: Rng,
    pub(super) server: FakeApiServer,
    pub(super) faults: SharedFaults,
    pub(super) truth: Arc<Mutex<Truth>>,
    pub(super) processes: Vec<Process>,
    /// How many extenders run.
    pub(super) wanted: usize,
    pub(super) habits: Habits,
    born: u32,
    /// The extenders whose watches stall.
    stalled: BTreeSet<String>,
    /// The number of the last object that was made.
    pub(super) made: u32,
    /// An entry that somebody has deleted or edited.
    pub(super) taken: Option<Value>,
}

/// What a world is like, from its beginning to its end.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault of its own, and any may come with any other"
)]
pub(super) struct Habits {
    turns: u32,
    checkpoints: CheckpointSettings,
    /// Whether extenders elect a leader. If not, each believes that it leads.
    pub(super) elects: bool,
    /// Whether extenders crash.
    crashes: bool,
    /// Whether people touch entries.
    tampers: bool,
    /// Whether namespaces are deleted.
    deletes_namespaces: bool,
    /// Whether clocks are wrong.
    pub(super) jumps: bool,
}

impl Habits {
    /// What is random in a world, but for what lets it have a planted fault at all.
    fn choose(rng: &mut Rng, planted: Option<Planted>) -> Self {
        let about_checkpoints = planted == Some(Planted::ForgetsCheckpoints);
        let every = if about_checkpoints {
            3
        } else {
            *rng.pick(&[0, 3, 10])
        };
        let keeps = rng.chance(50) || about_checkpoints;
        Self {
            turns: *rng.pick(&[60, 120, 200]),
            checkpoints: CheckpointSettings {
                every: std::num::NonZeroU64::new(every),
                keep_entries: (keeps && every > 0).then_some(Span::from_micros(20_000_000)),
            },
            // A world of two that keep a lease takes long, and no planted fault is about that.
            elects: rng.chance(30) && planted.is_none(),
            // A start reads again what a watch has lost.
            crashes: rng.chance(80) && planted != Some(Planted::WatchesForget),
            tampers: rng.chance(20) && planted.is_none(),
            deletes_namespaces: rng.chance(30) || planted == Some(Planted::NamespacesMixed),
            jumps: rng.chance(30),
        }
    }
}

impl Cluster {
    pub(super) fn new(seed: u64, planted: Option<Planted>) -> Self {
        let mut rng = Rng::new(seed);
        let percent = *rng.pick(&[0, 2, 5, 10]);
        let faults = Faults::new(rng.next(), percent);
        let truth = Arc::new(Mutex::new(Truth::default()));
        let server = FakeApiServer::default();
        server.set_clock(clock::timestamp);
        server.choose_faults({
            let faults = Arc::clone(&faults);
            move |request| faults.lock().unwrap().choose(request)
        });
        server.observe({
            let truth = Arc::clone(&truth);
            move |resource, before, after| truth.lock().unwrap().observe(resource, before, after)
        });
        if planted != Some(Planted::NamespacesMixed) {
            // As the API server and the admission policies of the ledger do.
            server.admit(|resource, object, namespace| {
                let named = &object["spec"]["namespaceUid"];
                let is_ours = resource.starts_with("privacyledger");
                let uid = namespace.map_or(&Value::Null, |namespace| &namespace["metadata"]["uid"]);
                let is_there = namespace.is_some() || resource == LEASES;
                if !is_there || (is_ours && named != uid) {
                    return Err("the namespace is another one".to_owned());
                }
                Ok(())
            });
        }
        let habits = Habits::choose(&mut rng, planted);
        let wanted = if habits.elects || planted == Some(Planted::LastEntryWins) {
            2
        } else {
            *rng.pick(&[1, 1, 2])
        };
        Self {
            wanted,
            habits,
            rng,
            server,
            faults,
            truth,
            processes: Vec::new(),
            born: 0,
            stalled: BTreeSet::new(),
            made: 0,
            taken: None,
        }
    }

    pub(super) fn note(&self, what: &str) {
        self.faults.lock().unwrap().note(what);
    }

    pub(super) fn count(&self, what: &'static str) {
        self.faults.lock().unwrap().count(what);
    }

    pub(super) async fn run(mut self) -> Outcome {
        for namespace in NAMESPACES {
            self.make_namespace(namespace);
        }
        for _ in 0..self.habits.turns {
            self.processes.retain(|process| !process.has_ended());
            if self.processes.len() < self.wanted && self.rng.chance(30) {
                self.start();
            }
            self.turn().await;
            // The history has it.
            self.server.clear_log();
            let pause = 20 << self.rng.below(9);
            sleep(Duration::from_millis(pause)).await;
        }
        self.end().await;
        let bound = self.truth.lock().unwrap().bound;
        for process in std::mem::take(&mut self.processes) {
            process.crash(&self.faults);
        }
        let truth = self.truth.lock().unwrap();
        let faults = self.faults.lock().unwrap();
        let mut history: Vec<String> = truth.history.iter().chain(&faults.history).cloned().collect();
        // Times have one length, and the order of what has one time is kept.
        history.sort_by(|one, other| one[..16].cmp(&other[..16]));
        Outcome {
            violations: truth.violations.clone(),
            seen: faults
                .seen
                .iter()
                .map(|(what, times)| ((*what).to_owned(), *times))
                .collect(),
            history,
            bound,
            entries: truth.entries,
        }
    }

    pub(super) fn start(&mut self) {
        self.born += 1;
        let name = format!("e{}", self.born);
        let ahead = self.some_time();
        self.note(&format!("{name} starts, its clock is {ahead} us ahead"));
        // It has the name of one that has ended, as when a container of a pod is started again, or a new one.
        let replica = self.habits.elects.then(|| {
            let taken = |replica: &String| {
                let mut processes = self.processes.iter();
                processes.any(|process| process.replica.as_ref() == Some(replica))
            };
            let mut names = (0..self.wanted).map(|number| format!("replica-{number}"));
            names.find(|name| !taken(name)).unwrap_or_else(|| name.clone())
        });
        let replica = replica.map(|replica| {
            if self.rng.chance(50) {
                replica
            } else {
                name.clone()
            }
        });
        let process = Process::start(
            &self.server,
            name,
            replica,
            self.habits.checkpoints,
            ahead,
            Arc::clone(&self.faults),
        );
        self.processes.push(process);
    }

    /// By how much a clock is ahead, in microseconds.
    fn some_time(&mut self) -> i64 {
        if !self.habits.jumps {
            return 0;
        }
        // The last two stop a dataset, until the clock is right.
        *self.rng.pick(&[
            0,
            0,
            0,
            1_000_000,
            -1_000_000,
            30_000_000,
            -600_000_000,
            90_000_000,
            86_400_000_000,
        ])
    }

    async fn turn(&mut self) {
        let namespace = *self.rng.pick(&NAMESPACES);
        match self.rng.below(100) {
            0..14 => self.make_claim(namespace),
            14..30 => self.make_pod(namespace).await,
            30..36 => self.make_block(namespace),
            36..40 => self.delete_some(CLAIMS, namespace),
            40..45 => self.delete_some("pods", namespace),
            45..46 => self.delete_some(BLOCKS, namespace),
            46..48 => self.consume_some(namespace),
            48..66 => self.schedule(),
            66..74 => self.run_pods(),
            74..79 if self.habits.crashes => self.crash_some(),
            79..82 => {
                self.note("watches end");
                if self.rng.chance(50) {
                    self.server.end_watches();
                } else {
                    self.server.expire_watches();
                }
                self.count("watches end");
            }
            82..86 => self.pause_some_watches(),
            86..89 => self.cut_some(),
            89..91 => {
                let mut faults = self.faults.lock().unwrap();
                faults.full = !faults.full && self.rng.chance(50);
                let full = faults.full;
                faults.note(&format!("the store is full: {full}"));
            }
            91..93 => {
                let sets = self.rng.chance(50);
                let mut faults = self.faults.lock().unwrap();
                faults.quota = (sets && faults.quota.is_none()).then(|| ATTACKED.to_owned());
                let quota = format!("the quota keeps entries out of {:?}", faults.quota);
                faults.note(&quota);
            }
            93..95 if self.habits.deletes_namespaces => {
                self.delete_namespace(namespace).await;
                if self.rng.chance(50) {
                    sleep(Duration::from_millis(self.rng.below(5000))).await;
                }
                self.make_namespace(namespace);
            }
            95..97 if self.habits.jumps => {
                let ahead = self.some_time();
                if let Some(process) = self.some_process() {
                    process.ahead.store(ahead, Ordering::Relaxed);
                    let name = process.name.clone();
                    self.note(&format!("the clock of {name} is {ahead} us ahead"));
                    self.count("clock jumps");
                }
            }
            97..100 if self.habits.tampers => self.tamper(),
            _ => {}
        }
    }

    pub(super) fn some_process(&mut self) -> Option<&Process> {
        if self.processes.is_empty() {
            return None;
        }
        let which = self.rng.below(self.processes.len() as u64);
        self.processes.get(usize::try_from(which).unwrap())
    }

    pub(super) fn crash_some(&mut self) {
        if !self.processes.is_empty() {
            let which = self.rng.below(self.processes.len() as u64);
            let process = self.processes.swap_remove(usize::try_from(which).unwrap());
            process.crash(&self.faults);
        }
    }

    /// Lets the watches of an extender stall, or go on: at times only after what they missed was forgotten.
    fn pause_some_watches(&mut self) {
        let Some(name) = self.some_process().map(|process| process.name.clone()) else {
            return;
        };
        if self.stalled.remove(&name) {
            let expires = self.rng.chance(50);
            self.note(&format!("watches of {name} go on, after they expired: {expires}"));
            if expires {
                self.server.expire_watches();
            }
            self.server.resume_watches_of(&name);
        } else {
            self.note(&format!("watches of {name} stall"));
            self.count("watches stall");
            self.server.pause_watches_of(&name);
            self.stalled.insert(name);
        }
    }

    fn cut_some(&mut self) {
        let Some(name) = self.some_process().map(|process| process.name.clone()) else {
            return;
        };
        let mut faults = self.faults.lock().unwrap();
        if !faults.cut.remove(&name) {
            faults.note(&format!("{name} is cut off"));
            faults.cut.insert(name);
        }
    }
}
