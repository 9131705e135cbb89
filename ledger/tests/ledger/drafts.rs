//! Drafts: applying events, committing, and what a lost draft leaves.

use futures::executor::block_on;
use privatekube_ledger::{
    ApplyError, Checkpoint, CommitError, CreateError, Entry, FULL_DRAFT_BYTES, Hash, Ledger,
    MOST_ENTRY_BYTES, MOST_EVENT_BYTES, MemoryStore, OpenError, Poisoned, Store, StoreError, VerifyError,
    verify,
};
use privatekube_policy::{
    Arrival, BlockId, ClaimId, DatasetRules, DatasetRulesError, Demand, Event, Phase, Record, Refusal, Span,
    Unlocking, Weight,
};

use crate::build::{at, block, budget, claim, claim_until, commit, consume, open, release, rules, snapshot};

#[test]
fn a_committed_entry_has_the_records_of_each_event() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(
        &mut ledger,
        10,
        &[block("b1", 10), claim_until("late", 11, &["b1"], 5)],
    );
    let mut draft = ledger.draft(at(20)).unwrap();
    let granted = draft.apply(claim("c1", 4, &["b1"])).unwrap();
    let waits = draft.apply(claim("c2", 7, &["b1"])).unwrap();
    let released = draft.apply(release("c1")).unwrap();
    let committed = block_on(draft.commit()).unwrap();
    assert_eq!((committed.sequence, committed.time), (2, at(20)));
    assert_eq!(Ok(committed.hash), store.entries()[1].hash());
    assert_eq!(ledger.head().hash, committed.hash);
    let granted = committed.records_of(granted);
    assert!(granted.contains(&Record::Granted {
        claim: "c1".into(),
        at: at(20)
    }));
    assert_eq!(
        committed.records_of(waits),
        [Record::Waits { claim: "c2".into() }]
    );
    assert!(committed.records_of(released).contains(&Record::Granted {
        claim: "c2".into(),
        at: at(20)
    }));
    assert_eq!(committed.records(), store.entries()[1].records);
}

#[test]
fn the_clock_decides_before_any_event() {
    let mut ledger = open(MemoryStore::new());
    commit(
        &mut ledger,
        10,
        &[
            block("b1", 10),
            claim("c1", 8, &["b1"]),
            claim_until("c2", 8, &["b1"], 5),
        ],
    );
    let mut draft = ledger.draft(at(20)).unwrap();
    assert!(!draft.is_empty());
    let place = draft.apply(release("c1")).unwrap();
    let committed = block_on(draft.commit()).unwrap();
    assert_eq!(
        committed.records_of_clock(),
        [Record::Expired {
            claim: "c2".into(),
            at: at(15)
        }]
    );
    assert_eq!(committed.records_of(place).len(), 1);
}

#[test]
fn a_refused_event_changes_nothing() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 10, &[block("b1", 10)]);
    let before = snapshot(ledger.engine().unwrap());
    let mut draft = ledger.draft(at(20)).unwrap();
    let refused = draft.apply(consume("c1"));
    assert_eq!(
        refused,
        Err(ApplyError::Refused(Refusal::UnknownClaim("c1".into())))
    );
    assert!(draft.is_empty());
    drop(draft);
    assert_eq!(snapshot(ledger.engine().unwrap()), before);

    let mut draft = ledger.draft(at(20)).unwrap();
    draft.apply(claim("c1", 1, &["b1"])).unwrap();
    draft.apply(claim("c1", 1, &["b1"])).unwrap_err();
    let place = draft.apply(consume("c1")).unwrap();
    let committed = block_on(draft.commit()).unwrap();
    assert_eq!(committed.records_of(place).len(), 1);
    assert_eq!(store.entries()[1].events.len(), 2);
    verify(store.entries()).unwrap();
}

