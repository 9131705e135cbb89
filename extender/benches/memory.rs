//! The memory of claims in the whole process: `cargo bench -p privatekube-extender --bench memory`.
//!
//! Each number is measured in a process of its own, as what the kernel says of the process. Waiting, consumed and ended
//! claims go through the engine and the publisher; a start reads a ledger from an API server whose entries are in a file,
//! so that only what the reader holds counts.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark that is set up wrong must stop"
)]

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{body::Body, http::Response};
use kube::{Client, client::Body as ClientBody};
use privatekube_api::{DatasetKey, PrivateDataBlock};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Ledger, Store};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Orders,
    Policy, Revision, Time, Unlocking, Weight,
};
use privatekube_view::{CommittedState, DatasetObjects, Publisher, Touched, View};
use serde_json::{Value, json};

/// A line of `/proc/self/status`, in bytes.
fn kernel_says(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn dataset() -> DatasetKey {
    DatasetKey {
        namespace: "data".to_owned(),
        name: "taxi".to_owned(),
    }
}

fn rules() -> DatasetRules {
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Arrivals(100_000),
        composition: Composition::Renyi(Orders::default()),
        revision: Revision::CURRENT,
    }
}

fn block(at: u64) -> BlockId {
    BlockId::from(format!("taxi-2026-day-{at:03}"))
}

fn capacity() -> Budget {
    let (epsilon, delta) = ("10".parse(), "1e-7".parse());
    let capacity = rules()
        .composition
        .capacity(epsilon.expect("a number"), delta.expect("a number"));
    capacity.expect("an order is usable")
}

/// A claim that demands a part of each of the first `blocks` blocks. No claim demands the same as the claims before it.
fn arrival(number: u64, blocks: u64, units: i64) -> Arrival {
    let amount = units + i64::try_from(number).unwrap_or(0);
    let coordinates = rules().composition.coordinates();
    Arrival {
        claim: claim(number),
        demands: vec![Demand {
            blocks: (0..blocks).map(block).collect(),
            budget: Budget::new(vec![amount; coordinates]).expect("no amount is negative"),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    }
}

fn claim(number: u64) -> ClaimId {
    ClaimId::from(format!(
        "claim/research/train-model-{number:06}/5f0b1c9e-7d43-4c56-9a10-{number:012}"
    ))
}

fn objects(blocks: u64) -> DatasetObjects {
    let mut objects = DatasetObjects::default();
    for at in 0..blocks {
        let object = json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivateDataBlock",
            "metadata": {"namespace": "data", "name": block(at).as_str(), "uid": format!("u{at}")},
            "spec": {"dataset": "taxi", "dataSource": format!("s3://lake/taxi/2026/day-{at:03}")},
        });
        let object: PrivateDataBlock = serde_json::from_value(object).expect("a block");
        objects.add_block(Arc::new(object));
    }
    objects
}

/// An engine and a publisher, driven as the bookkeeper drives them.
struct World {
    engine: Engine,
    publisher: Publisher,
    objects: DatasetObjects,
    sequence: u64,
}

impl World {
    fn new(blocks: u64) -> Self {
        let mut world = Self {
            engine: Engine::new(rules()).expect("usable rules"),
            publisher: Publisher::new(dataset(), Arc::new(View::default())),
            objects: objects(blocks),
            sequence: 0,
        };
        for at in 0..blocks {
            world.apply(&Event::AddBlock {
                block: block(at),
                capacity: capacity(),
            });
        }
        world
    }

    fn apply(&mut self, event: &Event) {
        self.sequence += 1;
        let time = Time::from_micros(self.sequence * 1000);
        let mut records = self.engine.advance(time);
        records.extend(self.engine.apply(event).expect("the event is valid"));
        let touched = Touched::by(&records, &[], &self.engine);
        let state = CommittedState {
            engine: &self.engine,
            sequence: self.sequence,
        };
        let _ = self.publisher.publish_entry(state, &self.objects, time, &touched);
    }
}

fn waiting(claims: u64) {
    let world = World::new(1);
    measure("waits on 1 block", claims, world, |world, number| {
        world.apply(&Event::Arrive(arrival(number, 1, 4_000_000_000_000)));
    });
}

fn consumed(claims: u64) {
    let world = World::new(100);
    measure("is consumed on 100 blocks", claims, world, |world, number| {
        world.apply(&Event::Arrive(arrival(number, 100, 1_000_000)));
        let amount = Amount::All;
        let claim = claim(number);
        world.apply(&Event::Consume { claim, amount });
    });
}

