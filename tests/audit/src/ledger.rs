//! Follows a ledger from its first entry to its last: numbers, hashes and times, and what its records say of claims and
//! blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::{
    amounts::{add, is_something, units},
    book::{Block, Book, Claim, Phase},
    canonical::{self, ORIGIN},
    json::{list, number, text, variant},
    objects::{Objects, name, namespace, uid},
    report::{FindingKind, Findings},
    rules::Rules,
};

/// Follows all ledgers, by `NAMESPACE/DATASET`.
pub(crate) fn follow_all(objects: &Objects, findings: &mut Findings) -> BTreeMap<String, Book> {
    let mut ledgers: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for entry in &objects.entries {
        let dataset = format!("{}/{}", namespace(entry), text(entry, &["spec", "dataset"]));
        ledgers.entry(dataset).or_default().push(entry);
    }
    let mut books = BTreeMap::new();
    for (dataset, mut entries) in ledgers {
        entries.sort_by_key(|entry| number(entry, &["spec", "sequence"]));
        check_namespace(objects, &dataset, &entries, findings);
        let first = entries
            .first()
            .and_then(|entry| Rules::of(&entry["spec"]["setting"]));
        let Some(rules) = first else {
            let what = "its first entry has no rules that this audit knows";
            findings.add(FindingKind::Unknown, &format!("ledger {dataset}"), what);
            continue;
        };
        let book = Book {
            rules,
            blocks: BTreeMap::new(),
            claims: BTreeMap::new(),
            head: 0,
            hash: ORIGIN.to_owned(),
            time: 0,
            writers: BTreeSet::new(),
            events: 0,
            granted: Vec::new(),
        };
        let mut follower = Follower {
            book,
            findings,
            object: String::new(),
            sequence: 0,
        };
        for entry in entries {
            follower.push(&dataset, entry);
        }
        books.insert(dataset, follower.book);
    }
    books
}

/// An entry names the UID of its namespace, unless it was put back.
fn check_namespace(objects: &Objects, dataset: &str, entries: &[&Value], findings: &mut Findings) {
    let of = dataset.split('/').next().unwrap_or_default();
    let Some(own) = objects
        .namespaces
        .iter()
        .find(|object| name(object) == of)
        .map(uid)
    else {
        return;
    };
    for entry in entries {
        let named = text(entry, &["spec", "namespaceUid"]);
        if !named.is_empty() && named != own {
            let what = format!("it is of the namespace with UID {named}, but this one has {own}");
            findings.add(FindingKind::Chain, &format!("entry {of}/{}", name(entry)), what);
        }
    }
}

struct Follower<'a> {
    book: Book,
    findings: &'a mut Findings,
    /// The entry that is followed, for findings.
    object: String,
    sequence: u64,
}

/// The events of one claim in an entry that change what it has, in order.
type Pending<'a> = BTreeMap<&'a str, VecDeque<(&'a str, &'a Value)>>;

