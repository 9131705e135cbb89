//! The ledger's store in Kubernetes: one immutable PrivacyLedgerEntry object for each entry. A name can be created once,
//! which is what makes its creator the writer.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{AsyncReadExt, future::join_all};
use kube::{
    Api, Client, Error,
    api::{ListParams, ObjectMeta},
    core::{ListMeta, Request, Status},
};
use privatekube_api::{
    DatasetKey, LABEL_DATASET, PrivacyLedgerEntry, PrivacyLedgerEntrySpec, entry_name, rfc3339,
};
use privatekube_ledger::{
    Checkpoint, CheckpointStore, CreateError, ENTRY_VERSION, Entry, Hash, Store, StoreError,
};
use privatekube_policy::Time;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::{
    checkpoints::{Checkpoints, remove},
    plain, post_params,
};

/// How long a request may take. After that whether an entry was written is found out by reading it.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The most bytes that are read in one request. The API server limits a page by its number of entries only, each of which
/// may have 1 MiB.
const MOST_PAGE_BYTES: usize = 4 << 20;
/// How many entries are read in one request at first, and at most. The number follows the size of the entries.
const FIRST_PAGE: u32 = 32;
const LARGEST_PAGE: u32 = 500;
/// How many entries are read by their names at the same time, at most. Each may have 1 MiB.
const MOST_TOGETHER: u64 = 16;
/// The first wait before a request is repeated, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The store of one dataset's ledger.
#[derive(Clone, Debug)]
pub struct KubernetesStore {
    api: Api<PrivacyLedgerEntry>,
    checkpoints: Checkpoints,
    dataset: DatasetKey,
    /// The UID of the dataset's namespace, which entries name.
    namespace_uid: Option<String>,
    /// The version of the format of new entries, and the newest one that is read.
    entry_version: u32,
    /// Where the page that was read last ended. Without it, entries are read one by one.
    reading: Arc<Mutex<Reading>>,
}

/// How far the entries were listed.
#[derive(Debug)]
struct Reading {
    /// The last entry of the last page, and the API server's token for the page after it, if there is one.
    next: Option<(u64, String)>,
    /// How many entries the next page is to have.
    page: u32,
    /// The last entry that was read by its name, if there may be more.
    by_name: Option<u64>,
    /// How many entries were read by their names at the same time.
    together: u64,
}

/// As much of an entry's object as tells whether the rest can be understood.
#[derive(Clone, Debug, Deserialize)]
struct Outline {
    metadata: ObjectMeta,
    spec: Version,
}

#[derive(Clone, Debug, Deserialize)]
struct Version {
    version: Option<i64>,
}

/// A page of a list, of which each object is parsed by itself.
#[derive(Deserialize)]
struct Page<'a> {
    metadata: ListMeta,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Why a page was not read.
#[derive(Debug)]
enum PageError {
    /// It has more than [`MOST_PAGE_BYTES`].
    TooLarge,
    /// The API server can't continue the list, because it doesn't have the state any more in which the list began.
    Expired,
    Store(StoreError),
}

impl KubernetesStore {
    /// The store of a dataset's ledger, which is in the dataset's namespace.
    #[must_use]
    pub fn new(client: Client, dataset: DatasetKey) -> Self {
        Self {
            checkpoints: Checkpoints::new(&client, &dataset),
            api: Api::namespaced(client, &dataset.namespace),
            dataset,
            namespace_uid: None,
            entry_version: ENTRY_VERSION,
            reading: Arc::new(Mutex::new(Reading {
                next: None,
                page: FIRST_PAGE,
                by_name: None,
                together: 1,
            })),
        }
    }

    /// Sets the UID of the dataset's namespace, which new entries name. The admission policy of the ledger refuses them if the
    /// namespace has another one: it was created again, and its ledger is another ledger.
    pub fn set_namespace_uid(&mut self, uid: Option<String>) {
        self.namespace_uid = uid;
    }

