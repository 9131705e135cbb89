//! A part of the cluster is down, restarts, or runs twice: pods with claims wait, other pods run, and no
//! budget is ever consumed twice.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use privatekube_api::{ClaimPhase, DatasetKey, PrivacyLedgerEntry, PrivateDataset, entry_name};
use privatekube_cluster::{Extender, ExtenderOptions, Part, User};
use privatekube_e2e::{TestEnvironment, WatchedCluster, block, dataset, eventually, pod};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Hash, Ledger, Store};
use privatekube_policy::{Event, Phase};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    audit,
    workload::{self, DATA, Random},
};

const SEED: u64 = 5_041_900;
const DATASET: &str = "taxi";

/// A dataset whose only block has epsilon 10, all of it unlocked.
async fn prepare(env: &TestEnvironment) -> Result<()> {
    env.namespace(DATA).await?;
    env.create_all([
        dataset(DATASET).within(DATA),
        block(DATASET, "first").within(DATA),
    ])
    .await
}

/// A pod that requests epsilon 1 of the block.
fn requesting_pod(name: &str) -> Value {
    pod(name).requests(DATASET, "1", "0").within(DATA)
}

/// Waits until the scheduler has tried a pod and could not reach the extender.
async fn wait_until_extender_is_unreachable(env: &TestEnvironment, name: &str) -> Result<()> {
    let tried = |pod: &Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let scheduled = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled")?;
        Some(scheduled.status == "False" && scheduled.message.as_ref()?.contains("connection refused"))
    };
    let pod = env
        .wait(
            DATA,
            name,
            "unschedulable because the extender is unreachable",
            |pod: Option<&Pod>| pod.and_then(tried) == Some(true),
        )
        .await?
        .context("no pod")?;
    ensure!(
        pod.spec.is_some_and(|spec| spec.node_name.is_none()),
        "pod {name} has a node"
    );
    Ok(())
}