fn deleted(claims: u64) {
    let world = World::new(1);
    measure("ended and was deleted", claims, world, |world, number| {
        world.apply(&Event::Arrive(arrival(number, 1, 4_000_000_000_000)));
        let claim = claim(number);
        world.publisher.object_deleted(&world.engine, &claim);
        world.apply(&Event::Withdraw { claim });
    });
}

fn measure(what: &str, claims: u64, mut world: World, step: impl Fn(&mut World, u64)) {
    // The first claims pay for what all share.
    for number in 0..100 {
        step(&mut world, number);
    }
    let before = kernel_says("VmRSS");
    for number in 100..100 + claims {
        step(&mut world, number);
    }
    let taken = kernel_says("VmRSS").saturating_sub(before);
    println!("a claim that {what} ({claims}): {} bytes", taken / claims);
    // Not freed: the process ends here.
    std::mem::forget(world);
}

/// An API server for the entries of one ledger: their objects lie one after the other in a file.
#[derive(Debug)]
struct Entries {
    file: File,
    /// Where each entry's object begins, by name, and how long it is.
    places: BTreeMap<String, (u64, usize)>,
    version: u64,
}

impl Entries {
    fn open(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path);
        let mut file = file.expect("a file for the entries");
        let mut places = BTreeMap::new();
        let index = std::fs::read_to_string(path.with_extension("index")).unwrap_or_default();
        for line in index.lines() {
            let mut words = line.split(' ');
            let mut next = || words.next().unwrap_or_default();
            let (name, at, length) = (next().to_owned(), next().parse(), next().parse());
            places.insert(name, (at.expect("a place"), length.expect("a length")));
        }
        file.seek(SeekFrom::End(0)).expect("the file's end");
        Self {
            file,
            places,
            version: 1000,
        }
    }

    fn keep_index(&self, path: &Path) {
        let lines = self
            .places
            .iter()
            .map(|(name, (at, length))| format!("{name} {at} {length}\n"));
        std::fs::write(path.with_extension("index"), lines.collect::<String>()).expect("an index");
    }

    fn create(&mut self, body: &[u8]) -> Vec<u8> {
        let mut object: Value = serde_json::from_slice(body).expect("an object");
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.version += 1;
        object["metadata"]["namespace"] = json!("data");
        object["metadata"]["uid"] = json!(format!("5f0b1c9e-7d43-4c56-9a10-{:012}", self.version));
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["managedFields"] = json!([{
            "manager": "privatekube-extender", "operation": "Update", "apiVersion": "privatekube.dev/v1alpha1",
            "time": "2026-11-21T12:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:privatekube.dev/dataset": {}}}, "f:spec": {
                ".": {}, "f:dataset": {}, "f:events": {}, "f:hash": {}, "f:previous": {}, "f:records": {},
                "f:sequence": {}, "f:time": {}, "f:timeMicros": {}, "f:writer": {}}},
        }]);
        let text = serde_json::to_vec(&object).expect("JSON");
        let at = self.file.seek(SeekFrom::End(0)).expect("the file's end");
        self.file.write_all(&text).expect("the file takes it");
        self.places.insert(name, (at, text.len()));
        text
    }

    fn read(&mut self, (at, length): (u64, usize)) -> Vec<u8> {
        let mut text = vec![0; length];
        self.file.seek(SeekFrom::Start(at)).expect("a place");
        self.file.read_exact(&mut text).expect("an object");
        text
    }

    fn get(&mut self, name: &str) -> Option<Vec<u8>> {
        let place = *self.places.get(name)?;
        Some(self.read(place))
    }

    fn list(&mut self, limit: usize, after: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let mut places = self
            .places
            .range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
            .map(|(name, place)| (name.clone(), *place));
        let page: Vec<_> = places.by_ref().take(limit).collect();
        let more = places.next().is_some();
        let token = page.last().filter(|_| more).map(|(name, _)| name.clone());
        let head = json!({"resourceVersion": "5000", "continue": token.unwrap_or_default()});
        let kind = r#""apiVersion":"privatekube.dev/v1alpha1","kind":"PrivacyLedgerEntryList""#;
        write!(body, "{{{kind},\"metadata\":{head},\"items\":[").expect("memory");
        for (at, (_, place)) in page.into_iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend(self.read(place));
        }
        body.extend(b"]}");
        body
    }
}

