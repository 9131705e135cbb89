//! A random workload: many pods that request budget of two datasets, small and large, some of them more than
//! can ever be granted. The same seed makes the same pods.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use privatekube_e2e::{TestEnvironment, block, create_as, dataset, pod};
use serde_json::{Value, json};

/// The datasets' namespace.
pub(crate) const DATA: &str = "data";
/// The dataset with Basic composition.
pub(crate) const TAXI: &str = "taxi";
/// The dataset with Renyi composition.
pub(crate) const WEB: &str = "web";
/// The pods' namespaces.
pub(crate) const TEAMS: [&str; 3] = ["red", "green", "blue"];
/// The number of blocks of each dataset.
pub(crate) const BLOCKS: u64 = 10;
/// The most pods that are created at the same time.
const AT_ONCE: usize = 8;

/// The environment variable that replaces a test's seed.
const SEED_VARIABLE: &str = "PRIVATEKUBE_E2E_SEED";

/// The seed to use: that of the environment, else `usual`.
pub(crate) fn seed(usual: u64) -> Result<u64> {
    match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED_VARIABLE}={seed}")),
        Err(_) => Ok(usual),
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        // Lists are short, so the conversion never fails.
        list[usize::try_from(self.below(list.len() as u64)).unwrap_or_default()]
    }
}

/// Creates the namespaces, the datasets and their blocks.
pub(crate) async fn prepare(env: &TestEnvironment, arrivals: u32) -> Result<()> {
    for namespace in TEAMS.into_iter().chain([DATA]) {
        env.namespace(namespace).await?;
    }
    let datasets = [
        dataset(TAXI).arrivals(arrivals),
        dataset(WEB)
            .arrivals(arrivals)
            .renyi(&["3", "5", "8", "16", "64"]),
    ];
    // Pods of the teams claim with a priority of 5 at most.
    env.create_all(datasets.map(|dataset| dataset.open_to_all(5).within(DATA)))
        .await?;
    for day in 0..BLOCKS {
        for (of, delta) in [(TAXI, "1e-6"), (WEB, "1e-7")] {
            let name = format!("{of}-{day}");
            let block = block(of, &name)
                .budget("10", delta)
                .dimension("day", day)
                .dimension("city", if day % 2 == 0 { "nyc" } else { "sfo" })
                .with("dataSource", json!(source(&name)));
            env.create_all([block.within(DATA)]).await?;
        }
    }
    Ok(())
}

/// A block's data source.
pub(crate) fn source(block: &str) -> String {
    format!("s3://lake/{block}")
}

/// Random pods. The first of every five requests so little of one block that it can always be granted.
pub(crate) fn pods(random: &mut Random, prefix: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| random_pod(random, &format!("{prefix}-{number:03}"), number % 5 == 0))
        .collect()
}

fn random_pod(random: &mut Random, name: &str, is_small: bool) -> Value {
    let of = random.one_of(&[TAXI, WEB]);
    let pod = pod(name).annotation("dataset", &format!("{DATA}/{of}"));
    let day = random.below(BLOCKS);
    let request = |pod: privatekube_e2e::PodBuilder, epsilon: &str| {
        pod.annotation("epsilon", epsilon).annotation("delta", "1e-9")
    };
    let pod = match random.below(20) {
        _ if is_small => request(pod, "0.001").annotation("blocks", &format!("block.day == {day}")),
        // Small claims.
        0..9 => {
            let pod = match random.below(3) {
                0 => pod.annotation("blocks", &format!("block.day == {day}")),
                1 => pod
                    .annotation("blocks", "block.city == \"nyc\"")
                    .annotation("max-blocks", "2"),
                _ => pod.annotation("max-blocks", "1"),
            };
            if of == WEB && random.below(2) == 0 {
                pod.annotation(
                    "mechanism",
                    random.one_of(&["gaussian(sigma=20)", "laplace(scale=40)"]),
                )
            } else {
                request(pod, random.one_of(&["0.02", "0.05", "0.1", "0.123456789012"]))
            }
        }
        // Large claims.
        9..17 => {
            let pod = match random.below(4) {
                0 => pod,
                1 => pod.annotation("blocks", &format!("block.day >= {day}")),
                2 => pod
                    .annotation("blocks", "block.city == \"sfo\" && block.day < 8")
                    .annotation("min-blocks", "2"),
                _ => pod
                    .annotation("blocks", &format!("block.day <= {day}"))
                    .annotation("max-blocks", "4"),
            };
            if of == WEB && random.below(2) == 0 {
                pod.annotation(
                    "mechanism",
                    random.one_of(&["gaussian(sigma=2.5)", "laplace(scale=1.5)"]),
                )
            } else {
                request(pod, random.one_of(&["0.7", "1.1", "2.3"]))
            }
        }
        // Denied: more than any block has.
        17 => request(pod, "40"),
        // Waits for ever, for blocks that no one creates.
        18 => request(pod, "0.1").annotation("blocks", "block.day >= 1000"),
        _ => request(pod, "0.1").annotation("min-blocks", "15"),
    };
    let pod = match random.below(8) {
        0 => pod.annotation("priority", "5"),
        1 => pod.annotation("timeout", "2h"),
        _ => pod,
    };
    pod.within(random.one_of(&TEAMS))
}

/// Creates pods as fast as the API server accepts them.
pub(crate) async fn create(client: Client, pods: Vec<Value>) -> Result<()> {
    let creations = stream::iter(pods).map(|pod| {
        let client = client.clone();
        async move { create_as(&client, pod).await.map(drop) }
    });
    creations
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("make a pod")
}

/// As [`create`], but with [retries](privatekube_e2e::create_with_retries) while the cluster can't accept a
/// pod.
pub(crate) async fn create_with_retries(client: Client, pods: Vec<Value>) -> Result<()> {
    let creations = stream::iter(pods).map(|pod| {
        let client = client.clone();
        async move { privatekube_e2e::create_with_retries(&client, pod).await }
    });
    creations.buffer_unordered(AT_ONCE).try_collect().await
}