    /// Sets the version of the format in which entries are written, and up to which they are read, in place of this
    /// program's own [`ENTRY_VERSION`]: for tests that play a later version of it.
    #[must_use]
    pub const fn with_entry_version(mut self, version: u32) -> Self {
        self.entry_version = version;
        self
    }

    fn reading<T>(&self, change: impl FnOnce(&mut Reading) -> T) -> T {
        // Each change is whole, so a panic while the lock was held left no half of a change.
        change(&mut self.reading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the page of entries at `token`, or the first page, and remembers where it ends.
    async fn read_page(&self, token: Option<&str>) -> Result<Vec<Entry>, PageError> {
        loop {
            let limit = self.reading(|reading| reading.page);
            let body = match self.list(token, limit).await {
                Err(PageError::TooLarge) if limit > 1 => {
                    self.reading(|reading| reading.page = limit / 2);
                    continue;
                }
                body => body?,
            };
            let page: Page<'_> = serde_json::from_slice(&body)
                .map_err(|error| PageError::Store(StoreError::Unreachable(error.to_string())))?;
            let entries = page.items.into_iter().map(|item| {
                let object: PrivacyLedgerEntry = serde_json::from_str(item.get()).map_err(|error| {
                    let Ok(outline) = serde_json::from_str::<Outline>(item.get()) else {
                        return StoreError::Corrupt(format!("ledger entry: {error}"));
                    };
                    let name = outline.metadata.name.unwrap_or_default();
                    match check_version(&name, outline.spec.version, self.entry_version) {
                        Err(newer) => newer,
                        Ok(_) => StoreError::Corrupt(format!("ledger entry {name}: {error}")),
                    }
                })?;
                entry(object, self.entry_version)
            });
            let entries: Vec<Entry> = entries.collect::<Result<_, _>>().map_err(PageError::Store)?;
            let token = page.metadata.continue_.filter(|token| !token.is_empty());
            self.reading(|reading| {
                reading.next = entries.last().map(|last| last.sequence).zip(token);
                if body.len() < MOST_PAGE_BYTES / 4 {
                    reading.page = LARGEST_PAGE.min(limit.saturating_mul(2));
                }
            });
            return Ok(entries);
        }
    }

    /// The text of a page of at most `limit` entries.
    async fn list(&self, token: Option<&str>, limit: u32) -> Result<Vec<u8>, PageError> {
        let label = format!("{LABEL_DATASET}={}", self.dataset.name);
        let mut params = ListParams::default().labels(&label).limit(limit);
        if let Some(token) = token {
            params = params.continue_token(token);
        }
        let unreachable = |why: String| PageError::Store(StoreError::Unreachable(why));
        let request = Request::new(self.api.resource_url())
            .list(&params)
            .map_err(|error| unreachable(error.to_string()))?;
        let read = async {
            let answer = self.api.clone().into_client().request_stream(request).await;
            let answer = answer.map_err(|error| match error {
                Error::Api(status) if status.code == 410 => PageError::Expired,
                error => unreachable(plain(&error)),
            })?;
            let mut body = Vec::new();
            let mut answer = std::pin::pin!(answer.take(MOST_PAGE_BYTES as u64 + 1));
            let read = answer.read_to_end(&mut body).await;
            read.map_err(|error| unreachable(error.to_string()))?;
            if body.len() > MOST_PAGE_BYTES {
                return Err(PageError::TooLarge);
            }
            Ok(body)
        };
        timeout(REQUEST_LIMIT, read)
            .await
            .unwrap_or_else(|_| Err(unreachable(no_answer())))
    }

    /// Reads entries after `after` by their names: first one, since a reader is mostly up to date, and then more and more at the
    /// same time. A list can't begin at a name.
    async fn read_by_name(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let many = self.reading(|reading| {
            let goes_on = reading.by_name.is_some_and(|last| last == after);
            reading.together = if goes_on {
                MOST_TOGETHER.min(reading.together * 2)
            } else {
                1
            };
            reading.together
        });
        let reads = (1..=many).map(|ahead| self.read(after.saturating_add(ahead)));
        let mut entries = Vec::new();
        for read in join_all(reads).await {
            match read {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break,
                // What was read before can be used.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        let last = entries.last().map(|entry| entry.sequence);
        self.reading(|reading| reading.by_name = last);
        Ok(entries)
    }

    /// Why an entry's object can't be parsed, `why` is what the parser says: perhaps a later version wrote it.
    async fn why_unreadable(&self, name: &str, why: String) -> StoreError {
        let request = http::Request::get(format!("{}/{name}", self.api.resource_url())).body(Vec::new());
        let Ok(request) = request else {
            return StoreError::Corrupt(why);
        };
        let outline = timeout(
            REQUEST_LIMIT,
            self.api.clone().into_client().request::<Outline>(request),
        )
        .await;
        let Ok(Ok(outline)) = outline else {
            return StoreError::Corrupt(why);
        };
        match check_version(name, outline.spec.version, self.entry_version) {
            Err(newer) => newer,
            Ok(_) => StoreError::Corrupt(why),
        }
    }

    fn object(&self, entry: &Entry, hash: Hash) -> Result<PrivacyLedgerEntry, CreateError> {
        let encoded = |value: Result<serde_json::Value, serde_json::Error>| {
            value.map_err(|error| CreateError::Refused(error.to_string()))
        };
        let values = |list: serde_json::Value| match list {
            serde_json::Value::Array(values) => values,
            other => vec![other],
        };
        let spec = PrivacyLedgerEntrySpec {
            dataset: self.dataset.name.clone(),
            namespace_uid: self.namespace_uid.clone(),
            version: (entry.version != 1).then_some(i64::from(entry.version)),
            sequence: signed("sequence", entry.sequence)?,
            previous: entry.previous.to_string(),
            hash: hash.to_string(),
            writer: entry.writer.clone(),
            program: entry.program.clone(),
            time: rfc3339(entry.time),
            time_micros: signed("timeMicros", entry.time.micros())?,
            rules: entry
                .rules
                .as_ref()
                .map(serde_json::to_value)
                .map(encoded)
                .transpose()?,
            events: values(encoded(serde_json::to_value(&entry.events))?),
            records: values(encoded(serde_json::to_value(&entry.records))?),
            omitted: entry
                .omitted
                .as_ref()
                .map(serde_json::to_value)
                .map(encoded)
                .transpose()?,
            checkpoint: entry
                .checkpoint
                .as_ref()
                .map(serde_json::to_value)
                .map(encoded)
                .transpose()?,
            requesters: values(encoded(serde_json::to_value(&entry.requesters))?),
        };
        let mut object = PrivacyLedgerEntry::new(&entry_name(&self.dataset.name, entry.sequence), spec);
        object.metadata.labels = Some([(LABEL_DATASET.to_owned(), self.dataset.name.clone())].into());
        Ok(object)
    }
}

/// A number as Kubernetes stores it, in 63 bits. A larger one would come back as a float.
pub(crate) fn signed(field: &str, number: u64) -> Result<i64, CreateError> {
    i64::try_from(number).map_err(|_| {
        CreateError::Refused(format!(
            "{field} is {number}, and Kubernetes stores integers of 63 bits"
        ))
    })
}

/// The version of an entry's format, if it is none that only a later version of the program knows.
fn check_version(name: &str, version: Option<i64>, newest: u32) -> Result<u32, StoreError> {
    let stated = version.unwrap_or(1);
    let Ok(version) = u32::try_from(stated) else {
        let problem = format!("ledger entry {name}: version is {stated}, and a number from 1 is accepted");
        return Err(StoreError::Corrupt(problem));
    };
    if version <= newest {
        return Ok(version);
    }
    Err(StoreError::Newer {
        what: format!("ledger entry {name}"),
        version,
        newest,
    })
}

/// Reads an entry from its object, unless its format is newer than `newest`. The hash that the object states must be that of
/// its content.
fn entry(object: PrivacyLedgerEntry, newest: u32) -> Result<Entry, StoreError> {
    let ObjectMeta { name, .. } = object.metadata;
    let name = name.unwrap_or_default();
    let spec = object.spec;
    let version = check_version(&name, spec.version, newest)?;
    let unreadable =
        |what: &str, why: String| StoreError::Corrupt(format!("ledger entry {name}: {what}: {why}"));
    let parse =
        |what: &str, values: Vec<serde_json::Value>| (what.to_owned(), serde_json::Value::Array(values));
    let (events, records) = (parse("events", spec.events), parse("records", spec.records));
    let requesters = parse("requesters", spec.requesters);
    let entry = Entry {
        version,
        sequence: u64::try_from(spec.sequence).map_err(|error| unreadable("sequence", error.to_string()))?,
        previous: spec
            .previous
            .parse()
            .map_err(|_| unreadable("previous", spec.previous.clone()))?,
        writer: spec.writer,
        program: spec.program,
        time: u64::try_from(spec.time_micros)
            .map(Time::from_micros)
            .map_err(|error| unreadable("timeMicros", error.to_string()))?,
        rules: spec
            .rules
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| unreadable("setting", error.to_string()))?,
        omitted: spec
            .omitted
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| unreadable("omitted", error.to_string()))?,
        checkpoint: spec
            .checkpoint
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| unreadable("checkpoint", error.to_string()))?,
        events: serde_json::from_value(events.1).map_err(|error| unreadable(&events.0, error.to_string()))?,
        records: serde_json::from_value(records.1)
            .map_err(|error| unreadable(&records.0, error.to_string()))?,
        requesters: serde_json::from_value(requesters.1)
            .map_err(|error| unreadable(&requesters.0, error.to_string()))?,
    };
    let hash = entry
        .hash()
        .map_err(|error| unreadable("hash", error.to_string()))?
        .to_string();
    if hash == spec.hash {
        Ok(entry)
    } else {
        Err(unreadable(
            "hash",
            format!("it says {}, its content's is {hash}: it was changed", spec.hash),
        ))
    }
}

impl Store for KubernetesStore {
    fn entry_version(&self) -> u32 {
        self.entry_version
    }

    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        let hash = entry
            .hash()
            .map_err(|error| CreateError::Refused(error.to_string()))?;
        let object = self.object(entry, hash)?;
        let written = written(create_whole(&self.api, &object)).await;
        if let Err(CreateError::Unknown(error)) = &written {
            warn!(dataset = %self.dataset, sequence = entry.sequence, error, "whether an entry was written is unknown");
        }
        written
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        let name = entry_name(&self.dataset.name, sequence);
        let answer = match read_object(&self.api, &name, "ledger entry").await {
            Ok(object) => object
                .map(|object| self::entry(object, self.entry_version))
                .transpose(),
            Err(StoreError::Corrupt(why)) => Err(self.why_unreadable(&name, why).await),
            Err(error) => Err(error),
        };
        if let Err(error) = &answer {
            warn!(dataset = %self.dataset, sequence, %error, "an entry can't be read");
        }
        answer
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let next = self.reading(|reading| reading.next.take());
        let token = next.filter(|(last, _)| *last == after).map(|(_, token)| token);
        if after == 0 || token.is_some() {
            match self.read_page(token.as_deref()).await {
                Ok(entries) => return Ok(entries),
                // A list of many pages may take longer than the API server keeps its state. The entry's name is known.
                Err(PageError::Expired) => {}
                Err(PageError::TooLarge) => {
                    let problem = format!("an entry has more than {MOST_PAGE_BYTES} bytes");
                    return Err(StoreError::Corrupt(problem));
                }
                Err(PageError::Store(error)) => return Err(error),
            }
        }
        self.read_by_name(after).await
    }

    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.checkpoints.head().await
    }

    async fn read_piece(&self, checkpoint: &Checkpoint, piece: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.checkpoints.piece(checkpoint, piece).await
    }

    async fn pause(&self, attempt: u32) {
        let pause = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(attempt.min(16)))
            .min(LONGEST_PAUSE);
        warn!(dataset = %self.dataset, attempt, ?pause, "the ledger's store gave no clear answer, trying again");
        sleep(pause).await;
    }
}