fn client(entries: Arc<Mutex<Entries>>) -> Client {
    let service = tower::service_fn(move |request: axum::http::Request<ClientBody>| {
        let entries = Arc::clone(&entries);
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(Body::new(body), usize::MAX).await?;
            let mut entries = entries.lock().expect("no panic");
            let name = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            let query: BTreeMap<&str, &str> = parts
                .uri
                .query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|part| part.split_once('='))
                .collect();
            let (code, body) = if parts.method == "POST" {
                (201, entries.create(&body))
            } else if name == "privacyledgerentries" {
                let limit = query.get("limit").and_then(|limit| limit.parse().ok());
                let after = query.get("continue").copied().unwrap_or_default();
                (200, entries.list(limit.unwrap_or(usize::MAX), after))
            } else {
                match entries.get(&name) {
                    Some(text) => (200, text),
                    None => (
                        404,
                        br#"{"kind":"Status","code":404,"reason":"NotFound","status":"Failure","message":"no"}"#
                            .to_vec(),
                    ),
                }
            };
            let response = Response::builder().status(code).body(Body::from(body));
            Ok::<_, tower::BoxError>(response?)
        }
    });
    Client::new(service, "data")
}

/// Writes a ledger of `claims` claims on 100 blocks into a file. Half of them were consumed, the others withdrawn.
async fn write(path: &Path, claims: u64) {
    const TOGETHER: u64 = 50;
    let entries = Arc::new(Mutex::new(Entries::open(path)));
    let store = KubernetesStore::new(client(Arc::clone(&entries)), dataset());
    let ledger = Ledger::open(store, "extender-0".to_owned(), rules()).await;
    let mut ledger = ledger.expect("an empty ledger");
    let mut now = 1_700_000_000_000_000;
    let mut number = 0;
    let add = (0..100).map(|at| Event::AddBlock {
        block: block(at),
        capacity: capacity(),
    });
    commit(&mut ledger, now, add).await;
    while number < claims {
        let numbers = number..(number + TOGETHER).min(claims);
        now += 1_000_000;
        let arrivals = numbers
            .clone()
            .map(|number| Event::Arrive(arrival(number, 100, 1_000_000)));
        commit(&mut ledger, now, arrivals).await;
        now += 1_000_000;
        let ends = numbers.clone().map(|number| {
            let claim = claim(number);
            if number % 2 == 0 {
                let amount = Amount::All;
                Event::Consume { claim, amount }
            } else {
                Event::Withdraw { claim }
            }
        });
        commit(&mut ledger, now, ends).await;
        number = numbers.end;
    }
    entries.lock().expect("no panic").keep_index(path);
}

async fn commit<S: Store>(ledger: &mut Ledger<S>, now: u64, events: impl Iterator<Item = Event>) {
    let mut draft = ledger.draft(Time::from_micros(now)).expect("a sound ledger");
    for event in events {
        draft.apply(event).expect("a valid event");
    }
    draft.commit().await.expect("an entry");
}

/// Reads such a ledger and publishes it.
async fn start(path: &Path, claims: u64) {
    let store = KubernetesStore::new(client(Arc::new(Mutex::new(Entries::open(path)))), dataset());
    let objects = objects(100);
    let before = kernel_says("VmRSS");
    let ledger = Ledger::open(store, "extender-1".to_owned(), rules()).await;
    let ledger = ledger.expect("the ledger is sound");
    let mut publisher = Publisher::new(dataset(), Arc::new(View::default()));
    let state = CommittedState {
        engine: ledger.engine().expect("nothing is lost"),
        sequence: ledger.head().sequence,
    };
    let _ = publisher.publish_all(state, &objects, ledger.head().time, |_| true);
    let mib = |bytes: u64| bytes.saturating_sub(before) / 1024 / 1024;
    println!(
        "a start over {claims} ended claims in {} entries, {} MiB: {} MiB at the peak, {} MiB afterwards",
        ledger.head().sequence,
        std::fs::metadata(path).map_or(0, |file| file.len()) / 1024 / 1024,
        mib(kernel_says("VmHWM")),
        mib(kernel_says("VmRSS")),
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let [_, case, claims, path] = arguments.as_slice()
        && let Ok(claims) = claims.parse()
    {
        let path = PathBuf::from(path);
        return match case.as_str() {
            "waiting" => waiting(claims),
            "consumed" => consumed(claims),
            "deleted" => deleted(claims),
            "write" => runtime.block_on(write(&path, claims)),
            _ => runtime.block_on(start(&path, claims)),
        };
    }
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let size = |full: &'static str| if measures { full } else { "100" };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("entries");
    let program = std::env::current_exe().expect("this program");
    for (case, claims) in [
        ("waiting", size("20000")),
        ("consumed", size("2000")),
        ("deleted", size("20000")),
        ("write", size("10000")),
        ("start", size("10000")),
    ] {
        let mut command = Command::new(&program);
        if let Err(error) = command.args([case, claims]).arg(&path).status() {
            eprintln!("{case} {claims}: {error}");
        }
    }
}