impl Follower<'_> {
    fn finding(&mut self, kind: FindingKind, message: impl Into<String>) {
        self.findings.add(kind, &self.object, message);
    }

    fn contradiction(&mut self, message: impl Into<String>) {
        self.finding(FindingKind::Contradiction, message);
    }

    fn push(&mut self, dataset: &str, entry: &Value) {
        let spec = &entry["spec"];
        self.object = format!("entry {}/{}", namespace(entry), name(entry));
        self.sequence = number(spec, &["sequence"]).unwrap_or_default();
        self.check_place(dataset, entry);
        let time = number(spec, &["timeMicros"]).unwrap_or_default();
        self.book.time = self.book.time.max(time);
        self.book.head = self.sequence;
        text(spec, &["hash"]).clone_into(&mut self.book.hash);
        self.book.writers.insert(text(spec, &["writer"]).to_owned());
        if !spec["omitted"].is_null() {
            let what = format!(
                "{} records are left out, which can't be followed",
                spec["omitted"]["count"]
            );
            self.finding(FindingKind::Unknown, what);
        }
        let mut pending = Pending::new();
        for event in list(spec, &["events"]) {
            self.book.events += 1;
            self.event(event, &mut pending);
        }
        let arrived: Vec<&str> = list(spec, &["events"])
            .iter()
            .filter_map(|event| event["arrive"]["claim"].as_str())
            .collect();
        self.requesters(list(spec, &["requesters"]), &arrived);
        let mut decided = BTreeSet::new();
        for record in list(spec, &["records"]) {
            self.record(record, &mut pending, &mut decided);
        }
        for claim in arrived {
            if !decided.contains(claim) {
                self.contradiction(format!(
                    "claim {claim} arrived, and no record says what became of it"
                ));
            }
        }
        self.check_all_is_done(&pending);
        self.check_sums();
    }

    /// Keeps who asked for the claims that arrived in the entry, each once and in their order.
    fn requesters(&mut self, requesters: &[Value], arrived: &[&str]) {
        let mut left = arrived.iter();
        for requester in requesters {
            let claim = text(requester, &["claim"]);
            if !left.any(|arrived| *arrived == claim) {
                self.contradiction(format!(
                    "it says who asked for claim {claim}, which doesn't arrive in it in this place"
                ));
            }
            if let Some(known) = self.book.claims.get_mut(claim) {
                known.requester = Some(requester.clone());
            }
        }
    }

    /// Checks number, name, predecessor, hash and time.
    fn check_place(&mut self, dataset: &str, entry: &Value) {
        let spec = &entry["spec"];
        let expected = self.book.head + 1;
        if self.sequence != expected {
            self.finding(FindingKind::Chain, format!("entry {expected} should come here"));
        }
        let short = dataset.rsplit('/').next().unwrap_or_default();
        if name(entry) != format!("{short}-{:010}", self.sequence) {
            self.finding(
                FindingKind::Chain,
                format!("its name is not that of entry {}", self.sequence),
            );
        }
        let previous = text(spec, &["previous"]);
        if previous != self.book.hash {
            let what = format!(
                "it follows {previous}, but the entry before it has {}",
                self.book.hash
            );
            self.finding(FindingKind::Chain, what);
        }
        match canonical::hash(spec) {
            Ok(hash) if hash == text(spec, &["hash"]) => {}
            Ok(hash) => self.finding(
                FindingKind::Chain,
                format!("its content has the hash {hash}, not its own"),
            ),
            Err(problem) => self.finding(FindingKind::Unknown, problem),
        }
        match number(spec, &["timeMicros"]) {
            Some(time) if time >= self.book.time => {}
            _ => self.finding(FindingKind::Chain, "it is dated before the entry before it"),
        }
        if spec["setting"].is_null() == (self.sequence == 1) {
            self.finding(FindingKind::Chain, "the first entry has the rules, and no other");
        }
    }

    fn event<'a>(&mut self, event: &'a Value, pending: &mut Pending<'a>) {
        let Some((kind, of)) = variant(event) else {
            return self.finding(FindingKind::Unknown, format!("the event {event}"));
        };
        let claim = text(of, &["claim"]);
        match kind {
            "addBlock" => self.add_block(text(of, &["block"]), &of["capacity"]),
            "retireBlock" => match self.book.blocks.get_mut(text(of, &["block"])) {
                Some(block) => block.retired = true,
                None => self.contradiction(format!("unknown block {} is retired", of["block"])),
            },
            "arrive" => self.arrive(claim, of),
            "match" => {
                let demands = demands(&of["demands"]);
                match (self.book.claims.get_mut(claim), demands) {
                    (Some(known), Some(demands)) if known.phase == Phase::Waiting && !known.is_matched() => {
                        known.set_demands(demands);
                    }
                    _ => self.contradiction(format!("claim {claim} is matched, which doesn't lack blocks")),
                }
            }
            "consume" | "release" | "withdraw" | "neverRan" => {
                pending.entry(claim).or_default().push_back((kind, &of["amount"]));
            }
            // Its records say which blocks.
            "writeOff" => {}
            // What they consumed stays consumed, so nothing of the sums changes.
            "forget" => {
                for claim in list(of, &["claims"]) {
                    let known = self.book.claims.get(claim.as_str().unwrap_or_default());
                    if known.is_some_and(|claim| matches!(claim.phase, Phase::Waiting | Phase::Granted)) {
                        self.contradiction(format!("claim {claim} is forgotten, and has not ended"));
                    }
                }
            }
            _ => self.finding(FindingKind::Unknown, format!("the event {kind}")),
        }
    }

    fn add_block(&mut self, name: &str, capacity: &Value) {
        let Some(capacity) = units(capacity) else {
            return self.contradiction(format!("block {name} has the capacity {capacity}"));
        };
        let coordinates = self.book.rules.orders.as_ref().map_or(2, Vec::len);
        if capacity.len() != coordinates || capacity.iter().any(|amount| *amount < 0) {
            self.contradiction(format!("block {name} has the capacity {capacity:?}"));
        }
        match self.book.blocks.get_mut(name) {
            Some(block) if block.retired && block.written_off.is_none() && block.capacity == capacity => {
                block.retired = false;
            }
            Some(_) => self.contradiction(format!("block {name} is added again")),
            None => {
                let block = Block::new(capacity, self.book.time);
                self.book.blocks.insert(name.to_owned(), block);
            }
        }
    }

    fn arrive(&mut self, name: &str, of: &Value) {
        let Some(demands) = demands(&of["demands"]) else {
            return self.contradiction(format!("claim {name} has the demands {}", of["demands"]));
        };
        let arrived = self.book.time;
        let mut claim = Claim {
            demands: Vec::new(),
            min_blocks: number(of, &["minBlocks"]).unwrap_or(1),
            expires: number(of, &["timeout"]).map(|timeout| arrived.saturating_add(timeout)),
            arrived,
            phase: Phase::Waiting,
            consumed: Vec::new(),
            released: Vec::new(),
            requester: None,
            history: vec![(self.sequence, Phase::Waiting)],
        };
        claim.set_demands(demands);
        if self.book.claims.insert(name.to_owned(), claim).is_some() {
            self.contradiction(format!("claim {name} arrived twice"));
        }
    }

    fn record<'a>(&mut self, record: &'a Value, pending: &mut Pending<'_>, decided: &mut BTreeSet<&'a str>) {
        let Some((kind, of)) = variant(record) else {
            return self.finding(FindingKind::Unknown, format!("the record {record}"));
        };
        let name = text(of, &["claim"]);
        decided.insert(name);
        match kind {
            // The events have said so.
            "blockAdded" | "blockRetired" | "waits" => {}
            "writtenOff" => {
                let (rules, time) = (&self.book.rules, self.book.time);
                match self.book.blocks.get_mut(text(of, &["block"])) {
                    Some(block) => block.write_off(rules, time),
                    None => self.contradiction(format!("unknown block {} is written off", of["block"])),
                }
            }
            "unlocked" => {
                for block in list(of, &["blocks"]) {
                    match self.book.blocks.get_mut(block.as_str().unwrap_or_default()) {
                        Some(block) => block.arrivals += 1,
                        None => self.contradiction(format!("unknown block {block} is unlocked")),
                    }
                }
            }
            "granted" => self.grant(name, number(of, &["at"])),
            "denied" => self.end(name, Phase::Denied, &of["reason"]),
            "expired" => {
                let early = self.book.claims.get(name).and_then(|claim| claim.expires);
                if early.is_none_or(|expires| number(of, &["at"]).is_none_or(|at| at < expires)) {
                    self.contradiction(format!("claim {name} expired before its timeout was over"));
                }
                self.end(name, Phase::Expired, &Value::Null);
            }
            "withdrawn" => {
                let events = pending.get_mut(name);
                if events.is_none_or(|events| take(events, &["withdraw"]).is_none()) {
                    self.contradiction(format!("claim {name} is withdrawn, and no event says so"));
                }
                self.end(name, Phase::Withdrawn, &Value::Null);
            }
            "consumed" | "released" => {
                let entirely = of["entirely"].as_bool().unwrap_or_default();
                self.settle(name, kind, entirely, pending);
            }
            _ => self.finding(FindingKind::Unknown, format!("the record {kind}")),
        }
    }

    fn grant(&mut self, name: &str, at: Option<u64>) {
        let Some(claim) = self.book.claims.get_mut(name) else {
            return self.contradiction(format!("unknown claim {name} is granted"));
        };
        if claim.phase != Phase::Waiting {
            let phase = claim.phase.name();
            return self.contradiction(format!("claim {name} is granted, and was {phase}"));
        }
        claim.phase = Phase::Granted;
        let (matched, arrived) = (claim.is_matched(), claim.arrived);
        let demands = claim.demands.clone();
        if !matched {
            self.contradiction(format!("claim {name} is granted on fewer blocks than it needs"));
        }
        if at.is_none_or(|at| at < arrived || at > self.book.time) {
            self.contradiction(format!(
                "claim {name} is granted at {at:?}, before it arrived or in the future"
            ));
        }
        for (block, demand) in demands {
            let (rules, time) = (&self.book.rules, self.book.time);
            let Some(known) = self.book.blocks.get_mut(&block) else {
                self.contradiction(format!("claim {name} is granted on unknown block {block}"));
                continue;
            };
            if demand.len() != known.capacity.len() || demand.iter().any(|amount| *amount < 0) {
                self.contradiction(format!("claim {name} demands {demand:?} of block {block}"));
                continue;
            }
            add(&mut known.allocated, &demand, 1);
            let sums = known.sums(rules, time);
            if !rules.holds(&sums.available, &known.capacity) {
                let what = format!(
                    "claim {name} is granted {demand:?} of block {block}, of which {:?} is available then",
                    sums.available
                );
                self.finding(FindingKind::Overspent, what);
            }
        }
        self.book.granted.push((
            self.sequence,
            self.book.granted.last().map_or(0, |(_, count)| *count) + 1,
        ));
        self.note(name);
    }

    /// A waiting claim ends without a grant.
    fn end(&mut self, name: &str, phase: Phase, reason: &Value) {
        match self.book.claims.get_mut(name) {
            Some(claim) if claim.phase == Phase::Waiting => claim.phase = phase,
            Some(claim) => {
                let before = claim.phase.name();
                return self.contradiction(format!("claim {name} is {}, and was {before}", phase.name()));
            }
            None => return self.contradiction(format!("unknown claim {name} is {}", phase.name())),
        }
        if let Some(("tooLarge", of)) = variant(reason) {
            let (asked, left) = (of["asked"].as_i64(), of["left"].as_i64());
            if asked.zip(left).is_none_or(|(asked, left)| asked <= left) {
                self.contradiction(format!(
                    "claim {name} is denied as too large, but {asked:?} fits in {left:?}"
                ));
            }
        }
        self.note(name);
    }

    /// Carries out the event that a record of consumption or release follows from.
    fn settle(&mut self, name: &str, kind: &str, entirely: bool, pending: &mut Pending<'_>) {
        let Some(claim) = self.book.claims.get(name) else {
            return self.contradiction(format!("unknown claim {name} is {kind}"));
        };
        if !matches!(claim.phase, Phase::Granted | Phase::Consumed | Phase::Released) {
            let phase = claim.phase.name();
            return self.contradiction(format!("claim {name} is {kind}, and was {phase}"));
        }
        let causes: &[&str] = match kind {
            "consumed" => &["consume"],
            _ => &["release", "withdraw", "neverRan"],
        };
        // Events that change nothing have no record.
        let found = pending.get_mut(name).and_then(|events| {
            loop {
                let (event, amount) = take(events, causes)?;
                match increase(claim, event, amount) {
                    Ok(Some(increase)) => return Some(Ok((event.to_owned(), increase))),
                    Ok(None) => {}
                    Err(problem) => return Some(Err(problem)),
                }
            }
        });
        let (event, increase) = match found {
            Some(Ok(found)) => found,
            Some(Err(problem)) => return self.contradiction(format!("claim {name}: {problem}")),
            None => return self.contradiction(format!("claim {name} is {kind}, and no event says so")),
        };
        self.carry_out(name, &event, &increase);
        let Some(claim) = self.book.claims.get_mut(name) else {
            return;
        };
        let settled = claim.is_settled();
        if settled {
            claim.phase = if claim.has_consumed() {
                Phase::Consumed
            } else {
                Phase::Released
            };
        }
        if settled != entirely {
            self.contradiction(format!(
                "claim {name} is {kind}, entirely: {entirely}, which is not so"
            ));
        }
        self.note(name);
    }

    /// Moves amounts in the accounts of a claim and its blocks.
    fn carry_out(&mut self, name: &str, event: &str, increase: &[Vec<i128>]) {
        let Some(claim) = self.book.claims.get_mut(name) else {
            return;
        };
        for (at, (block, _)) in claim.demands.iter().enumerate() {
            let Some(block) = self.book.blocks.get_mut(block) else {
                continue;
            };
            let (more, consumed) = (&increase[at], claim.consumed[at].clone());
            add(&mut block.allocated, more, -1);
            if event == "consume" {
                add(&mut block.consumed, more, 1);
                add(&mut claim.consumed[at], more, 1);
            } else {
                add(&mut claim.released[at], more, 1);
                if block.written_off.is_some() {
                    add(&mut block.consumed, more, 1);
                }
            }
            if event == "neverRan" {
                // The only way in which consumed budget returns.
                if block.written_off.is_none() {
                    add(&mut block.consumed, &consumed, -1);
                }
                add(&mut claim.released[at], &consumed, 1);
                claim.consumed[at].fill(0);
            }
        }
    }

    /// Notes a claim's phase in its history.
    fn note(&mut self, name: &str) {
        if let Some(claim) = self.book.claims.get_mut(name) {
            claim.history.push((self.sequence, claim.phase));
        }
    }

    /// Every event that changes something has a record.
    fn check_all_is_done(&mut self, pending: &Pending<'_>) {
        for (name, events) in pending {
            for (event, amount) in events {
                let left = match self.book.claims.get(*name) {
                    None => Some("which is unknown"),
                    Some(claim) if claim.phase == Phase::Waiting => {
                        (*event == "withdraw").then_some("which waits")
                    }
                    Some(claim) => match increase(claim, event, amount) {
                        Ok(Some(_)) => Some("of which there is no record"),
                        _ => None,
                    },
                };
                if let Some(left) = left {
                    self.contradiction(format!("{event} of claim {name}, {left}"));
                }
            }
        }
    }

    /// Checks the sums of all blocks, and notes those that changed.
    fn check_sums(&mut self) {
        let (rules, time, sequence) = (self.book.rules.clone(), self.book.time, self.sequence);
        let mut found = Vec::new();
        for (name, block) in &mut self.book.blocks {
            let sums = block.sums(&rules, time);
            if block.history.last().is_some_and(|(_, before)| *before == sums) {
                continue;
            }
            let taken = |at: usize| sums.allocated[at] + sums.consumed[at];
            let left: Vec<i128> = (0..block.capacity.len())
                .map(|at| block.capacity[at] - taken(at))
                .collect();
            let has_grants = is_something(&block.allocated) || is_something(&block.consumed);
            if has_grants && !rules.holds(&left, &block.capacity) {
                let what = format!(
                    "block {name} has the capacity {:?}, of which {:?} is allocated and {:?} consumed",
                    block.capacity, sums.allocated, sums.consumed
                );
                found.push((FindingKind::Overspent, what));
            }
            if sums
                .allocated
                .iter()
                .chain(&sums.consumed)
                .any(|amount| *amount < 0)
            {
                found.push((
                    FindingKind::Contradiction,
                    format!("block {name} has less than nothing allocated or consumed"),
                ));
            }
            block.history.push((sequence, sums));
        }
        for (kind, what) in found {
            self.finding(kind, what);
        }
    }
}

