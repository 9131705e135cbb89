//! What happens while a part is down, comes back, or there is one too many of it: whoever asks for budget waits, all
//! others go on, and nothing is ever spent twice.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use privatekube_api::{ClaimPhase, DatasetKey, PrivacyLedgerEntry, entry_name};
use privatekube_cluster::{Extender, ExtenderOptions, Part, User};
use privatekube_e2e::{Scene, World, block, dataset, eventually, pod};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Hash, Ledger, Store};
use privatekube_policy::{Event, Phase};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    audit,
    crowd::{self, DATA, Random},
};

const SEED: u64 = 5_041_900;
const DATASET: &str = "taxi";

/// A dataset whose only block has epsilon 10, all of it unlocked.
async fn prepared(world: &World) -> Result<()> {
    world.namespace(DATA).await?;
    world
        .create_all([
            dataset(DATASET).within(DATA),
            block(DATASET, "first").within(DATA),
        ])
        .await
}

fn asking(name: &str) -> Value {
    pod(name).asks(DATASET, "1", "0").within(DATA)
}

/// Waits until the scheduler has tried a pod and could not ask the extender.
async fn tried_in_vain(world: &World, name: &str) -> Result<()> {
    let tried = |pod: &Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let scheduled = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled")?;
        Some(scheduled.status == "False" && scheduled.message.as_ref()?.contains("connection refused"))
    };
    let pod = world
        .wait(DATA, name, "tried in vain", |pod: Option<&Pod>| {
            pod.and_then(tried) == Some(true)
        })
        .await?
        .context("no pod")?;
    ensure!(
        pod.spec.is_some_and(|spec| spec.node_name.is_none()),
        "pod {name} has a node"
    );
    Ok(())
}