#[test]
fn an_empty_draft_writes_nothing_and_can_be_dropped() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    for now in [5, 6] {
        let draft = ledger.draft(at(now)).unwrap();
        assert!(draft.is_empty() && !draft.is_full());
        let committed = block_on(draft.commit()).unwrap();
        assert_eq!((committed.sequence, committed.hash), (0, Hash::ORIGIN));
        assert_eq!((committed.records(), committed.events()), ([].as_slice(), 0));
    }
    assert_eq!(store.entries(), []);
    let first = commit(&mut ledger, 10, &[block("b1", 10)]);
    drop(ledger.draft(at(20)).unwrap());
    assert!(!ledger.is_poisoned());
    let empty = block_on(ledger.draft(at(30)).unwrap().commit()).unwrap();
    assert_eq!((empty.sequence, empty.hash, empty.time), (1, first.hash, at(10)));
    assert_eq!(store.entries().len(), 1);
    assert_eq!(ledger.head().time, at(10));
}

#[test]
fn time_never_goes_back() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 100, &[block("b1", 10)]);
    assert_eq!(commit(&mut ledger, 50, &[claim("c1", 1, &["b1"])]).time, at(100));
    // Not below a time that decided nothing and is in no entry either.
    drop(ledger.draft(at(200)).unwrap());
    assert_eq!(ledger.draft(at(150)).unwrap().time(), at(200));
    assert_eq!(commit(&mut ledger, 150, &[claim("c2", 1, &["b1"])]).time, at(200));
    // Nor with another writer whose clock is behind.
    let mut next = open(store.clone());
    assert_eq!(commit(&mut next, 7, &[claim("c3", 1, &["b1"])]).time, at(200));
    // Nor does it pass what a store can keep.
    assert_eq!(next.draft(at(u64::MAX)).unwrap().time(), at(i64::MAX as u64));
    verify(store.entries()).unwrap();
}

#[test]
fn steps_of_the_clock_that_decided_nothing_follow_from_the_next_entry() {
    let stepwise = DatasetRules {
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_micros(100),
            tick: Span::from_micros(10),
        },
        ..rules()
    };
    let store = MemoryStore::new();
    let open = || block_on(Ledger::open(store.clone(), "w".to_owned(), stepwise.clone())).unwrap();
    let mut ledger = open();
    commit(&mut ledger, 0, &[block("b1", 100)]);
    for now in [13, 27, 44, 45] {
        drop(ledger.draft(at(now)).unwrap());
    }
    commit(&mut ledger, 47, &[claim("c1", 40, &["b1"])]);
    let reopened = open();
    assert_eq!(
        snapshot(ledger.engine().unwrap()),
        snapshot(reopened.engine().unwrap())
    );
    assert_eq!(
        reopened.engine().unwrap().claim(&"c1".into()).unwrap().phase,
        Phase::Granted
    );
}

#[test]
fn a_dropped_draft_poisons() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(
        &mut ledger,
        10,
        &[block("b1", 10), claim_until("c1", 11, &["b1"], 5)],
    );
    let mut draft = ledger.draft(at(11)).unwrap();
    draft.apply(claim("c2", 1, &["b1"])).unwrap();
    drop(draft);
    assert_poisoned(&mut ledger);

    let mut ledger = open(store.clone());
    // The same if the draft is leaked, so that it is never dropped.
    let mut draft = ledger.draft(at(12)).unwrap();
    draft.apply(claim("c3", 1, &["b1"])).unwrap();
    std::mem::forget(draft);
    assert_poisoned(&mut ledger);
    assert_eq!(open(store).head().sequence, 1);
}

#[test]
fn a_dropped_decision_of_the_clock_poisons() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(
        &mut ledger,
        10,
        &[
            block("b1", 10),
            claim("c1", 8, &["b1"]),
            claim_until("c2", 8, &["b1"], 5),
        ],
    );
    let draft = ledger.draft(at(15)).unwrap();
    assert!(!draft.is_empty());
    drop(draft);
    assert_poisoned(&mut ledger);
    let reopened = open(store);
    assert_eq!(
        reopened.engine().unwrap().claim(&"c2".into()).unwrap().phase,
        Phase::Waiting
    );
}

