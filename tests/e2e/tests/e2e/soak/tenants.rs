//! The stream of pods and claims: made, consumed, released and deleted by tenants that repeat what was not accepted, while
//! blocks come and go.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::Status,
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_e2e::{TestEnvironment, WatchedCluster, block, claim, create_as, dataset, pod};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::workload::Random;

/// The datasets' namespace.
pub(super) const DATA: &str = "data";
/// The datasets: basic and Renyi composition, unlocked by arrivals, by the clock, and at once.
pub(super) const DATASETS: [&str; 4] = ["taxi", "web", "live", "logs"];
const TEAMS: [&str; 3] = ["red", "green", "blue"];
/// The blocks of each dataset at the beginning.
const BLOCKS: u64 = 4;
/// The number of pods that are made before each kill.
const PODS: u64 = 6;

/// Creates the namespaces, the datasets and their first blocks.
pub(super) async fn prepare(env: &TestEnvironment) -> Result<()> {
    for namespace in TEAMS.into_iter().chain([DATA]) {
        env.namespace(namespace).await?;
    }
    let datasets = [
        dataset("taxi").arrivals(40),
        dataset("web").arrivals(40).renyi(&["3", "5", "8", "16", "64"]),
        dataset("live").with("unlocking", json!({"lifetime": "4m", "tick": "2s"})),
        dataset("logs").with("policy", json!("FCFS")),
    ];
    env.create_all(datasets.map(|dataset| dataset.open_to_all(5).within(DATA)))
        .await?;
    for of in DATASETS {
        for day in 0..BLOCKS {
            env.create_all([new_block(of, day)]).await?;
        }
    }
    Ok(())
}

fn new_block(of: &str, day: u64) -> Value {
    let delta = if of == "web" { "1e-7" } else { "1e-6" };
    let name = format!("{of}-day-{day}");
    block(of, &name)
        .budget("10", delta)
        .dimension("day", day)
        .with("dataSource", json!(format!("s3://lake/{name}")))
        .within(DATA)
}

/// Makes the stream, and counts it.
pub(super) struct Tenants {
    client: Client,
    days: u64,
    rounds: u64,
    pods: u64,
    claims: u64,
    deleted: u64,
    settled: u64,
    retired: u64,
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pods and {} claims made, {} deleted, {} claims consumed or released by hand, {} days of blocks, {} blocks \
             deleted",
            self.pods, self.claims, self.deleted, self.settled, self.days, self.retired
        )
    }
}

impl Tenants {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            days: BLOCKS,
            rounds: 0,
            pods: 0,
            claims: 0,
            deleted: 0,
            settled: 0,
            retired: 0,
        }
    }

    /// Begins a round of work: some of everything.
    pub(super) fn begin(
        &mut self,
        random: &mut Random,
        watched: &WatchedCluster,
        work: &mut JoinSet<Result<()>>,
    ) {
        self.rounds += 1;
        let mut objects = Vec::new();
        if self.rounds.is_multiple_of(3) {
            objects.extend(DATASETS.map(|of| new_block(of, self.days)));
            self.days += 1;
        }
        for number in 0..PODS {
            self.pods += 1;
            let name = format!("pod-{}-{number}", self.rounds);
            objects.extend(self.random_pod(random, &name));
        }
        for number in 0..2 {
            self.claims += 1;
            let name = format!("claim-{}-{number}", self.rounds);
            objects.push(self.random_claim(random, &name));
        }
        let client = self.client.clone();
        work.spawn(async move {
            for object in objects {
                create(client.clone(), object).await?;
            }
            Ok(())
        });
        self.change_pods(random, watched, work);
        self.change_claims(random, watched, work);
        if self.rounds.is_multiple_of(8) {
            self.retired += 1;
            let api: Api<PrivateDataBlock> = Api::namespaced(self.client.clone(), DATA);
            let name = format!("{}-day-{}", random.one_of(&DATASETS), random.below(self.days));
            work.spawn(delete(api, name));
        }
    }

    fn epsilon(random: &mut Random) -> &'static str {
        random.one_of(&["0.01", "0.05", "0.1", "0.123456789012", "0.4", "1.1", "2.3"])
    }

    /// A pod, and the claim object that it names, if it does.
    fn random_pod(&mut self, random: &mut Random, name: &str) -> Vec<Value> {
        let of = random.one_of(&DATASETS);
        let team = random.one_of(&TEAMS);
        let day = random.below(self.days);
        if random.below(8) == 0 {
            self.claims += 1;
            let shared = format!("of-{name}");
            let claim = claim(&format!("{DATA}/{of}"), &shared)
                .on(&format!("{of}-day-{day}"), Self::epsilon(random), "1e-9")
                .within(team);
            return vec![claim, pod(name).annotation("claim", &shared).within(team)];
        }
        let pod = pod(name).annotation("dataset", &format!("{DATA}/{of}"));
        let pod = match random.below(6) {
            0 => pod,
            1 => pod.annotation("blocks", &format!("block.day >= {day}")),
            2 => pod.annotation("max-blocks", "2"),
            3 => pod
                .annotation("blocks", &format!("block.day <= {day}"))
                .annotation("max-blocks", "3")
                .annotation("min-blocks", "2"),
            _ => pod.annotation("blocks", &format!("block.day == {day}")),
        };
        let pod = match random.below(16) {
            0 => pod.annotation("epsilon", "40").annotation("delta", "1e-9"),
            1..4 if of == "web" => pod.annotation(
                "mechanism",
                random.one_of(&["gaussian(sigma=20)", "laplace(scale=40)", "gaussian(sigma=2.5)"]),
            ),
            _ => pod
                .annotation("epsilon", Self::epsilon(random))
                .annotation("delta", "1e-9"),
        };
        let pod = match random.below(6) {
            0 => pod.annotation("priority", "5"),
            1 => pod.annotation("timeout", random.one_of(&["5s", "20s", "2h"])),
            _ => pod,
        };
        vec![pod.within(team)]
    }

    fn random_claim(&self, random: &mut Random, name: &str) -> Value {
        let of = random.one_of(&DATASETS);
        let claim = claim(&format!("{DATA}/{of}"), name);
        let epsilon = Self::epsilon(random);
        let claim = if random.below(2) == 0 {
            claim.epsilon(epsilon, "1e-9")
        } else {
            let day = random.below(self.days);
            let other = random.below(self.days);
            claim.on(&format!("{of}-day-{day}"), epsilon, "1e-9").on(
                &format!("{of}-day-{other}"),
                "0.02",
                "0",
            )
        };
        claim.within(random.one_of(&TEAMS))
    }

    /// Deletes some pods, in whatever state they are.
    fn change_pods(&mut self, random: &mut Random, watched: &WatchedCluster, work: &mut JoinSet<Result<()>>) {
        for pod in choose(random, &watched.pods.all(), 2) {
            self.deleted += 1;
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let name = pod.name_any();
            work.spawn(delete(api, name));
        }
    }

    /// Consumes, releases or deletes some claims that no pod has.
    fn change_claims(
        &mut self,
        random: &mut Random,
        watched: &WatchedCluster,
        work: &mut JoinSet<Result<()>>,
    ) {
        let own = watched.claims.all().into_iter();
        let own: Vec<_> = own
            .filter(|claim| claim.spec.pod.is_none() && claim.name_any().starts_with("claim-"))
            .collect();
        for claim in choose(random, &own, 3) {
            let namespace = claim.namespace().unwrap_or_default();
            let api: Api<PrivacyBudgetClaim> = Api::namespaced(self.client.clone(), &namespace);
            let name = claim.name_any();
            let phase = claim.status.as_ref().and_then(|status| status.phase);
            let patch = match random.below(8) {
                0..4 if phase == Some(ClaimPhase::Granted) => json!({"spec": {"consume": {"all": true}}}),
                4..6 if phase == Some(ClaimPhase::Granted) => json!({"spec": {"release": {"all": true}}}),
                // It will be consumed as soon as it is granted.
                6 if phase == Some(ClaimPhase::Waiting) => json!({"spec": {"consume": {"all": true}}}),
                7 => {
                    self.deleted += 1;
                    work.spawn(delete(api, name));
                    continue;
                }
                _ => continue,
            };
            self.settled += 1;
            work.spawn(change(api, name, patch));
        }
    }
}

