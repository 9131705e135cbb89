//! How much of a ledger is held while it is read, and what is asked for.

use privatekube_api::DatasetKey;
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_kubernetes::{DatasetReader, KubernetesStore};
use privatekube_ledger::{Entry, Hash, Requester, Store, StoreError};
use privatekube_policy::{Arrival, Event, Time, Weight};
use serde_json::json;

const ENTRIES: &str = "privacyledgerentries";
const MEBIBYTE: usize = 1 << 20;

fn store(server: &FakeApiServer) -> KubernetesStore {
    let dataset = DatasetKey {
        namespace: "data".to_owned(),
        name: "taxi".to_owned(),
    };
    KubernetesStore::new(server.client(), dataset)
}

/// An entry with so many bytes, and some more.
fn entry(sequence: u64, bytes: usize) -> Entry {
    Entry {
        version: 1,
        sequence,
        previous: Hash::ORIGIN,
        writer: "w".to_owned(),
        program: None,
        time: Time::from_micros(sequence),
        rules: None,
        events: vec![Event::Withdraw {
            claim: "c".repeat(bytes).into(),
        }],
        records: Vec::new(),
        omitted: None,
        checkpoint: None,
        requesters: Vec::new(),
    }
}

fn lists() -> RequestFilter {
    RequestFilter::any().method("GET").resource(ENTRIES)
}

/// Reads all entries, page by page. Returns their numbers, and the most bytes that a page had.
async fn read(store: &KubernetesStore) -> Result<(Vec<u64>, usize), Box<dyn std::error::Error>> {
    let (mut numbers, mut most) = (Vec::new(), 0);
    loop {
        let page = store.read_after(numbers.last().copied().unwrap_or(0)).await?;
        if page.is_empty() {
            return Ok((numbers, most));
        }
        most = most.max(serde_json::to_vec(&page)?.len());
        numbers.extend(page.iter().map(|entry| entry.sequence));
    }
}

#[tokio::test]
async fn a_page_has_few_bytes_however_large_the_entries_are() -> Result<(), Box<dyn std::error::Error>> {
    let server = FakeApiServer::default();
    let store = store(&server);
    // The small entries first: by them, a page could have hundreds.
    let sizes = (1..=100).map(|_| 10).chain((1..=8).map(|_| MEBIBYTE - 1000));
    for (sequence, bytes) in (1..).zip(sizes) {
        store.create(&entry(sequence, bytes)).await?;
    }
    let (numbers, most) = read(&store).await?;
    assert_eq!(numbers, (1..=108).collect::<Vec<_>>());
    assert!(most <= 4 * MEBIBYTE, "{most}");
    // Neither are pages so small that there are many.
    let requests = server.count(&lists());
    assert!(requests <= 20, "{requests}");
    Ok(())
}

#[tokio::test]
async fn what_follows_a_known_entry_is_asked_for_by_name() -> Result<(), Box<dyn std::error::Error>> {
    let server = FakeApiServer::default();
    let store = store(&server);
    for sequence in 1..=100 {
        store.create(&entry(sequence, 10)).await?;
    }
    let after = store.read_after(99).await?;
    assert_eq!(
        after.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        [100]
    );
    assert!(store.read_after(100).await?.is_empty());
    let requests = server.requests(&lists());
    let paths: Vec<&str> = requests
        .iter()
        .map(|request| request.path.rsplit('/').next().unwrap_or_default())
        .collect();
    assert_eq!(paths, ["taxi-0000000100", "taxi-0000000101", "taxi-0000000102"]);
    Ok(())
}

#[tokio::test]
async fn a_list_that_expires_is_continued_by_name() -> Result<(), Box<dyn std::error::Error>> {
    let server = FakeApiServer::default();
    let store = store(&server);
    for sequence in 1..=40 {
        store.create(&entry(sequence, 10)).await?;
    }
    let first = store.read_after(0).await?;
    assert_eq!(first.len(), 32);
    server.inject(&lists(), 1, Fault::Refuse(410));
    let next = store.read_after(32).await?;
    assert_eq!(next.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [33]);
    Ok(())
}