fn assert_poisoned<S: Store>(ledger: &mut Ledger<S>) {
    assert!(ledger.is_poisoned());
    assert_eq!(ledger.engine().map(|_| ()), Err(Poisoned));
    assert_eq!(ledger.draft(at(1_000)).map(|_| ()).unwrap_err(), Poisoned);
}

#[test]
fn of_two_writers_one_is_fenced_and_learns_by_which() {
    let store = MemoryStore::new();
    let mut first = open(store.clone());
    let second = Ledger::open(store.clone(), "writer-2".to_owned(), rules());
    let mut second = block_on(second).unwrap();
    commit(&mut second, 10, &[block("b1", 10)]);
    let mut draft = first.draft(at(11)).unwrap();
    draft.apply(block("b1", 12)).unwrap();
    let fenced = block_on(draft.commit()).unwrap_err();
    assert_eq!(
        fenced,
        CommitError::Fenced {
            sequence: 1,
            by: "writer-2".to_owned()
        }
    );
    assert_poisoned(&mut first);
    let mut again = open(first.into_store());
    commit(&mut again, 12, &[claim("c1", 10, &["b1"])]);
    let mut draft = second.draft(at(13)).unwrap();
    draft.apply(claim("c2", 10, &["b1"])).unwrap();
    assert!(matches!(
        block_on(draft.commit()),
        Err(CommitError::Fenced { sequence: 2, .. })
    ));
    assert_poisoned(&mut second);
    assert_eq!(verify(store.entries()).unwrap().claims, 1);
}

/// A store that refuses everything.
#[derive(Clone)]
struct Refusing;

impl Store for Refusing {
    async fn create(&self, _: &Entry) -> Result<(), CreateError> {
        Err(CreateError::Refused("no".to_owned()))
    }
    async fn read(&self, _: u64) -> Result<Option<Entry>, StoreError> {
        Err(StoreError::Unreachable("no".to_owned()))
    }
    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        if after == 0 {
            Ok(vec![])
        } else {
            Err(StoreError::Unreachable("no".to_owned()))
        }
    }
    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
    async fn read_piece(&self, _: &Checkpoint, _: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    async fn pause(&self, _: u32) {}
}

#[test]
fn a_refused_entry_poisons() {
    let mut ledger = open(Refusing);
    let mut draft = ledger.draft(at(1)).unwrap();
    draft.apply(block("b1", 1)).unwrap();
    assert_eq!(
        block_on(draft.commit()),
        Err(CommitError::Refused {
            sequence: 1,
            reason: "no".to_owned()
        })
    );
    assert_poisoned(&mut ledger);
}

/// A store whose answers are lost: one of three creates succeeds all the same. It returns pages of two
/// entries.
struct Murmuring(MemoryStore, std::sync::atomic::AtomicU32);

impl Murmuring {
    fn times(&self) -> u32 {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

impl Store for Murmuring {
    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        if self.times() % 3 == 2 {
            self.0.create(entry).await.ok();
        }
        Err(CreateError::Unknown("what?".to_owned()))
    }
    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        if self.times().is_multiple_of(4) {
            Err(StoreError::Unreachable("what?".to_owned()))
        } else {
            self.0.read(sequence).await
        }
    }
    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.0.read_after(after).await?;
        entries.truncate(2);
        Ok(entries)
    }
    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
    async fn read_piece(&self, _: &Checkpoint, _: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    async fn pause(&self, attempt: u32) {
        assert!(attempt > 0);
    }
}

#[test]
fn a_commit_repeats_until_it_is_known_whether_the_entry_was_written() {
    let store = MemoryStore::new();
    let mut ledger = open(Murmuring(store.clone(), 0.into()));
    for at_entry in 1..=7 {
        let mut draft = ledger.draft(at(at_entry)).unwrap();
        draft.apply(block(&format!("b{at_entry}"), 5)).unwrap();
        let committed = block_on(draft.commit()).unwrap();
        assert_eq!(Ok(committed.hash), store.entries().last().unwrap().hash());
    }
    let reopened = open(ledger.into_store());
    assert_eq!(reopened.head().sequence, 7);
}

