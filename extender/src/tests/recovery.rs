//! Datasets whose ledgers lost their end, or are dated ahead: they go on when their objects say how.

use privatekube_fake_api_server::FakeApiServer;
use serde_json::{Value, json};

use super::{
    stopped::{ready, request, until_granted, until_stopped},
    whole::{phase, server, with_extender},
};
use crate::{
    clock,
    testing::{BLOCKS, CLAIMS, DATASETS, ENTRIES, block, dataset},
};

/// Deletes the last entry; returns the number of the one before it.
fn lose_last_entry(server: &FakeApiServer) -> u64 {
    let last = server.all(ENTRIES).pop().unwrap();
    server.delete(ENTRIES, last["metadata"]["name"].as_str().unwrap());
    last["spec"]["sequence"].as_u64().unwrap() - 1
}

/// States that the entries after this one are lost.
fn accept_loss_after(server: &FakeApiServer, after: u64) {
    let generation = server.get(DATASETS, "d").map_or(2, |_| 3) + i64::try_from(after).unwrap();
    let recovery = json!({"recovery": {"writeOffAfter": after, "reason": "etcd was restored"}});
    server.put(DATASETS, &*dataset("d", generation, &recovery));
}

/// The consumed epsilon of a block, and the reason of its condition Ready.
fn consumed(server: &FakeApiServer, block: &str) -> (Value, Value) {
    let status = &server.get(BLOCKS, block).unwrap()["status"];
    (
        status["consumed"]["epsilon"].clone(),
        status["conditions"][0]["reason"].clone(),
    )
}

async fn until_written_off(server: &FakeApiServer) {
    server
        .until(|server| consumed(server, "data/a") == (json!("10"), json!("WrittenOff")))
        .await;
}

#[tokio::test(start_paused = true)]
async fn lost_entries_are_accepted_by_writing_all_budget_off() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "before", "4");
        until_granted(&server, "data/before").await;
        request(&server, "data", "waits", "8");
        server
            .until(|server| phase(server, "data/waits") == json!("Waiting"))
            .await;
        server.put(BLOCKS, &*block("late", "late", Some("10")));
        server
            .until(|server| consumed(server, "data/late").1 == json!("InLedger"))
            .await;
        // This entry added the block `late`.
        let left = lose_last_entry(&server);
        until_stopped(&server, &format!("writeOffAfter: {left}")).await;
        // Another number is no word about this ledger.
        accept_loss_after(&server, left - 1);
        until_stopped(&server, &format!("writeOffAfter: {left}")).await;
        accept_loss_after(&server, left);
        server.until(|server| ready(server).0 == "InLedger").await;
        // What is granted stays granted, and all else is consumed.
        assert_eq!(phase(&server, "data/before"), json!("Granted"));
        server
            .until(|server| {
                let status = &server.get(CLAIMS, "data/waits").unwrap()["status"];
                let message = status["message"].as_str().unwrap_or_default();
                status["phase"] == json!("Denied") && message.contains("written off")
            })
            .await;
        server
            .until(|server| {
                consumed(server, "data/a") == (json!("6"), json!("WrittenOff"))
                    && consumed(server, "data/late").1 == json!("WrittenOff")
            })
            .await;
        let event = server.all(ENTRIES).pop().unwrap()["spec"]["events"][0]["writeOff"].clone();
        let expected = json!({"after": left, "unknownBlocks": ["late"], "reason": "etcd was restored"});
        assert_eq!(event, expected);
        // A grant that is released doesn't return.
        server.delete(CLAIMS, "data/before");
        until_written_off(&server).await;
        // Only another block has budget.
        server.put(BLOCKS, &*block("new", "new", Some("10")));
        request(&server, "data", "after", "9");
        until_granted(&server, "data/after").await;
        let granted = server.get(CLAIMS, "data/after").unwrap();
        assert_eq!(granted["status"]["blocks"].as_array().unwrap().len(), 1);
    })
    .await;
}