async fn gate_removed(world: &World, name: &str) -> Result<()> {
    let ungated = |pod: &Pod| {
        pod.spec
            .as_ref()
            .is_some_and(|spec| spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty))
    };
    world
        .wait(DATA, name, "without gate", |pod: Option<&Pod>| {
            pod.is_some_and(ungated)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn while_the_extender_is_down_pods_that_ask_wait_and_all_others_run() -> Result<()> {
    let mut world = World::start().await?;
    prepared(&world).await?;
    // One that is granted and not bound, one that waits for a second block.
    world.cluster.stop_scheduler().await?;
    let waiting = pod("waiting")
        .asks(DATASET, "1", "0")
        .annotation("min-blocks", "2")
        .within(DATA);
    world.create_all([asking("granted"), waiting]).await?;
    world
        .pod_claim_phase(DATA, "granted", ClaimPhase::Granted)
        .await?;
    world
        .pod_claim_phase(DATA, "waiting", ClaimPhase::Waiting)
        .await?;
    gate_removed(&world, "granted").await?;
    world.stop_extender().await?;
    world.cluster.start_scheduler(true).await?;

    world.create(pod("plain").within(DATA)).await?;
    world.pod_phase(DATA, "plain", "Running").await?;
    let refusal = world.refusal(asking("late")).await?;
    for part in [
        "failed calling webhook \"pods.privatekube.dev\"",
        "connection refused",
    ] {
        ensure!(refusal.contains(part), "{part} is not in: {refusal}");
    }
    tried_in_vain(&world, "granted").await?;
    // Whoever may change the pod may take its gate away: then the scheduler asks, and that's all.
    world
        .change::<Pod>(DATA, "waiting", json!({"spec": {"schedulingGates": null}}))
        .await?;
    tried_in_vain(&world, "waiting").await?;
    world.create(pod("plain-too").within(DATA)).await?;
    world.pod_phase(DATA, "plain-too", "Running").await?;

    world.start_extender().await?;
    world.pod_phase(DATA, "granted", "Running").await?;
    world
        .unschedulable(DATA, "waiting", "waits for privacy budget")
        .await?;
    world.create(asking("late")).await?;
    world.pod_phase(DATA, "late", "Running").await?;
    world.create(block(DATASET, "second").within(DATA)).await?;
    world.pod_phase(DATA, "waiting", "Running").await?;
    world.block_shows(DATA, "first", ("7", "0", "3")).await?;
    world.block_shows(DATA, "second", ("9", "0", "1")).await?;
    let books = world.books(DATA, DATASET).await?;
    ensure!(
        books.phases().iter().all(|(_, phase)| *phase == Phase::Consumed),
        "{:?}",
        books.phases()
    );
    ensure!(books.phases().len() == 3, "{:?}", books.phases());
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

/// Starts the extender again whenever it ends.
async fn keep_alive(world: &World, mut extender: Extender) -> Result<()> {
    const MOST_STARTS: usize = 20;
    for start in 0..MOST_STARTS {
        if extender.wait_ready().await.is_ok() {
            println!("the extender is ready after {start} restarts");
            extender.ended().await;
        }
        extender = world
            .cluster
            .start_extender_without_waiting(&ExtenderOptions::default())
            .await?;
    }
    extender.wait_ready().await
}

#[tokio::test]
async fn the_api_server_is_killed_in_the_middle_and_nothing_is_lost() -> Result<()> {
    let seed = crowd::seed(SEED)?;
    api_server_killed(seed)
        .await
        .with_context(|| format!("seed {seed}"))
}

async fn api_server_killed(seed: u64) -> Result<()> {
    const PORTION: usize = 25;
    const KILLS: usize = 2;
    let mut random = Random::new(seed);
    let mut world = World::start().await?;
    crowd::prepare(&world, 20).await?;
    let scene = Scene::of(&world);
    let mut creations = JoinSet::new();
    let mut extender = world.extender.take().context("no extender")?;
    for kill in 0..KILLS {
        let pods = crowd::pods(&mut random, &format!("pod-{kill}"), PORTION);
        creations.spawn(crowd::insist(world.client.clone(), pods));
        let running = usize::try_from(random.below(3))? + 1 + kill * PORTION / 2;
        let reached = async || {
            let placed = scene.pods.count(|pod| scene.placed(pod).is_some());
            Ok(if placed >= running {
                Ok(())
            } else {
                Err(format!("{placed} of {running} pods run"))
            })
        };
        scene.until("the middle", reached).await?;
        world.cluster.kill_part(Part::KubeApiserver).await?;
        world.cluster.start_part(Part::KubeApiserver).await?;
        if extender.wait_ready().await.is_err() {
            println!("the extender ended, kill {kill}");
            extender = world.cluster.start_extender().await?;
        }
    }
    let everything = async {
        while let Some(created) = creations.join_next().await {
            created??;
        }
        audit::settled(&world, &scene, KILLS * PORTION).await
    };
    let summary = tokio::select! {
        summary = everything => summary?,
        ended = keep_alive(&world, extender) => return ended.context("the extender does not stay"),
    };
    println!("{summary:?}");
    ensure!(summary.granted >= KILLS * PORTION / 5, "{summary:?}");
    Ok(())
}

/// Waits until the extender ends by itself, as one does that is not the writer any more.
async fn steps_down(extender: Extender) -> Result<()> {
    let log = extender.log().to_owned();
    let status = extender.ended().await.context("no status")?;
    ensure!(!status.success(), "it says that it ended well");
    let log = fs::read_to_string(log)?;
    ensure!(log.contains("step down"), "it does not say why:\n{log}");
    Ok(())
}

#[tokio::test]
async fn of_two_extenders_one_steps_down_and_no_budget_is_spent_twice() -> Result<()> {
    const PODS: usize = 5;
    let mut world = World::start().await?;
    prepared(&world).await?;
    let first = world.extender.take().context("no extender")?;
    let second = world.cluster.start_another_extender().await?;
    // Both see the pod, and both write the entry in which it arrives.
    world.create(asking("pod-0")).await?;
    let other = tokio::select! {
        _ = first.ended() => { steps_down(first).await?; second }
        _ = second.ended() => { steps_down(second).await?; first }
    };
    ensure!(!other.has_ended(), "both are gone");
    let status = other.stop().await?.context("no status")?;
    ensure!(status.success(), "the writer ended with {status}");

    world.start_extender().await?;
    world
        .create_all((1..PODS).map(|number| asking(&format!("pod-{number}"))))
        .await?;
    for number in 0..PODS {
        world.pod_phase(DATA, &format!("pod-{number}"), "Running").await?;
    }
    world.block_shows(DATA, "first", ("5", "0", "5")).await?;
    let books = world.books(DATA, DATASET).await?;
    ensure!(books.phases().len() == PODS, "{:?}", books.phases());
    ensure!(
        books.phases().iter().all(|(_, phase)| *phase == Phase::Consumed),
        "{:?}",
        books.phases()
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
    let mut world = World::start().await?;
    prepared(&world).await?;
    world.create(asking("before")).await?;
    world.pod_phase(DATA, "before", "Running").await?;
    world.block_shows(DATA, "first", ("9", "0", "1")).await?;

    let client = world.cluster.client_as(User::Extender).await?;
    let books = world.books(DATA, DATASET).await?;
    let rules = books.entries[0].rules.clone().context("no rules")?;
    let mut other = Ledger::open(store(client), "another".to_owned(), rules).await?;
    let mut draft = other.draft(books.replay.head().time)?;
    // Changes nothing: that it was written is all that matters.
    draft.apply(Event::Withdraw {
        claim: books.phases()[0].0.clone(),
    })?;
    let sequence = draft.commit().await?.sequence;
    world.create(asking("after")).await?;
    steps_down(world.extender.take().context("no extender")?).await?;
    let books = world.books(DATA, DATASET).await?;
    ensure!(
        books.entries.len() as u64 == sequence,
        "something was written after entry {sequence}"
    );

    world.start_extender().await?;
    world.pod_phase(DATA, "after", "Running").await?;
    world.block_shows(DATA, "first", ("8", "0", "2")).await?;
    world.books(DATA, DATASET).await?;
    Ok(())
}

/// Makes an entry that doesn't follow from the ones before, as somebody with the extender's rights could.
async fn forge(client: &Client, last: &Entry, previous: Hash, hash: Option<&str>) -> Result<u64> {
    let forged = Entry {
        sequence: last.sequence + 1,
        previous,
        writer: "forger".to_owned(),
        time: last.time,
        rules: None,
        events: Vec::new(),
        records: Vec::new(),
        omitted: None,
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

#[tokio::test]
async fn a_ledger_that_cant_be_verified_is_not_opened_and_the_entry_is_named() -> Result<()> {
    let mut world = World::start().await?;
    prepared(&world).await?;
    let client = world.cluster.client_as(User::Extender).await?;
    for (number, of_another_chain) in [true, false].into_iter().enumerate() {
        let before = format!("before-{number}");
        world.create(asking(&before)).await?;
        world.pod_phase(DATA, &before, "Running").await?;
        let books = world.books(DATA, DATASET).await?;
        let last = books.entries.last().context("no entry")?;
        let (sequence, says) = if of_another_chain {
            let sequence = forge(&client, last, Hash::of(b"another chain"), None).await?;
            (sequence, format!("entry {sequence} follows an entry with hash"))
        } else {
            let sequence = forge(&client, last, last.hash(), Some(&Hash::ORIGIN.to_string())).await?;
            (
                sequence,
                format!("ledger entry {}: hash", entry_name(DATASET, sequence)),
            )
        };
        let after = format!("after-{number}");
        world.create(asking(&after)).await?;
        let extender = world.extender.take().context("no extender")?;
        if of_another_chain {
            steps_down(extender).await?;
        } else {
            // Not even its writer can be read: it asks again, says why, and spends nothing meanwhile.
            let log = extender.log().to_owned();
            eventually("the log says what is wrong", async || {
                let said = fs::read_to_string(&log)?;
                Ok(said.contains("it was changed").then_some(()).ok_or(said))
            })
            .await?;
            extender.kill().await?;
        }
        let refusing = world.cluster.start_extender().await;
        let error = refusing.err().context("it opened the ledger")?.to_string();
        for part in ["data/taxi", &says] {
            ensure!(error.contains(part), "{part} is not in: {error}");
        }
        let waits: Pod = world.api(DATA).get(&after).await?;
        ensure!(
            waits.spec.is_some_and(|spec| spec.node_name.is_none()),
            "{after} has a node"
        );

        // Whoever may do anything takes the forgery away.
        world
            .delete::<PrivacyLedgerEntry>(DATA, &entry_name(DATASET, sequence))
            .await?;
        world.start_extender().await?;
        world.pod_phase(DATA, &after, "Running").await?;
    }
    let books = world.books(DATA, DATASET).await?;
    ensure!(books.phases().len() == 4, "{:?}", books.phases());
    world.block_shows(DATA, "first", ("6", "0", "4")).await?;
    Ok(())
}