impl CheckpointStore for KubernetesStore {
    async fn create_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
        content: &[u8],
    ) -> Result<(), CreateError> {
        let uid = self.namespace_uid.as_deref();
        self.checkpoints
            .create_piece(checkpoint, piece, content, uid)
            .await
    }

    async fn publish(&self, checkpoint: &Checkpoint) -> Result<(), CreateError> {
        self.checkpoints
            .publish(checkpoint, self.namespace_uid.as_deref())
            .await
    }

    async fn remove_pieces_before(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.checkpoints.remove_pieces_before(checkpoint).await
    }

    async fn read_first(&self) -> Result<Vec<Entry>, StoreError> {
        self.read_after(0).await
    }

    async fn remove(&self, sequence: u64) -> Result<(), StoreError> {
        remove(&self.api, &entry_name(&self.dataset.name, sequence)).await
    }
}

/// Creates an entry's object as it is, or not at all. An API server whose definition of the resource lacks a field would else
/// leave the field out, and the entry would not have the content that its hash is of.
async fn create_whole(api: &Api<PrivacyLedgerEntry>, object: &PrivacyLedgerEntry) -> Result<(), Error> {
    let content = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    let mut request = Request::new(api.resource_url())
        .create(&post_params(), content)
        .map_err(Error::BuildRequest)?;
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict.parse().map_err(|error| {
        Error::Service(Box::<dyn std::error::Error + Send + Sync>::from(format!(
            "{strict}: {error}"
        )))
    })?;
    let client = api.clone().into_client();
    client.request::<PrivacyLedgerEntry>(request).await.map(|_| ())
}

