//! What happens to the requests of the extenders: a random plan, which the in-process API server asks about each request.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use privatekube_fake_api_server::{Fault, LoggedRequest};

use super::{
    planted::{self, Planted},
    process::LEASES,
    rng::Rng,
    told,
};
use crate::testing::ENTRIES;

/// How many lines a history has at most.
const MOST_LINES: usize = 100_000;

/// The plan, and what it has done.
pub(super) struct Faults {
    rng: Rng,
    /// How many of a hundred requests meet a fault.
    pub(super) percent: u64,
    /// Clients of processes that have ended: nothing of them arrives any more.
    pub(super) dead: BTreeSet<String>,
    /// Clients that are cut off.
    pub(super) cut: BTreeSet<String>,
    /// Whether the store is full.
    pub(super) full: bool,
    /// A namespace whose quota keeps entries out.
    pub(super) quota: Option<String>,
    /// Every request, and what happened to it.
    pub(super) history: Vec<String>,
    /// How many writes there were that ought to end: a lease is renewed for ever, the time is asked for from time to time, an Event
    /// is written again after a while, and entries whose time is over are removed at each full hour.
    pub(super) writes: u32,
    /// The last of these writes.
    pub(super) last_write: String,
    /// How often each fault happened.
    pub(super) seen: BTreeMap<&'static str, u32>,
}

pub(super) type SharedFaults = Arc<Mutex<Faults>>;

impl Faults {
    pub(super) fn new(seed: u64, percent: u64) -> SharedFaults {
        Arc::new(Mutex::new(Self {
            rng: Rng::new(seed),
            percent,
            dead: BTreeSet::new(),
            cut: BTreeSet::new(),
            full: false,
            quota: None,
            history: Vec::new(),
            writes: 0,
            last_write: String::new(),
            seen: BTreeMap::new(),
        }))
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(super) fn note(&mut self, what: &str) {
        self.history.push(format!("{} {what}", told()));
        if self.history.len() > MOST_LINES {
            // Nothing would end a loop in which no time passes. The process is this world's alone.
            let last = self.history.len() - 100;
            eprintln!(
                "there is no end of requests:\n{}",
                self.history[last..].join("\n")
            );
            std::process::exit(1);
        }
    }

    /// Ends all faults but the deadness of processes that have ended.
    pub(super) fn end(&mut self) {
        self.percent = 0;
        self.cut.clear();
        self.full = false;
        self.quota = None;
    }

    pub(super) fn choose(&mut self, request: &LoggedRequest) -> Option<Fault> {
        let is_write = !["GET", "DELETE"].contains(&request.method.as_str());
        if is_write && !["events", "selfsubjectreviews", LEASES].contains(&request.resource.as_str()) {
            self.writes += 1;
            self.last_write = format!("{} {}", request.method, request.path);
        }
        let fault = self.fault(request);
        let mut line = format!("{}: {} {}", request.client, request.method, request.path);
        if request.query.contains("watch=") {
            line.push_str(" (watch)");
        }
        if let Some(fault) = &fault {
            let _ = write!(line, " -> {fault:?}");
        }
        self.note(&line);
        fault
    }

    fn fault(&mut self, request: &LoggedRequest) -> Option<Fault> {
        if self.dead.contains(&request.client) {
            return Some(Fault::LoseRequest);
        }
        if self.cut.contains(&request.client) {
            self.count("cut off");
            return Some(Fault::LoseRequest);
        }
        let writes = request.method != "GET" && request.resource != "selfsubjectreviews";
        let creates = request.method == "POST" && writes;
        let is_entry = request.resource == ENTRIES;
        if creates && is_entry {
            if planted::is(Planted::ForgetsEntries) && self.rng.chance(20) {
                return Some(Fault::Forget);
            }
            if planted::is(Planted::LastEntryWins) {
                return Some(Fault::Overwrite);
            }
        }
        if planted::is(Planted::ForgetsCheckpoints)
            && request.resource == "privacyledgercheckpoints"
            && writes
            && self.rng.chance(50)
        {
            return Some(Fault::Forget);
        }
        let is_binding = request.subresource.as_deref() == Some("binding");
        if is_binding && planted::is(Planted::TakesLostBindForRefusal) && self.rng.chance(50) {
            return Some(Fault::LoseReply);
        }
        if self.full && writes && request.method != "DELETE" {
            self.count("full");
            return Some(Fault::Refuse(500));
        }
        let in_quota = self
            .quota
            .as_deref()
            .is_some_and(|namespace| request.path.contains(&format!("/namespaces/{namespace}/")));
        if in_quota && is_entry && creates {
            self.count("quota");
            return Some(Fault::Refuse(403));
        }
        // Writes of the ledger and Bindings are few, and matter most.
        let matters = is_entry || is_binding;
        let percent = if matters { self.percent * 3 } else { self.percent };
        if !self.rng.chance(percent) {
            return None;
        }
        // From 10 ms to 20 s, as often in each doubling.
        let time = Duration::from_millis(10 << self.rng.below(12));
        let (what, fault) = match self.rng.below(if writes { 9 } else { 6 }) {
            0 => ("request lost", Fault::LoseRequest),
            2 => ("delayed", Fault::Delay(time)),
            3 => ("reply delayed", Fault::DelayReply(time)),
            4 => ("throttled", Fault::Refuse(429)),
            5 => ("unavailable", Fault::Refuse(503)),
            6 => ("served late", Fault::ServeLate(time)),
            7 => ("served twice", Fault::ServeTwice),
            _ => ("reply lost", Fault::LoseReply),
        };
        self.count(what);
        Some(fault)
    }
}
