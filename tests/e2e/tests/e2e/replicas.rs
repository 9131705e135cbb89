//! Several extenders: when the one that leads is killed, stopped or replaced under work, another one goes on. No claim is lost, none
//! is charged twice, pods that request no budget notice nothing, and whoever creates pods isn't refused while replicas are
//! replaced as planned.

use std::{
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{Client, ResourceExt, api::ListParams};
use privatekube_api::{ClaimPhase, PrivacyLedgerEntry};
use privatekube_cluster::{Config, Part};
use privatekube_e2e::{
    Replica, Replicas, TestEnvironment, WatchedCluster, claim, create_as, eventually, pod,
};
use serde_json::Value;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    audit::{self, requesting_pods},
    workload::{self, Random},
};

const SEED: u64 = 20_261_130;
/// The namespace of pods that request no budget.
const PLAIN: &str = "plain";
/// The number of pods that are created around each end of a leader.
const PORTION: usize = 40;

/// Pods that request no budget, one after the other, until this is stopped.
struct PlainPods {
    ends: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl PlainPods {
    fn start(client: Client) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let ends = Arc::clone(&ends);
            async move {
                let mut count = 0;
                while !ends.load(Ordering::Relaxed) {
                    create_as(&client, pod(&format!("plain-{count}")).within(PLAIN)).await?;
                    count += 1;
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(count)
            }
        });
        Self { ends, task }
    }

    /// Waits until all of them have a node, and checks that no attempt to give them one has failed.
    async fn check(self, env: &TestEnvironment) -> Result<usize> {
        self.ends.store(true, Ordering::Relaxed);
        let count = self.task.await?.context("a plain pod could not be made")?;
        eventually("plain pods have nodes", async || {
            let pods = env.pods(PLAIN).await?;
            let without = pods
                .values()
                .find(|pod| pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()));
            Ok(match without {
                Some(pod) => Err(format!("{} has none", pod.name_any())),
                None if pods.len() == count => Ok(()),
                None => Err(format!("{} of {count} exist", pods.len())),
            })
        })
        .await?;
        let failed = ListParams::default().fields("reason=FailedScheduling");
        let failed = env.api::<Event>(PLAIN).list(&failed).await?;
        ensure!(failed.items.is_empty(), "{:?}", failed.items.first());
        Ok(count)
    }
}

/// A cluster with replicas and pods that request no budget.
async fn start() -> Result<(TestEnvironment, Replicas, WatchedCluster, PlainPods)> {
    let mut env = TestEnvironment::start_with(Config {
        nodes: 3,
        ..Config::default()
    })
    .await?;
    workload::prepare(&env, 60).await?;
    env.namespace(PLAIN).await?;
    env.stop_extender().await?;
    let replicas = Replicas::start(&env, 2).await?;
    let watched = WatchedCluster::of(&env);
    let plain = PlainPods::start(env.client.clone());
    Ok((env, replicas, watched, plain))
}

/// Waits until the ledgers have so many more entries than when this is called.
async fn until_entries(watched: &WatchedCluster, more: usize) -> Result<()> {
    let goal = watched.entries.all().len() + more;
    watched
        .until("entries are written", async || {
            let count = watched.entries.all().len();
            Ok(if count >= goal {
                Ok(())
            } else {
                Err(format!("it is {count} of {goal}"))
            })
        })
        .await
}

/// How long after `since` the first pod with a request got a node, of those that got one later than that.
fn first_placement(watched: &WatchedCluster, since: Instant) -> Option<Duration> {
    let pods = requesting_pods(watched);
    let placed = pods.iter().filter_map(|pod| Some(watched.placement(pod)?.at));
    placed.filter_map(|at| at.checked_duration_since(since)).min()
}

