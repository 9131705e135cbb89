//! The extender is killed during its work, again and again. No claim is lost, none is charged twice, and none
//! waits for ever.

use std::{convert::Infallible, future::pending};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::PrivacyLedgerEntry;
use privatekube_cluster::{Extender, ExtenderOptions};
use privatekube_e2e::{TestEnvironment, WatchedCluster};
use tokio::task::JoinSet;

use crate::{
    audit,
    workload::{self, Random},
};

const SEED: u64 = 18_021_917;
const KILLS: usize = 10;
/// The number of pods whose creation begins before each kill.
const PORTION: usize = 14;

/// A moment of the workload: when there are this many more of something than when the wait begins.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Admitted pods.
    Admitted(usize),
    /// Ledger entries.
    Written(usize),
    /// Ledger entries that consume budget: a pod is about to be bound.
    Consumed(usize),
    /// Pods without gate: the scheduler is about to call the extender.
    Ungated(usize),
    /// Pods with a node.
    Placement(usize),
}

impl Moment {
    fn random(random: &mut Random) -> Self {
        let few = |random: &mut Random| usize::try_from(1 + random.below(2)).unwrap_or(1);
        match random.below(6) {
            0 => Self::Admitted(few(random) * 5),
            1 => Self::Written(few(random)),
            2 | 3 => Self::Consumed(few(random)),
            4 => Self::Ungated(few(random)),
            _ => Self::Placement(few(random)),
        }
    }

    fn current_count(self, watched: &WatchedCluster) -> usize {
        let gates = |pod: &Pod| {
            pod.spec
                .as_ref()
                .and_then(|spec| spec.scheduling_gates.as_ref())
                .is_some()
        };
        match self {
            Self::Admitted(_) => watched.pods.all().len(),
            Self::Written(_) => watched.entries.all().len(),
            Self::Consumed(_) => watched.entries.count(has_consumption),
            Self::Ungated(_) => watched.pods.count(|pod| !gates(pod)),
            Self::Placement(_) => watched.pods.count(|pod| watched.placement(pod).is_some()),
        }
    }

    /// Waits for the moment, counted from this call.
    fn wait(self, watched: &WatchedCluster) -> impl Future<Output = Result<()>> {
        let (Self::Admitted(more)
        | Self::Written(more)
        | Self::Consumed(more)
        | Self::Ungated(more)
        | Self::Placement(more)) = self;
        let goal = self.current_count(watched) + more;
        async move {
            let reached = async || {
                let now = self.current_count(watched);
                Ok(if now >= goal {
                    Ok(())
                } else {
                    Err(format!("it is {now} of {goal}"))
                })
            };
            watched.until(&format!("{self:?}"), reached).await
        }
    }
}

fn has_consumption(entry: &PrivacyLedgerEntry) -> bool {
    entry
        .spec
        .events
        .iter()
        .any(|event| event.get("consume").is_some())
}

/// Returns an error if the extender doesn't become ready, and else never.
async fn never_ready(extender: &Extender) -> Result<Infallible> {
    extender.wait_ready().await?;
    pending().await
}

#[tokio::test]
async fn ten_kills_of_the_extender_lose_no_claim_and_charge_none_twice() -> Result<()> {
    let seed = workload::seed(SEED)?;
    run_ten_kills(seed).await.with_context(|| format!("seed {seed}"))
}

async fn run_ten_kills(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut env = TestEnvironment::start().await?;
    workload::prepare(&env, 30).await?;
    let watched = WatchedCluster::of(&env);
    let mut creations = JoinSet::new();
    let mut start_creating = |random: &mut Random, portion: usize| {
        let pods = workload::pods(random, &format!("pod-{portion}"), PORTION);
        creations.spawn(workload::create_with_retries(env.client.clone(), pods));
    };
    let mut extender = env.extender.take().context("no extender")?;
    for kill in 0..KILLS {
        let moment = Moment::random(&mut random);
        println!("kill {kill} at {moment:?}");
        let reached = moment.wait(&watched);
        start_creating(&mut random, kill);
        tokio::select! {
            reached = reached => reached,
            failed = never_ready(&extender) => failed.map(drop),
        }
        .with_context(|| format!("before kill {kill}"))?;
        extender.kill().await?;
        extender = env
            .cluster
            .start_extender_without_waiting(&ExtenderOptions::default())
            .await?;
    }
    extender.wait_ready().await.context("after the last kill")?;
    start_creating(&mut random, KILLS);
    while let Some(created) = creations.join_next().await {
        created??;
    }
    let summary = audit::wait_until_settled(&env, &watched, (KILLS + 1) * PORTION).await?;
    println!("{summary:?}");
    ensure!(
        summary.granted > KILLS && summary.waiting + summary.denied > 0,
        "{summary:?}"
    );
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

#[tokio::test]
async fn stopping_the_extender_during_work_exits_cleanly_and_loses_no_claim() -> Result<()> {
    let seed = workload::seed(SEED)?;
    run_stops(seed).await.with_context(|| format!("seed {seed}"))
}

async fn run_stops(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut env = TestEnvironment::start().await?;
    workload::prepare(&env, 30).await?;
    let watched = WatchedCluster::of(&env);
    let mut creations = JoinSet::new();
    let moments = [Moment::Admitted(6), Moment::Consumed(1), Moment::Ungated(1)];
    for (at, moment) in moments.into_iter().enumerate() {
        let reached = moment.wait(&watched);
        let pods = workload::pods(&mut random, &format!("pod-{at}"), PORTION);
        creations.spawn(workload::create_with_retries(env.client.clone(), pods));
        reached.await?;
        // An error unless the process ends by itself with exit code 0.
        env.stop_extender().await.with_context(|| format!("{moment:?}"))?;
        env.start_extender().await?;
    }
    while let Some(created) = creations.join_next().await {
        created??;
    }
    let summary = audit::wait_until_settled(&env, &watched, moments.len() * PORTION).await?;
    println!("{summary:?}");
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}