impl Claim {
    fn set_demands(&mut self, demands: Vec<(String, Vec<i128>)>) {
        let nothing: Vec<Vec<i128>> = demands.iter().map(|(_, budget)| vec![0; budget.len()]).collect();
        self.demands = demands;
        self.consumed.clone_from(&nothing);
        self.released = nothing;
    }
}

/// Takes the first event of one of these kinds.
fn take<'a>(events: &mut VecDeque<(&'a str, &'a Value)>, kinds: &[&str]) -> Option<(&'a str, &'a Value)> {
    let at = events.iter().position(|(kind, _)| kinds.contains(kind))?;
    events.remove(at)
}

/// Each block of a list of demands, with its budget.
fn demands(value: &Value) -> Option<Vec<(String, Vec<i128>)>> {
    let mut all = Vec::new();
    for demand in value.as_array()? {
        let budget = units(&demand["budget"])?;
        for block in list(demand, &["blocks"]) {
            let block = block.as_str()?;
            if all.iter().any(|(other, _)| other == block) {
                return None;
            }
            all.push((block.to_owned(), budget.clone()));
        }
    }
    Some(all)
}

/// What an event takes of what is allocated to a claim, on each of its blocks; none if it changes nothing.
fn increase(claim: &Claim, event: &str, amount: &Value) -> Result<Option<Vec<Vec<i128>>>, String> {
    let all = || (0..claim.demands.len()).map(|at| claim.allocated(at)).collect();
    let is_granted = claim.phase == Phase::Granted;
    match event {
        "withdraw" => return Ok(is_granted.then(all)),
        "neverRan" => return Ok(claim.has_consumed().then(all)),
        _ => {}
    }
    let in_all = match variant(amount) {
        Some(("all", _)) => return Ok(is_granted.then(all)),
        Some(("inAll", in_all)) => demands(in_all).ok_or_else(|| format!("{event} of {in_all}"))?,
        _ => return Err(format!("{event} of {amount}")),
    };
    let before = if event == "consume" {
        &claim.consumed
    } else {
        &claim.released
    };
    let mut increase: Vec<Vec<i128>> = claim
        .demands
        .iter()
        .map(|(_, budget)| vec![0; budget.len()])
        .collect();
    for (block, total) in &in_all {
        let at = claim.demands.iter().position(|(name, _)| name == block);
        let at = at.ok_or_else(|| format!("{event} on block {block}, which isn't its own"))?;
        let left = claim.allocated(at);
        for (coordinate, total) in total.iter().enumerate() {
            let more = (total - before[at].get(coordinate).copied().unwrap_or_default()).max(0);
            if left.get(coordinate).is_none_or(|left| more > *left) {
                return Err(format!("{event} of more on block {block} than is allocated"));
            }
            increase[at][coordinate] = more;
        }
    }
    Ok(increase
        .iter()
        .any(|amounts| is_something(amounts))
        .then_some(increase))
}