/// Some of a list, at most `most`.
fn choose<T>(random: &mut Random, list: &[Arc<T>], most: u64) -> Vec<Arc<T>> {
    let mut chosen = Vec::new();
    for _ in 0..random.below(most + 1) {
        let at = usize::try_from(random.below(list.len().max(1) as u64)).unwrap_or_default();
        chosen.extend(list.get(at).cloned());
    }
    chosen
}

async fn create(client: Client, object: Value) -> Result<()> {
    let what = format!("make {} {}", object["kind"], object["metadata"]["name"]);
    let attempt = move || {
        let (client, object) = (client.clone(), object.clone());
        async move {
            match create_as(&client, object).await {
                // Made by an attempt whose answer was lost.
                Err(Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                other => other.map(drop),
            }
        }
    };
    repeat(what, attempt).await
}

async fn delete<K>(api: Api<K>, name: String) -> Result<()>
where
    K: Clone + serde::de::DeserializeOwned + fmt::Debug + Send + 'static,
{
    let what = format!("delete {name}");
    let attempt = move || {
        let (api, name) = (api.clone(), name.clone());
        async move { api.delete(&name, &DeleteParams::default()).await.map(drop) }
    };
    repeat(what, attempt).await
}

async fn change(api: Api<PrivacyBudgetClaim>, name: String, change: Value) -> Result<()> {
    let what = format!("change {name}");
    let attempt = move || {
        let (api, name, change) = (api.clone(), name.clone(), change.clone());
        async move {
            let patch = Patch::Merge(&change);
            api.patch(&name, &PatchParams::default(), &patch).await.map(drop)
        }
    };
    repeat(what, attempt).await
}

/// Whether a refusal stays one. The webhooks refuse what they can't check because the API server didn't answer them, and an API
/// server that has only just started refuses everything.
fn is_final(status: &Status) -> bool {
    let is_unchecked = ["can't be read: ", "can't be reached: ", "not yet ready"]
        .iter()
        .any(|words| status.message.contains(words));
    status.code < 500 && status.code != 429 && !is_unchecked
}

/// Repeats a request until it is accepted, or its object is gone. The API server may be away, or its webhooks.
async fn repeat<F>(what: String, attempt: impl Fn() -> F + Send) -> Result<()>
where
    F: Future<Output = Result<(), Error>> + Send,
{
    const LONGEST: Duration = Duration::from_secs(300);
    const PAUSE: Duration = Duration::from_millis(200);
    let end = Instant::now() + LONGEST;
    loop {
        let error = match attempt().await {
            Ok(()) => return Ok(()),
            Err(Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(Error::Api(status)) if is_final(&status) => bail!("{what}: {}", status.message),
            Err(error) => error,
        };
        if Instant::now() > end {
            return Err(error).with_context(|| format!("{what}: not within {LONGEST:?}"));
        }
        sleep(PAUSE).await;
    }
}
