//! Checkpoints of a ledger as objects of the API server.

use privatekube_api::DatasetKey;
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{
    Checkpoint, CheckpointContent, CheckpointStore, CreateError, Ledger, Removal, Replay, Store, StoreError,
    remove_entries,
};
use privatekube_policy::{Composition, DatasetRules, Event, Policy, Revision, Time, Unlocking};
use serde_json::json;

const CHECKPOINTS: &str = "privacyledgercheckpoints";
const PIECES: &str = "privacyledgercheckpointpieces";
const ENTRIES: &str = "privacyledgerentries";

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn store(server: &FakeApiServer) -> KubernetesStore {
    let dataset = DatasetKey {
        namespace: "data".to_owned(),
        name: "taxi".to_owned(),
    };
    KubernetesStore::new(server.client(), dataset)
}

async fn open(server: &FakeApiServer) -> Result<Ledger<KubernetesStore>, Box<dyn std::error::Error>> {
    let rules = DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    };
    Ok(Ledger::open(store(server), "w".to_owned(), rules).await?)
}

/// Adds a block by an entry of its own. Its name is as long as one may like.
async fn add(ledger: &mut Ledger<KubernetesStore>, block: &str) -> TestResult {
    let time = Time::from_micros(ledger.head().sequence + 1);
    let mut draft = ledger.draft(time)?;
    draft.apply(Event::AddBlock {
        block: block.into(),
        capacity: Composition::Basic.capacity("1".parse()?, "0".parse()?)?,
    })?;
    draft.commit().await?;
    Ok(())
}

async fn publish(
    ledger: &Ledger<KubernetesStore>,
    server: &FakeApiServer,
) -> Result<Checkpoint, Box<dyn std::error::Error>> {
    let content = ledger.checkpoint()?;
    content.publish(&store(server)).await?;
    Ok(content.checkpoint)
}

#[tokio::test]
async fn a_ledger_is_opened_from_its_checkpoint_and_the_entries_after_it() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    for number in 0..50 {
        add(&mut ledger, &format!("b{number}")).await?;
    }
    let checkpoint = publish(&ledger, &server).await?;
    ledger.mark(checkpoint.mark());
    for number in 50..90 {
        add(&mut ledger, &format!("b{number}")).await?;
    }
    let before = server.count(&RequestFilter::any());
    let opened = open(&server).await?;
    let requests = server.count(&RequestFilter::any()) - before;
    assert_eq!(opened.head(), ledger.head());
    assert_eq!(opened.published(), Some(&checkpoint));
    assert_eq!(opened.engine()?.blocks().count(), 90);
    assert_eq!(opened.engine()?.parts().count(), ledger.engine()?.parts().count());
    // Forty entries by their names, of which the last few together find nothing; the checkpoint twice, its piece, its entry.
    assert!((44..=70).contains(&requests), "{requests}");
    assert_eq!(
        server.count(&RequestFilter::any().method("GET").resource(PIECES)),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_reader_that_is_up_to_date_sends_two_requests() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    add(&mut ledger, "b1").await?;
    let mut replay = Replay::read(&store(&server)).await?;
    let before = server.count(&RequestFilter::any());
    assert!(replay.read_on(&store(&server)).await?);
    // One for the next entry, and one for the checkpoint.
    assert_eq!(server.count(&RequestFilter::any()) - before, 2);
    Ok(())
}

#[tokio::test]
async fn later_checkpoints_replace_earlier_ones_and_their_pieces() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    add(&mut ledger, "b1").await?;
    let first = publish(&ledger, &server).await?;
    add(&mut ledger, "b2").await?;
    let second = publish(&ledger, &server).await?;
    let store = store(&server);
    assert_eq!(store.publish(&first).await, Err(CreateError::Exists));
    assert_eq!(store.checkpoint().await?, Some(second));
    assert_eq!(server.all(PIECES).len(), 2);
    store.remove_pieces_before(&second).await?;
    assert_eq!(server.all(PIECES).len(), 1);
    assert_eq!(store.read_piece(&first, 0).await?, None);
    assert!(store.read_piece(&second, 0).await?.is_some());
    assert_eq!(
        remove_entries(&store, &second, Removal::older_than(Time::from_micros(9), 10)).await?,
        1
    );
    assert_eq!(server.all(ENTRIES).len(), 1);
    assert_eq!(open(&server).await?.head(), ledger.head());
    Ok(())
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_out() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    add(&mut ledger, "b1").await?;
    let content = ledger.checkpoint()?;
    for writes in [PIECES, CHECKPOINTS] {
        server.inject(&RequestFilter::writes().resource(writes), 1, Fault::LoseReply);
    }
    content.publish(&store(&server)).await?;
    assert_eq!(store(&server).checkpoint().await?, Some(content.checkpoint));
    Ok(())
}

#[tokio::test]
async fn a_state_of_many_pieces_is_read_whole() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    for number in 0..30 {
        add(&mut ledger, &format!("{number}-{}", "x".repeat(60_000))).await?;
    }
    let content: CheckpointContent = ledger.checkpoint()?;
    assert!(content.checkpoint.pieces >= 3, "{}", content.checkpoint.pieces);
    assert!(content.text_bytes > 30 * 60_000);
    content.publish(&store(&server)).await?;
    for object in server.all(PIECES) {
        let length = object["spec"]["content"].as_str().map(str::len);
        assert!(length.is_some_and(|length| length <= 1 << 20), "{length:?}");
    }
    assert_eq!(open(&server).await?.engine()?.blocks().count(), 30);
    Ok(())
}

#[tokio::test]
async fn what_no_extender_wrote_is_told_with_its_field() -> TestResult {
    let server = FakeApiServer::default();
    let mut ledger = open(&server).await?;
    add(&mut ledger, "b1").await?;
    publish(&ledger, &server).await?;
    let published = server.all(CHECKPOINTS).remove(0);
    for (field, value, said) in [
        (
            "version",
            json!(0),
            "version is 0, and a number from 1 is accepted",
        ),
        (
            "digest",
            json!("abc"),
            "digest is abc, and a hash of 64 hexadecimal digits is accepted",
        ),
        (
            "sequence",
            json!(-1),
            "sequence is -1, and a number that isn't negative is accepted",
        ),
    ] {
        let mut object = published.clone();
        object["spec"][field] = value;
        server.put(CHECKPOINTS, &object);
        let error = store(&server).checkpoint().await.unwrap_err();
        assert_eq!(error, StoreError::Corrupt(format!("checkpoint taxi: {said}")));
    }
    let mut object = published.clone();
    object["spec"]["version"] = json!(2);
    server.put(CHECKPOINTS, &object);
    let newer = StoreError::Newer {
        what: "checkpoint taxi".to_owned(),
        version: 2,
        newest: 1,
    };
    assert_eq!(store(&server).checkpoint().await.unwrap_err(), newer);
    Ok(())
}