/// A store that holds something corrupt in place of the next entry.
struct Defaced(MemoryStore);

impl Store for Defaced {
    async fn create(&self, _: &Entry) -> Result<(), CreateError> {
        Err(CreateError::Exists)
    }
    async fn read(&self, _: u64) -> Result<Option<Entry>, StoreError> {
        Err(StoreError::Corrupt("its hash is wrong".to_owned()))
    }
    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.0.read_after(after).await
    }
    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
    async fn read_piece(&self, _: &Checkpoint, _: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    async fn pause(&self, _: u32) {
        panic!("it is asked again, as if that helped");
    }
}

#[test]
fn a_writer_ends_at_a_corrupt_entry() {
    let mut ledger = open(Defaced(MemoryStore::new()));
    let mut draft = ledger.draft(at(1)).unwrap();
    draft.apply(block("b1", 5)).unwrap();
    let error = block_on(draft.commit()).unwrap_err();
    assert_eq!(error.to_string(), "entry 1 is there, but its hash is wrong");
    assert!(ledger.is_poisoned());
}

#[test]
fn a_ledger_keeps_the_rules_it_began_with() {
    let store = MemoryStore::new();
    commit(&mut open(store.clone()), 1, &[block("b1", 1)]);
    let other = DatasetRules {
        unlocking: Unlocking::Arrivals(5),
        ..rules()
    };
    let ledger = block_on(Ledger::open(store, "w".to_owned(), other.clone())).unwrap();
    assert_eq!(ledger.rules(), &rules());
    assert_ne!(ledger.rules(), &other);
}

#[test]
fn an_empty_ledger_does_not_begin_with_rules_that_cant_be_used() {
    let wrong = DatasetRules {
        unlocking: Unlocking::Arrivals(0),
        ..rules()
    };
    let opened = block_on(Ledger::open(MemoryStore::new(), "w".to_owned(), wrong));
    assert!(matches!(
        opened,
        Err(OpenError::DatasetRules(DatasetRulesError::NoArrivals))
    ));
}