/// Reads the object of this name, which is a `kind`, if there is one.
pub(crate) async fn read_object<K>(api: &Api<K>, name: &str, kind: &str) -> Result<Option<K>, StoreError>
where
    K: Clone + DeserializeOwned + Debug,
{
    match timeout(REQUEST_LIMIT, api.get_opt(name)).await {
        Ok(Ok(object)) => Ok(object),
        // It is there, and won't be another one when it is read again.
        Ok(Err(Error::SerdeError(error))) => Err(StoreError::Corrupt(format!("{kind} {name}: {error}"))),
        Ok(Err(error)) => Err(StoreError::Unreachable(plain(&error))),
        Err(_) => Err(StoreError::Unreachable(no_answer())),
    }
}

/// Waits for the answer to a request to create or replace an object.
pub(crate) async fn written<T>(request: impl Future<Output = Result<T, Error>>) -> Result<(), CreateError> {
    match timeout(REQUEST_LIMIT, request).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Error::Api(status))) => Err(create_error(&status)),
        Ok(Err(error)) => Err(CreateError::Unknown(plain(&error))),
        Err(_) => Err(CreateError::Unknown(no_answer())),
    }
}

/// What is said of a request that has taken too long.
pub(crate) fn no_answer() -> String {
    format!("no answer within {REQUEST_LIMIT:?}")
}

