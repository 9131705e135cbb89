//! Everything goes wrong at once: a proxy between the extender and the API server loses requests and replies, delays them
//! and stalls watches, while extender, API server, etcd and scheduler are killed again and again under a stream of pods and
//! claims. Once that has ended, an audit of the API objects alone finds nothing.
//!
//! `make test` runs it with few kills; `make soak-cluster KILLS=100` as long as one likes. `tenants.rs` makes the stream,
//! `keeper.rs` restarts the extender, `killing.rs` chooses what is killed, `settling.rs` audits.

mod keeper;
mod killing;
mod settling;
mod tenants;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privatekube_cluster::{Config, Part, User};
use privatekube_e2e::{TestEnvironment, WatchedCluster};
use privatekube_faults::{Fault, FaultProxy, FaultRates};
use tokio::{sync::mpsc, task::JoinSet};

use self::{
    keeper::{Keeper, keep_extender},
    killing::{Kills, Victim},
    tenants::Tenants,
};
use crate::workload::{self, Random};

const SEED: u64 = 31_415_926;
/// How many kills there are unless the environment says otherwise: each kind is among them.
const KILLS: usize = 7;
/// The environment variable that replaces the number of kills.
const KILLS_VARIABLE: &str = "PRIVATEKUBE_SOAK_KILLS";
/// What a kill may take with all that belongs to it, on a slow machine.
const LONGEST_KILL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_and_kills_of_all_parts_overspend_and_lose_nothing() -> Result<()> {
    let seed = workload::seed(SEED)?;
    let kills = match std::env::var(KILLS_VARIABLE) {
        Ok(kills) => kills
            .parse()
            .with_context(|| format!("{KILLS_VARIABLE}={kills}"))?,
        Err(_) => KILLS,
    };
    run(seed, kills).await.with_context(|| format!("seed {seed}"))
}

async fn run(seed: u64, kills: usize) -> Result<()> {
    let mut env = TestEnvironment::start_with(Config {
        nodes: 5,
        ..Config::default()
    })
    .await?;
    env.may_take(Duration::from_secs(900) + LONGEST_KILL * u32::try_from(kills)?);
    tenants::prepare(&env).await?;
    env.stop_extender().await?;

    let dir = env.cluster.description().dir.clone();
    let upstream = env.cluster.client_as(User::Extender).await?;
    let proxy = FaultProxy::start(upstream, seed, Some(&dir.join("faults.log"))).await?;
    let kubeconfig = dir.join("faulty.kubeconfig");
    std::fs::write(&kubeconfig, proxy.kubeconfig())?;

    let (requests, received) = mpsc::channel(1);
    let keeper = Keeper::new(requests);
    let everything = async {
        let done = disturb(&env, &proxy, &keeper, seed, kills).await;
        drop(keeper);
        done
    };
    let (done, kept) = tokio::join!(everything, keep_extender(&env, &kubeconfig, received));
    let kept = kept.context("the extender")?;
    let summary = done.with_context(|| {
        format!(
            "the extender:\n{}\n{}",
            env.cluster.tail(Part::Extender),
            proxy.counts()
        )
    })?;
    println!("{summary}\n{kept}\n{}", proxy.counts());
    ensure!(proxy.counts().all_faults() > 0, "no fault was injected");
    Ok(())
}

/// The faults of the usual time between two kills, some of which are stormy or calm.
fn rates(random: &mut Random) -> FaultRates {
    let (factor, seconds) = match random.below(10) {
        0 => return FaultRates::none(),
        1 => (8, 3),
        // Longer than the extender waits for an entry to be written.
        2 => (1, 12),
        _ => (1, 2),
    };
    let usual = [
        (Fault::RequestLost, 15),
        (Fault::ReplyLost, 20),
        (Fault::Delayed, 20),
        (Fault::DelayedReply, 20),
        (Fault::CutAnswer, 10),
        (Fault::Throttled, 10),
        (Fault::Unavailable, 10),
    ];
    let mut rates = FaultRates::none();
    for (fault, thousandths) in usual {
        rates = rates.with(fault, thousandths * factor);
    }
    rates = rates.with(Fault::WatchStalled, 250).with(Fault::WatchCut, 150);
    rates.longest_delay = Duration::from_secs(seconds);
    rates.longest_stall = Duration::from_secs(6);
    rates
}

/// Lets tenants work while parts are killed; then ends the faults, and waits until the audit finds nothing.
async fn disturb(
    env: &TestEnvironment,
    proxy: &FaultProxy,
    keeper: &Keeper,
    seed: u64,
    count: usize,
) -> Result<String> {
    let mut random = Random::new(seed);
    let watched = WatchedCluster::of(env);
    let mut kills = Kills::new(&mut random, count);
    let mut tenants = Tenants::new(env.client.clone());
    let mut work = JoinSet::new();
    while let Some(victim) = kills.next(&mut random) {
        proxy.set_rates(rates(&mut random));
        tenants.begin(&mut random, &watched, &mut work);
        killing::moment(&mut random, &watched).await;
        kills.kill(env, keeper, &watched, victim).await?;
        while let Some(ended) = work.try_join_next() {
            ended??;
        }
        if kills.done().is_multiple_of(10) {
            // What is wrong at any moment is wrong now, too.
            let report = settling::report(&env.client).await;
            println!("{kills}; {}", proxy.counts());
            if let Ok(report) = report {
                let lasting: Vec<String> = report.lasting().map(ToString::to_string).collect();
                ensure!(lasting.is_empty(), "after {kills}: {lasting:#?}");
            }
        }
    }
    proxy.set_rates(FaultRates::none());
    println!("{kills}; the faults have ended");
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    let report = settling::wait_until_nothing_is_wrong(env, &watched).await?;
    settling::verify(env).await?;
    ensure!(
        report.pods_with_node > count,
        "too few pods got a node:\n{report}"
    );
    for victim in Victim::ALL {
        // The second extender ends by itself if the first one writes to all ledgers before it.
        ensure!(
            kills.of(victim) > 0 || victim == Victim::Rival || count < Victim::ALL.len(),
            "{kills}"
        );
    }
    let flushed = env.scheduled_after_flush().await?;
    Ok(format!(
        "{kills}; {tenants}; scheduled after a flush: {flushed}\n{report}"
    ))
}