/// The longest time between two pods that got a node, one after the other, from `since` on.
fn longest_gap(watched: &WatchedCluster, since: Instant) -> Duration {
    let pods = requesting_pods(watched);
    let mut all: Vec<Instant> = pods
        .iter()
        .filter_map(|pod| Some(watched.placement(pod)?.at))
        .filter(|at| *at >= since)
        .collect();
    all.sort();
    all.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

/// Who wrote the entries: each name once, in order of the first entry.
fn writers(watched: &WatchedCluster) -> Vec<String> {
    let mut entries = watched.entries.all();
    entries.sort_by_key(|entry| entry.spec.time_micros);
    let mut writers: Vec<String> = Vec::new();
    for entry in entries {
        let entry: &PrivacyLedgerEntry = &entry;
        let pod = entry.spec.writer.split('/').next().unwrap_or_default().to_owned();
        if !writers.contains(&pod) {
            writers.push(pod);
        }
    }
    writers
}

/// The last lines that the extenders have logged.
fn logs(env: &TestEnvironment) -> String {
    format!("the extenders:\n{}", env.cluster.tail(Part::Extender))
}

/// Checks that a replica ended as one that was asked to end.
fn ended_well(env: &TestEnvironment, name: &str, ended: Option<ExitStatus>) -> Result<()> {
    ensure!(
        ended.is_some_and(|status| status.success()),
        "{name} ended with {ended:?}; {}",
        logs(env)
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_another_replica_that_loses_and_repeats_nothing() -> Result<()> {
    let seed = workload::seed(SEED)?;
    killed(seed).await.with_context(|| format!("seed {seed}"))
}

async fn killed(seed: u64) -> Result<()> {
    const KILLS: usize = 3;
    let mut random = Random::new(seed);
    let (env, mut replicas, watched, plain) = start().await?;
    let mut creations = JoinSet::new();
    for kill in 0..KILLS {
        let pods = workload::pods(&mut random, &format!("pod-{kill}"), PORTION);
        creations.spawn(workload::create_with_retries(env.client.clone(), pods));
        until_entries(&watched, 4).await?;
        let leader = replicas.take_leader().await?;
        let name = leader.name.clone();
        let killed = Instant::now();
        leader.extender.kill().await?;
        let (next, took) = replicas.until_led_by_other_than(&name).await?;
        until_entries(&watched, 1).await?;
        let first = watched
            .until("a pod is bound", async || {
                Ok(first_placement(&watched, killed + took).ok_or_else(|| "none is".to_owned()))
            })
            .await?;
        println!(
            "kill {kill}: {next} answered the scheduler {took:.2?} after {name} was killed; the first pod had a node {first:.2?} \
             after that"
        );
        eventually("only the leader's pod has the label", async || {
            let labelled = replicas.labelled();
            Ok(if labelled == [next.clone()] {
                Ok(())
            } else {
                Err(format!("{labelled:?}"))
            })
        })
        .await?;
        Replica::delete_pod(&env, &name).await?;
        replicas.add(&env).await?;
    }
    while let Some(created) = creations.join_next().await {
        created??;
    }
    let count = plain.check(&env).await?;
    println!("{count} plain pods, none of which failed to be scheduled");
    let summary = audit::wait_until_settled(&env, &watched, KILLS * PORTION).await?;
    println!("{summary:?}, writers {:?}", writers(&watched));
    ensure!(writers(&watched).len() > KILLS, "{:?}", writers(&watched));
    ensure!(summary.granted > KILLS, "{summary:?}");
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

#[tokio::test]
async fn replicas_that_are_replaced_refuse_no_pod_and_hand_over() -> Result<()> {
    let seed = workload::seed(SEED)?;
    replaced(seed).await.with_context(|| format!("seed {seed}"))
}

async fn replaced(seed: u64) -> Result<()> {
    const ROUNDS: usize = 2;
    let mut random = Random::new(seed);
    let (env, mut replicas, watched, plain) = start().await?;
    let created = Arc::new(AtomicUsize::new(0));
    // One refusal of one pod fails the test.
    let pods = workload::pods(&mut random, "pod", 10_000);
    let ends = Arc::new(AtomicBool::new(false));
    let creation = tokio::spawn({
        let (client, created, ends) = (env.client.clone(), Arc::clone(&created), Arc::clone(&ends));
        async move {
            for pod in pods {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                create_as(&client, pod).await.context("a pod is refused")?;
                created.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
            }
            Ok::<(), anyhow::Error>(())
        }
    });
    until_entries(&watched, 10).await?;
    let began = Instant::now();
    // As a Deployment does that may have one pod more, and none less.
    for round in 0..ROUNDS * 2 {
        replicas.add(&env).await?;
        let (leader, _) = replicas.until_led_by_other_than("").await?;
        // Both kinds end: one round the leader, the next one the other.
        let name = if round % 2 == 0 {
            leader.clone()
        } else {
            let other = replicas.running.iter().find(|replica| replica.name != leader);
            other.context("no other replica")?.name.clone()
        };
        let replica = replicas.take(&name)?;
        let stopped = Instant::now();
        let (ended, led) = tokio::join!(replica.extender.stop(), replicas.until_led_by_other_than(&name));
        ended_well(&env, &name, ended?)?;
        let (next, took) = led.with_context(|| logs(&env))?;
        if name == leader {
            until_entries(&watched, 2).await?;
            let first = first_placement(&watched, stopped + took);
            println!(
                "{next} answered the scheduler {took:.0?} after SIGTERM to {name}; the first pod had a node {first:.0?} after that"
            );
        } else {
            ensure!(next == leader, "{leader} led, and {next} does");
        }
        Replica::delete_pod(&env, &name).await?;
    }
    println!(
        "the longest time without a pod that got a node: {:.2?}",
        longest_gap(&watched, began)
    );
    ends.store(true, Ordering::Relaxed);
    creation.await??;
    let plain = plain.check(&env).await?;
    println!("{plain} plain pods, none of which failed to be scheduled");
    let count = created.load(Ordering::Relaxed);
    let summary = audit::wait_until_settled(&env, &watched, count).await?;
    println!("{count} pods: {summary:?}, writers {:?}", writers(&watched));
    ensure!(writers(&watched).len() > ROUNDS, "{:?}", writers(&watched));
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

#[tokio::test]
async fn with_many_claims_a_new_leader_is_as_fast() -> Result<()> {
    const CLAIMS: usize = 1000;
    let (env, mut replicas, watched, plain) = start().await?;
    let claims: Vec<Value> = (0..CLAIMS)
        .map(|number| {
            let claim = claim(
                &format!("{}/{}", workload::DATA, workload::TAXI),
                &format!("c-{number:04}"),
            );
            claim.epsilon("0.0001", "0").within(workload::TEAMS[number % 3])
        })
        .collect();
    workload::create(env.client.clone(), claims).await?;
    watched
        .until("claims are granted", async || {
            let granted = watched.claims.count(|claim| {
                let phase = claim.status.as_ref().and_then(|status| status.phase);
                phase == Some(ClaimPhase::Granted)
            });
            Ok(if granted == CLAIMS {
                Ok(())
            } else {
                Err(format!("{granted} are"))
            })
        })
        .await?;
    let leader = replicas.take_leader().await?;
    let name = leader.name.clone();
    let (ended, led) = tokio::join!(leader.extender.stop(), replicas.until_led_by_other_than(&name));
    ended_well(&env, &name, ended?)?;
    println!(
        "with {CLAIMS} claims, the next leader answered the scheduler {:.0?} after SIGTERM",
        led.with_context(|| logs(&env))?.1
    );
    plain.check(&env).await?;
    Ok(())
}

/// A replica that can't reach the API server grants nothing, and goes on by itself once it can.
#[tokio::test]
async fn replicas_go_on_after_the_api_server_was_away() -> Result<()> {
    let mut random = Random::new(SEED);
    let (env, replicas, watched, plain) = start().await?;
    plain.check(&env).await?;
    let mut creations = JoinSet::new();
    let mut count = 0;
    for round in 0..2 {
        let pods = workload::pods(&mut random, &format!("pod-{round}"), 10);
        count += pods.len();
        creations.spawn(workload::create_with_retries(env.client.clone(), pods));
        if round == 0 {
            until_entries(&watched, 2).await?;
            env.cluster.kill_part(Part::KubeApiserver).await?;
            // Until neither leads any more.
            eventually("nobody leads", async || {
                for replica in &replicas.running {
                    if replicas.leads(replica).await {
                        return Ok(Err(format!("{} leads", replica.name)));
                    }
                }
                Ok(Ok(()))
            })
            .await?;
            env.cluster.start_part(Part::KubeApiserver).await?;
        }
    }
    while let Some(created) = creations.join_next().await {
        created??;
    }
    replicas.until_led_by_other_than("").await?;
    audit::wait_until_settled(&env, &watched, count).await?;
    // The one that led ends if the other one was faster.
    let ended = replicas
        .running
        .iter()
        .filter(|replica| replica.extender.has_ended());
    ensure!(ended.count() < 2, "both have ended");
    let pods = env
        .api::<Pod>("privatekube-system")
        .list(&ListParams::default())
        .await?;
    ensure!(pods.items.len() == 2);
    Ok(())
}