/// What an error of the API server means for the entry: only a clear refusal says that it was not written.
fn create_error(status: &Status) -> CreateError {
    let says = format!("{} ({})", status.message, status.code);
    match status.code {
        409 if status.reason == "AlreadyExists" => CreateError::Exists,
        400..=408 | 410..=428 | 430..=499 => CreateError::Refused(says),
        _ => CreateError::Unknown(says),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_ledger::CheckpointMark;
    use privatekube_policy::{
        Amount, Arrival, Composition, DatasetRules, Demand, Denial, Event, Policy, Record, Revision, Span,
        Unlocking, Weight,
    };

    use super::*;

    #[test]
    fn only_a_clear_refusal_counts_as_not_written() {
        let status = |code, reason: &str| Status {
            code,
            reason: reason.into(),
            ..Status::default()
        };
        assert_eq!(create_error(&status(409, "AlreadyExists")), CreateError::Exists);
        for code in [400, 403, 413, 422] {
            assert!(
                matches!(create_error(&status(code, "")), CreateError::Refused(_)),
                "{code}"
            );
        }
        for code in [409, 429, 500, 503, 504] {
            assert!(
                matches!(create_error(&status(code, "Conflict")), CreateError::Unknown(_)),
                "{code}"
            );
        }
    }

    /// Every number in JSON, wherever it is.
    fn numbers(value: &serde_json::Value, found: &mut Vec<serde_json::Number>) {
        match value {
            serde_json::Value::Number(number) => found.push(number.clone()),
            serde_json::Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
            serde_json::Value::Object(fields) => fields.values().for_each(|value| numbers(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_number_in_an_entry_survives_the_api_server() {
        // The largest values that parsing and the engine let through.
        let span: Span = "106751991d".parse().unwrap();
        assert!("106751992d".parse::<Span>().is_err());
        let amounts = Composition::Basic
            .capacity("9000000".parse().unwrap(), "1".parse().unwrap())
            .unwrap();
        let demands = vec![Demand {
            blocks: vec!["a".into()],
            budget: amounts.clone(),
        }];
        let extremes = |unlocking| Entry {
            version: 1,
            sequence: i64::MAX.unsigned_abs(),
            previous: Hash::ORIGIN,
            writer: "w".to_owned(),
            program: None,
            time: Time::from_micros(i64::MAX.unsigned_abs()),
            rules: Some(DatasetRules {
                policy: Policy::Blend {
                    fairness: 1000,
                    recompute_after: u32::MAX,
                },
                unlocking,
                composition: Composition::Basic,
                revision: Revision::CURRENT,
            }),
            events: vec![
                Event::AddBlock {
                    block: "a".into(),
                    capacity: amounts.clone(),
                },
                Event::Arrive(Arrival {
                    claim: "c".into(),
                    demands: demands.clone(),
                    min_blocks: u32::MAX,
                    timeout: Some(span),
                    priority: i32::MIN,
                    weight: Weight::new(1_000_000).unwrap_or_default(),
                }),
                Event::Consume {
                    claim: "c".into(),
                    amount: Amount::InAll(demands.clone()),
                },
            ],
            records: vec![Record::Denied {
                claim: "c".into(),
                at: Time::from_micros(i64::MAX.unsigned_abs()),
                reason: Denial::TooLarge {
                    block: "a".into(),
                    coordinate: u32::MAX,
                    asked: i64::MAX,
                    left: i64::MIN,
                },
            }],
            omitted: None,
            checkpoint: Some(CheckpointMark {
                sequence: i64::MAX.unsigned_abs(),
                digest: Hash::ORIGIN,
            }),
            requesters: Vec::new(),
        };
        let lifetime = Unlocking::Lifetime {
            lifetime: span,
            tick: span,
        };
        for unlocking in [lifetime, Unlocking::Arrivals(u32::MAX)] {
            let entry = extremes(unlocking);
            let value = serde_json::to_value(&entry).unwrap();
            let mut found = Vec::new();
            numbers(&value, &mut found);
            assert!(found.len() > 10);
            for number in found {
                assert!(number.is_i64(), "{number}");
            }
        }
    }
}