#[tokio::test]
async fn an_entry_that_cannot_be_parsed_is_named_and_not_read_again() -> Result<(), Box<dyn std::error::Error>>
{
    let server = FakeApiServer::default();
    let store = store(&server);
    store.create(&entry(1, 10)).await?;
    let mut object = server.all(ENTRIES).remove(0);
    object["spec"]["timeMicros"] = serde_json::json!(1.8e19);
    server.put(ENTRIES, &object);
    let is_named = |error: &StoreError| match error {
        StoreError::Corrupt(problem) => problem.contains("taxi-0000000001"),
        StoreError::Unreachable(_) | StoreError::Newer { .. } => false,
    };
    let error = store.read(1).await.err();
    assert!(error.as_ref().is_some_and(is_named), "{error:?}");
    let error = store.read_after(0).await.err();
    assert!(error.as_ref().is_some_and(is_named), "{error:?}");
    Ok(())
}

/// The API server refuses an entry of which its definition of the resource lacks a field, in place of storing a part of it.
#[tokio::test]
async fn an_entry_is_created_whole_or_not_at_all() -> Result<(), Box<dyn std::error::Error>> {
    let server = FakeApiServer::default();
    let store = store(&server);
    let whole = Entry {
        program: Some("privatekube 0.1.0".to_owned()),
        events: vec![arrival("c")],
        requesters: vec![Requester {
            user: Some("alice".to_owned()),
            ..Requester::unknown("c".into())
        }],
        ..entry(1, 10)
    };
    store.create(&whole).await?;
    assert_eq!(store.read(1).await?, Some(whole));
    let posts = server.requests(&RequestFilter::any().method("POST").resource(ENTRIES));
    assert!(
        posts
            .iter()
            .all(|post| post.query.contains("fieldValidation=Strict"))
    );
    assert_eq!(posts.len(), 1);
    Ok(())
}

fn arrival(claim: &str) -> Event {
    Event::Arrive(Arrival {
        claim: claim.into(),
        demands: Vec::new(),
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

#[tokio::test]
async fn blocks_are_streamed_or_read_in_pages_and_again_if_a_page_is_gone()
-> Result<(), Box<dyn std::error::Error>> {
    const BLOCKS: &str = "privatedatablocks";
    let server = FakeApiServer::default();
    let block = |name: &str, dataset: &str| {
        json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivateDataBlock",
            "metadata": {
                "namespace": "data",
                "name": name,
                "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"dataset": dataset},
        })
    };
    let names: Vec<String> = (0..1_100).map(|number| format!("b-{number:04}")).collect();
    for name in &names {
        server.put(BLOCKS, &block(name, "taxi"));
    }
    server.put(BLOCKS, &block("a", "other"));
    let dataset = DatasetKey {
        namespace: "data".to_owned(),
        name: "taxi".to_owned(),
    };
    let reader = DatasetReader::new(server.client(), dataset);
    // The server streams them first.
    let lists = RequestFilter::any().method("GET").resource(BLOCKS);
    let streamed = reader.blocks().await;
    assert_eq!(server.count(&lists), 1);
    server.clear_log();

    let refuse = |query: &str| query.contains("watch=true").then_some(Fault::Refuse(422));
    server.choose_faults(move |request| refuse(&request.query));
    let blocks = reader.blocks().await;
    assert_eq!(blocks, streamed);
    let found: Vec<&str> = blocks
        .iter()
        .filter_map(|block| block.metadata.name.as_deref())
        .collect();
    assert_eq!(found, names);
    assert!(blocks.iter().all(|block| block.metadata.managed_fields.is_none()));
    assert_eq!(server.count(&lists), 4);

    // The second page is gone, as after a compaction of etcd.
    server.clear_log();
    let mut requests = 0;
    server.choose_faults(move |request| {
        requests += 1;
        refuse(&request.query).or_else(|| (requests == 3).then_some(Fault::Refuse(410)))
    });
    assert_eq!(reader.blocks().await.len(), names.len());
    let queries: Vec<String> = server
        .requests(&lists)
        .into_iter()
        .map(|request| request.query)
        .collect();
    let continued: Vec<bool> = queries.iter().map(|query| query.contains("continue=")).collect();
    assert_eq!(
        continued,
        [false, false, true, false, false, true, true],
        "{queries:?}"
    );
    assert!(reader.has_objects().await);
    Ok(())
}