/// The view had the claim in the ledger, and nothing but the claim's object tells of it now.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_arrival_is_lost_is_requested_again() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "before", "4");
        until_granted(&server, "data/before").await;
        request(&server, "data", "lost", "8");
        server
            .until(|server| !server.get(CLAIMS, "data/lost").unwrap()["status"]["sequence"].is_null())
            .await;
        let left = lose_last_entry(&server);
        until_stopped(&server, &format!("writeOffAfter: {left}")).await;
        accept_loss_after(&server, left);
        server.until(|server| ready(server).0 == "InLedger").await;
        let arrives_again = |server: &FakeApiServer| {
            let mut after = server
                .all(ENTRIES)
                .into_iter()
                .skip(usize::try_from(left).unwrap());
            after.any(|entry| entry["spec"]["events"].to_string().contains("claim/data/lost"))
        };
        server.until(arrives_again).await;
    })
    .await;
}

/// The clock must not decide before the write-off: it would grant from a state that lacks what the lost entries granted.
#[tokio::test]
async fn what_the_clock_has_unlocked_since_the_last_entry_is_written_off_and_not_granted() {
    let server = server();
    let unlocking = json!({"lifetime": "2s", "tick": "1ms"});
    server.put(DATASETS, &*dataset("d", 1, &json!({"unlocking": unlocking})));
    with_extender(&server, async |_| {
        let began = clock::now();
        request(&server, "data", "waits", "5.2");
        server
            .until(|server| phase(server, "data/waits") == json!("Waiting"))
            .await;
        request(&server, "data", "lost", "5");
        until_granted(&server, "data/lost").await;
        // Enough of the block is unlocked for the claim that waits, if nobody knew of the other one.
        let is_unlocked = || clock::now().micros() > began.micros() + 1_200_000;
        server.until(|_| is_unlocked()).await;
        let mut left = lose_last_entry(&server);
        while server
            .all(ENTRIES)
            .iter()
            .any(|entry| entry.to_string().contains("data/lost"))
        {
            left = lose_last_entry(&server);
        }
        server.delete(CLAIMS, "data/lost");
        until_stopped(&server, &format!("writeOffAfter: {left}")).await;
        let recovery = json!({"writeOffAfter": left, "reason": "etcd was restored"});
        let spec = json!({"unlocking": unlocking, "recovery": recovery});
        server.put(DATASETS, &*dataset("d", 2, &spec));
        until_written_off(&server).await;
        assert_eq!(phase(&server, "data/waits"), json!("Denied"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_without_lost_entries_that_statuses_name() {
    let server = server();
    let entry = with_extender(&server, async |_| {
        request(&server, "data", "before", "9");
        until_granted(&server, "data/before").await;
        server
            .until(|server| {
                server.get(BLOCKS, "data/a").unwrap()["status"]["allocated"]["epsilon"] == json!("9")
            })
            .await;
    });
    entry.await;
    let left = lose_last_entry(&server);
    // The claim that the lost entry granted is deleted: nothing but the statuses tells of it.
    server.delete(CLAIMS, "data/before");
    accept_loss_after(&server, left);
    with_extender(&server, async |_| until_written_off(&server).await).await;
    let entries = server.all(ENTRIES).len();
    // Starts that follow find nothing lost, and write nothing off again.
    for name in ["second", "third"] {
        with_extender(&server, async |_| {
            server.put(BLOCKS, &*block(name, name, Some("10")));
            request(&server, "data", name, "1");
            let is_published = |server: &FakeApiServer| {
                let block = server.get(BLOCKS, &format!("data/{name}")).unwrap();
                block["status"]["allocated"]["epsilon"] == json!("1")
            };
            server.until(is_published).await;
            assert_eq!(ready(&server).0, "InLedger");
        })
        .await;
    }
    assert!(server.all(ENTRIES).len() > entries);
    // A later loss is noticed like the first.
    let left = lose_last_entry(&server);
    with_extender(&server, async |_| {
        until_stopped(&server, &format!("writeOffAfter: {left}")).await;
    })
    .await;
}