fn claim_of_size(name: &str, bytes: usize) -> Event {
    let long: String = std::iter::repeat_n('x', bytes).collect();
    Event::Arrive(Arrival {
        claim: name.into(),
        demands: vec![Demand {
            blocks: vec![BlockId::from("b1"), BlockId::from(long)],
            budget: budget(1),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

#[test]
fn a_draft_gets_full_and_one_large_event_still_fits_alone() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 1, &[block("b1", 10)]);
    let mut draft = ledger.draft(at(2)).unwrap();
    let mut taken = 0;
    while !draft.is_full() {
        draft.apply(block(&format!("block-{taken}"), 1)).unwrap();
        taken += 1;
    }
    block_on(draft.commit()).unwrap();
    let length = store.entries()[1].canonical().unwrap().len();
    assert!(
        length > FULL_DRAFT_BYTES && length < FULL_DRAFT_BYTES + 1_000,
        "{length}"
    );

    let mut draft = ledger.draft(at(2)).unwrap();
    let large = block(&"y".repeat(MOST_EVENT_BYTES - 100), 1);
    draft.apply(large).unwrap();
    assert!(draft.is_full());
    assert_eq!(draft.apply(block(&"z".repeat(200), 1)), Err(ApplyError::Full));
    block_on(draft.commit()).unwrap();
    assert_eq!(store.entries()[2].events.len(), 1);
    assert!(store.entries()[2].canonical().unwrap().len() <= MOST_ENTRY_BYTES);
    verify(store.entries()).unwrap();
}

#[test]
fn an_event_that_fits_no_entry_is_refused_and_changes_nothing() {
    let mut ledger = open(MemoryStore::new());
    commit(&mut ledger, 1, &[block("b1", 10)]);
    let before = snapshot(ledger.engine().unwrap());
    let mut draft = ledger.draft(at(2)).unwrap();
    let refused = draft.apply(claim_of_size("c1", MOST_EVENT_BYTES)).unwrap_err();
    assert!(matches!(refused, ApplyError::TooLarge { bytes, most } if bytes > most));
    assert!(draft.is_empty());
    drop(draft);
    assert_eq!(snapshot(ledger.engine().unwrap()), before);
}

#[test]
fn a_timeout_that_no_store_keeps_is_refused() {
    let mut ledger = open(MemoryStore::new());
    commit(&mut ledger, 1, &[block("b1", 10)]);
    let mut draft = ledger.draft(at(2)).unwrap();
    let refused = draft.apply(claim_until("c1", 1, &["b1"], 1 << 63));
    assert_eq!(refused, Err(ApplyError::TimeoutTooLong("c1".into())));
    assert!(draft.is_empty());
    draft.apply(claim_until("c1", 1, &["b1"], (1 << 63) - 1)).unwrap();
    block_on(draft.commit()).unwrap();
}

/// A ledger in which one event decides more claims than an entry has room for.
fn crowded(store: &MemoryStore) -> (Ledger<MemoryStore>, usize) {
    const CLAIMS: usize = 12_000;
    let mut ledger = open(store.clone());
    commit(
        &mut ledger,
        1,
        &[block("b1", 1_000_000), claim("all", 1_000_000, &["b1"])],
    );
    let mut left = 0..CLAIMS;
    while !left.is_empty() {
        let mut draft = ledger.draft(at(2)).unwrap();
        while !draft.is_full()
            && let Some(number) = left.next()
        {
            draft.apply(claim(&format!("{number:0100}"), 1, &["b1"])).unwrap();
        }
        block_on(draft.commit()).unwrap();
    }
    (ledger, CLAIMS)
}

#[test]
fn what_one_event_decides_never_outgrows_an_entry() {
    let store = MemoryStore::new();
    let (mut ledger, claims) = crowded(&store);
    let committed = commit(&mut ledger, 3, &[release("all")]);
    // All records are returned.
    assert_eq!(committed.records().len(), claims + 1);
    let entry = store.entries().pop().unwrap();
    let omitted = entry.omitted.clone().unwrap();
    assert_eq!(entry.records.len() as u64 + omitted.count, claims as u64 + 1);
    let length = entry.canonical().unwrap().len();
    assert!(
        length <= MOST_ENTRY_BYTES && length > MOST_ENTRY_BYTES - 1_000,
        "{length}"
    );

    let reopened = open(store.clone());
    assert_eq!(
        snapshot(reopened.engine().unwrap()),
        snapshot(ledger.engine().unwrap())
    );
    let phase = |name: usize| {
        let claim = ClaimId::from(format!("{name:0100}"));
        reopened.engine().unwrap().claim(&claim).unwrap().phase
    };
    assert_eq!((phase(0), phase(claims - 1)), (Phase::Granted, Phase::Granted));

    // Verification covers the omitted records as well.
    let mut entries = store.entries();
    let last = entries.last_mut().unwrap();
    last.omitted.as_mut().unwrap().hash = Hash::of(b"another");
    assert!(matches!(
        verify(entries.clone()),
        Err(VerifyError::Omitted { .. })
    ));
    entries.last_mut().unwrap().omitted = None;
    assert!(matches!(verify(entries), Err(VerifyError::Record { .. })));
}

#[test]
fn opening_and_committing_can_be_sent_between_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let store = MemoryStore::new();
    let mut ledger = block_on(sent(Ledger::open(store, "w".to_owned(), rules()))).unwrap();
    let mut draft = ledger.draft(at(1)).unwrap();
    draft.apply(block("b1", 1)).unwrap();
    block_on(sent(draft.commit())).unwrap();
    sent(ledger);
}
