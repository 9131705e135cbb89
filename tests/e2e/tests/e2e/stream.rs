//! 300 pods request budget on 20 blocks of two datasets, created as fast as the API server accepts them. In
//! the end the ledgers, the oracle, the pods and all statuses must agree.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use privatekube_cluster::Config;
use privatekube_e2e::{TestEnvironment, WatchedCluster};

use crate::{
    audit::{self, requesting_pods},
    workload::{self, Random},
};

const SEED: u64 = 20_261_121;
const PODS: usize = 300;

#[tokio::test]
async fn three_hundred_pods_get_exactly_what_the_oracle_grants() -> Result<()> {
    let seed = workload::seed(SEED)?;
    run_stream(seed).await.with_context(|| format!("seed {seed}"))
}

async fn run_stream(seed: u64) -> Result<()> {
    let env = TestEnvironment::start_with(Config {
        nodes: 5,
        ..Config::default()
    })
    .await?;
    workload::prepare(&env, 60).await?;
    let watched = WatchedCluster::of(&env);
    let pods = workload::pods(&mut Random::new(seed), "pod", PODS);
    let begun = Instant::now();
    workload::create(env.client.clone(), pods).await?;
    let created = begun.elapsed();
    let summary = audit::wait_until_settled(&env, &watched, PODS).await?;

    let placed = requesting_pods(&watched)
        .iter()
        .filter_map(|pod| Some(watched.placement(pod)?.at))
        .max();
    let took = placed.context("no pod runs")?.duration_since(begun).as_secs_f64();
    println!("{summary:?}");
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = |count: usize, seconds: f64| count as f64 / seconds;
    println!(
        "{PODS} pods were made in {created:.1?} ({:.0} a second); from the first one made to the last one bound it took \
         {took:.1} s ({:.0} decided a second, {:.0} bound a second)",
        rate(PODS, created.as_secs_f64()),
        rate(PODS, took),
        rate(summary.granted, took),
    );
    // The workload has some of each.
    for (what, count) in [
        ("granted", summary.granted),
        ("waiting", summary.waiting),
        ("denied", summary.denied),
    ] {
        ensure!(count >= PODS / 50, "only {count} claims are {what}");
    }
    ensure!(
        summary.events > 2 * summary.entries,
        "{} events in {} entries",
        summary.events,
        summary.entries
    );
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}