/// Waits until a pod has no scheduling gate.
async fn wait_until_gate_is_removed(env: &TestEnvironment, name: &str) -> Result<()> {
    let ungated = |pod: &Pod| {
        pod.spec
            .as_ref()
            .is_some_and(|spec| spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty))
    };
    env.wait(DATA, name, "without gate", |pod: Option<&Pod>| {
        pod.is_some_and(ungated)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn while_the_extender_is_down_pods_with_claims_wait_and_other_pods_run() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    prepare(&env).await?;
    // A pod that is granted and not bound, and one that waits for a second block.
    env.cluster.stop_scheduler().await?;
    let waiting = pod("waiting")
        .requests(DATASET, "1", "0")
        .annotation("min-blocks", "2")
        .within(DATA);
    env.create_all([requesting_pod("granted"), waiting]).await?;
    env.wait_for_pod_claim_phase(DATA, "granted", ClaimPhase::Granted)
        .await?;
    env.wait_for_pod_claim_phase(DATA, "waiting", ClaimPhase::Waiting)
        .await?;
    wait_until_gate_is_removed(&env, "granted").await?;
    env.stop_extender().await?;
    env.cluster.start_scheduler(true).await?;

    env.create(pod("plain").within(DATA)).await?;
    env.wait_for_pod_phase(DATA, "plain", "Running").await?;
    let refusal = env.refusal(requesting_pod("late")).await?;
    for part in [
        "failed calling webhook \"pods.privatekube.dev\"",
        "connection refused",
    ] {
        ensure!(refusal.contains(part), "{part} is not in: {refusal}");
    }
    wait_until_extender_is_unreachable(&env, "granted").await?;
    // Users who may change a pod may remove its gate. Then the scheduler calls the extender, which isn't
    // there.
    env.change::<Pod>(DATA, "waiting", json!({"spec": {"schedulingGates": null}}))
        .await?;
    wait_until_extender_is_unreachable(&env, "waiting").await?;
    env.create(pod("plain-too").within(DATA)).await?;
    env.wait_for_pod_phase(DATA, "plain-too", "Running").await?;

    env.start_extender().await?;
    env.wait_for_pod_phase(DATA, "granted", "Running").await?;
    env.wait_until_unschedulable(DATA, "waiting", "waits for privacy budget")
        .await?;
    env.create(requesting_pod("late")).await?;
    env.wait_for_pod_phase(DATA, "late", "Running").await?;
    env.create(block(DATASET, "second").within(DATA)).await?;
    env.wait_for_pod_phase(DATA, "waiting", "Running").await?;
    env.wait_for_block_budget(DATA, "first", ("7", "0", "3")).await?;
    env.wait_for_block_budget(DATA, "second", ("9", "0", "1")).await?;
    let ledger = env.ledger(DATA, DATASET).await?;
    ensure!(
        ledger.phases().iter().all(|(_, phase)| *phase == Phase::Consumed),
        "{:?}",
        ledger.phases()
    );
    ensure!(ledger.phases().len() == 3, "{:?}", ledger.phases());
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

/// Restarts the extender whenever it ends, a limited number of times.
async fn keep_restarting(env: &TestEnvironment, mut extender: Extender) -> Result<()> {
    const MOST_STARTS: usize = 20;
    for start in 0..MOST_STARTS {
        if extender.wait_ready().await.is_ok() {
            println!("the extender is ready after {start} restarts");
            extender.ended().await;
        }
        extender = env
            .cluster
            .start_extender_without_waiting(&ExtenderOptions::default())
            .await?;
    }
    extender.wait_ready().await
}

#[tokio::test]
async fn killing_the_api_server_during_work_loses_no_claim() -> Result<()> {
    let seed = workload::seed(SEED)?;
    run_api_server_kills(seed)
        .await
        .with_context(|| format!("seed {seed}"))
}

async fn run_api_server_kills(seed: u64) -> Result<()> {
    const PORTION: usize = 25;
    const KILLS: usize = 2;
    let mut random = Random::new(seed);
    let mut env = TestEnvironment::start().await?;
    workload::prepare(&env, 20).await?;
    let watched = WatchedCluster::of(&env);
    let mut creations = JoinSet::new();
    let mut extender = env.extender.take().context("no extender")?;
    for kill in 0..KILLS {
        let pods = workload::pods(&mut random, &format!("pod-{kill}"), PORTION);
        creations.spawn(workload::create_with_retries(env.client.clone(), pods));
        let running = usize::try_from(random.below(3))? + 1 + kill * PORTION / 2;
        let reached = async || {
            let placed = watched.pods.count(|pod| watched.placement(pod).is_some());
            Ok(if placed >= running {
                Ok(())
            } else {
                Err(format!("{placed} of {running} pods run"))
            })
        };
        watched.until("the middle", reached).await?;
        env.cluster.kill_part(Part::KubeApiserver).await?;
        env.cluster.start_part(Part::KubeApiserver).await?;
        if extender.wait_ready().await.is_err() {
            println!("the extender ended, kill {kill}");
            extender = env.cluster.start_extender().await?;
        }
    }
    let everything = async {
        while let Some(created) = creations.join_next().await {
            created??;
        }
        audit::wait_until_settled(&env, &watched, KILLS * PORTION).await
    };
    let summary = tokio::select! {
        summary = everything => summary?,
        ended = keep_restarting(&env, extender) => return ended.context("the extender keeps ending"),
    };
    println!("{summary:?}");
    ensure!(summary.granted >= KILLS * PORTION / 5, "{summary:?}");
    Ok(())
}

/// Waits until the extender ends by itself because another writer created a ledger entry.
async fn wait_until_stepped_down(extender: Extender) -> Result<()> {
    let log = extender.log().to_owned();
    let status = extender.ended().await.context("no status")?;
    ensure!(!status.success(), "the extender exited with success");
    let log = fs::read_to_string(log)?;
    ensure!(
        log.contains("step down"),
        "the log does not give the reason:\n{log}"
    );
    Ok(())
}

#[tokio::test]
async fn one_of_two_extenders_steps_down_and_no_budget_is_consumed_twice() -> Result<()> {
    const PODS: usize = 5;
    let mut env = TestEnvironment::start().await?;
    prepare(&env).await?;
    // Without a lease, nothing but the ledger keeps them apart.
    env.stop_extender().await?;
    let options = ExtenderOptions {
        arguments: vec!["--leader-elect=false".into()],
        ..ExtenderOptions::default()
    };
    let first = env.cluster.start_extender_with(&options).await?;
    let second = env.cluster.start_another_extender(&options).await?;
    // Both see the pod, and both try to create the entry in which it arrives.
    env.create(requesting_pod("pod-0")).await?;
    let other = tokio::select! {
        _ = first.ended() => { wait_until_stepped_down(first).await?; second }
        _ = second.ended() => { wait_until_stepped_down(second).await?; first }
    };
    ensure!(!other.has_ended(), "both extenders ended");
    let status = other.stop().await?.context("no status")?;
    ensure!(status.success(), "the writer ended with {status}");

    env.start_extender().await?;
    env.create_all((1..PODS).map(|number| requesting_pod(&format!("pod-{number}"))))
        .await?;
    for number in 0..PODS {
        env.wait_for_pod_phase(DATA, &format!("pod-{number}"), "Running")
            .await?;
    }
    env.wait_for_block_budget(DATA, "first", ("5", "0", "5")).await?;
    let ledger = env.ledger(DATA, DATASET).await?;
    ensure!(ledger.phases().len() == PODS, "{:?}", ledger.phases());
    ensure!(
        ledger.phases().iter().all(|(_, phase)| *phase == Phase::Consumed),
        "{:?}",
        ledger.phases()
    );
    Ok(())
}

fn store(client: Client) -> KubernetesStore {
    KubernetesStore::new(
        client,
        DatasetKey {
            namespace: DATA.to_owned(),
            name: DATASET.to_owned(),
        },
    )
}

#[tokio::test]
async fn an_entry_of_another_writer_makes_the_extender_step_down() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    prepare(&env).await?;
    env.create(requesting_pod("before")).await?;
    env.wait_for_pod_phase(DATA, "before", "Running").await?;
    env.wait_for_block_budget(DATA, "first", ("9", "0", "1")).await?;

    let client = env.cluster.client_as(User::Extender).await?;
    let ledger = env.ledger(DATA, DATASET).await?;
    let rules = ledger.entries[0].rules.clone().context("no rules")?;
    let mut other = Ledger::open(store(client), "another".to_owned(), rules).await?;
    let mut draft = other.draft(ledger.replay.head().time)?;
    // The event changes nothing. What matters is that another writer created the entry.
    draft.apply(Event::Withdraw {
        claim: ledger.phases()[0].0.clone(),
    })?;
    let sequence = draft.commit().await?.sequence;
    env.create(requesting_pod("after")).await?;
    wait_until_stepped_down(env.extender.take().context("no extender")?).await?;
    let ledger = env.ledger(DATA, DATASET).await?;
    ensure!(
        ledger.entries.len() as u64 == sequence,
        "something was written after entry {sequence}"
    );

    env.start_extender().await?;
    env.wait_for_pod_phase(DATA, "after", "Running").await?;
    env.wait_for_block_budget(DATA, "first", ("8", "0", "2")).await?;
    env.ledger(DATA, DATASET).await?;
    Ok(())
}

/// Creates an entry that doesn't follow from the one before, with the extender's rights.
async fn forge(client: &Client, last: &Entry, previous: Hash, hash: Option<&str>) -> Result<u64> {
    let forged = Entry {
        version: 1,
        sequence: last.sequence + 1,
        previous,
        writer: "forger".to_owned(),
        program: None,
        time: last.time,
        rules: None,
        events: Vec::new(),
        records: Vec::new(),
        omitted: None,
        checkpoint: None,
        requesters: Vec::new(),
    };
    let api: Api<PrivacyLedgerEntry> = Api::namespaced(client.clone(), DATA);
    let Some(hash) = hash else {
        store(client.clone()).create(&forged).await?;
        return Ok(forged.sequence);
    };
    let mut object = api.get(&entry_name(DATASET, last.sequence)).await?;
    object.metadata.name = Some(entry_name(DATASET, forged.sequence));
    object.metadata.resource_version = None;
    object.metadata.uid = None;
    object.spec.sequence = i64::try_from(forged.sequence)?;
    object.spec.previous = previous.to_string();
    hash.clone_into(&mut object.spec.hash);
    api.create(&PostParams::default(), &object).await?;
    Ok(forged.sequence)
}

/// Waits until the dataset is stopped, with a message that has all the words.
async fn wait_until_stopped(env: &TestEnvironment, words: &[&str]) -> Result<()> {
    env.wait::<PrivateDataset>(DATA, DATASET, "is stopped", |dataset| {
        let conditions = dataset
            .and_then(|dataset| dataset.status.as_ref())
            .map(|status| &status.conditions);
        conditions.into_iter().flatten().any(|condition| {
            condition.reason == "Stopped" && words.iter().all(|word| condition.message.contains(word))
        })
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_ledger_that_cannot_be_verified_stops_its_dataset_and_no_other() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    prepare(&env).await?;
    env.namespace("other").await?;
    env.create(dataset("beside").within("other")).await?;
    env.create(block("beside", "only").within("other")).await?;
    let client = env.cluster.client_as(User::Extender).await?;
    for (number, of_another_chain) in [true, false].into_iter().enumerate() {
        let before = format!("before-{number}");
        env.create(requesting_pod(&before)).await?;
        env.wait_for_pod_phase(DATA, &before, "Running").await?;
        let ledger = env.ledger(DATA, DATASET).await?;
        let last = ledger.entries.last().context("no entry")?;
        let (sequence, expected) = if of_another_chain {
            let sequence = forge(&client, last, Hash::of(b"another chain"), None).await?;
            (sequence, format!("entry {sequence} follows an entry with hash"))
        } else {
            let sequence = forge(&client, last, last.hash()?, Some(&Hash::ORIGIN.to_string())).await?;
            (
                sequence,
                format!("ledger entry {}: hash", entry_name(DATASET, sequence)),
            )
        };
        let after = format!("after-{number}");
        env.create(requesting_pod(&after)).await?;
        if of_another_chain {
            // Found when the next entry is to be written.
            wait_until_stopped(&env, &["data/taxi", &expected]).await?;
        } else {
            // The entry can't be parsed, not even its writer. The extender reads it again and again, logs
            // why, and consumes nothing meanwhile.
            let extender = env.extender.take().context("no extender")?;
            let log = extender.log().to_owned();
            eventually("the log says what is wrong", async || {
                let log_text = fs::read_to_string(&log)?;
                Ok(log_text.contains("it was changed").then_some(()).ok_or(log_text))
            })
            .await?;
            extender.kill().await?;
            env.start_extender().await?;
            wait_until_stopped(&env, &["data/taxi", &expected]).await?;
        }
        let beside = format!("beside-{number}");
        env.create(pod(&beside).requests("other/beside", "1", "1e-9").within("other"))
            .await?;
        env.wait_for_pod_phase("other", &beside, "Running").await?;
        let waits: Pod = env.api(DATA).get(&after).await?;
        ensure!(
            waits.spec.is_some_and(|spec| spec.node_name.is_none()),
            "{after} has a node"
        );

        // The administrator removes the forged entry, and the dataset goes on by itself.
        env.delete::<PrivacyLedgerEntry>(DATA, &entry_name(DATASET, sequence))
            .await?;
        env.wait_for_pod_phase(DATA, &after, "Running").await?;
    }
    let ledger = env.ledger(DATA, DATASET).await?;
    ensure!(ledger.phases().len() == 4, "{:?}", ledger.phases());
    env.wait_for_block_budget(DATA, "first", ("6", "0", "4")).await?;
    Ok(())
}
