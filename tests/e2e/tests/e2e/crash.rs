//! The extender is killed in the middle of its work, again and again: nothing is lost, nothing is counted twice, and
//! nobody is left hanging.

use std::{convert::Infallible, future::pending};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::PrivacyLedgerEntry;
use privatekube_cluster::{Extender, ExtenderOptions};
use privatekube_e2e::{Scene, World};
use tokio::task::JoinSet;

use crate::{
    audit,
    crowd::{self, Random},
};

const SEED: u64 = 18_021_917;
const KILLS: usize = 10;
/// Pods that begin to come before each end.
const PORTION: usize = 14;

/// A moment in the life of a crowd of pods: so many more of something, counted from when it is waited for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Pods that are admitted.
    Admitted(usize),
    /// Ledger entries.
    Written(usize),
    /// Ledger entries that spend something: a pod is about to be bound.
    Spent(usize),
    /// Pods whose gate is removed: the scheduler is about to ask.
    Let(usize),
    /// Pods that have a node.
    Placed(usize),
}

impl Moment {
    fn some(random: &mut Random) -> Self {
        let few = |random: &mut Random| usize::try_from(1 + random.below(2)).unwrap_or(1);
        match random.below(6) {
            0 => Self::Admitted(few(random) * 5),
            1 => Self::Written(few(random)),
            2 | 3 => Self::Spent(few(random)),
            4 => Self::Let(few(random)),
            _ => Self::Placed(few(random)),
        }
    }

    fn so_far(self, scene: &Scene) -> usize {
        let gates = |pod: &Pod| {
            pod.spec
                .as_ref()
                .and_then(|spec| spec.scheduling_gates.as_ref())
                .is_some()
        };
        match self {
            Self::Admitted(_) => scene.pods.all().len(),
            Self::Written(_) => scene.entries.all().len(),
            Self::Spent(_) => scene.entries.count(spends),
            Self::Let(_) => scene.pods.count(|pod| !gates(pod)),
            Self::Placed(_) => scene.pods.count(|pod| scene.placed(pod).is_some()),
        }
    }

    /// Waits for it, counting from now.
    fn wait(self, scene: &Scene) -> impl Future<Output = Result<()>> {
        let (Self::Admitted(more)
        | Self::Written(more)
        | Self::Spent(more)
        | Self::Let(more)
        | Self::Placed(more)) = self;
        let goal = self.so_far(scene) + more;
        async move {
            let reached = async || {
                let now = self.so_far(scene);
                Ok(if now >= goal {
                    Ok(())
                } else {
                    Err(format!("it is {now} of {goal}"))
                })
            };
            scene.until(&format!("{self:?}"), reached).await
        }
    }
}

fn spends(entry: &PrivacyLedgerEntry) -> bool {
    entry
        .spec
        .events
        .iter()
        .any(|event| event.get("consume").is_some())
}

/// Returns only if the extender doesn't become ready.
async fn never_ready(extender: &Extender) -> Result<Infallible> {
    extender.wait_ready().await?;
    pending().await
}

#[tokio::test]
async fn ten_kills_in_the_middle_lose_nothing_and_count_nothing_twice() -> Result<()> {
    let seed = crowd::seed(SEED)?;
    ten_kills(seed).await.with_context(|| format!("seed {seed}"))
}

async fn ten_kills(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut world = World::start().await?;
    crowd::prepare(&world, 30).await?;
    let scene = Scene::of(&world);
    let mut creations = JoinSet::new();
    let mut come = |random: &mut Random, portion: usize| {
        let pods = crowd::pods(random, &format!("pod-{portion}"), PORTION);
        creations.spawn(crowd::insist(world.client.clone(), pods));
    };
    let mut extender = world.extender.take().context("no extender")?;
    for kill in 0..KILLS {
        let moment = Moment::some(&mut random);
        println!("kill {kill} at {moment:?}");
        let reached = moment.wait(&scene);
        come(&mut random, kill);
        tokio::select! {
            reached = reached => reached,
            failed = never_ready(&extender) => failed.map(drop),
        }
        .with_context(|| format!("before kill {kill}"))?;
        extender.kill().await?;
        extender = world
            .cluster
            .start_extender_without_waiting(&ExtenderOptions::default())
            .await?;
    }
    extender.wait_ready().await.context("after the last kill")?;
    come(&mut random, KILLS);
    while let Some(created) = creations.join_next().await {
        created??;
    }
    let summary = audit::settled(&world, &scene, (KILLS + 1) * PORTION).await?;
    println!("{summary:?}");
    ensure!(
        summary.granted > KILLS && summary.waiting + summary.denied > 0,
        "{summary:?}"
    );
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

#[tokio::test]
async fn an_orderly_stop_in_the_middle_succeeds_and_loses_nothing() -> Result<()> {
    let seed = crowd::seed(SEED)?;
    orderly_stops(seed).await.with_context(|| format!("seed {seed}"))
}

async fn orderly_stops(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut world = World::start().await?;
    crowd::prepare(&world, 30).await?;
    let scene = Scene::of(&world);
    let mut creations = JoinSet::new();
    let moments = [Moment::Admitted(6), Moment::Spent(1), Moment::Let(1)];
    for (at, moment) in moments.into_iter().enumerate() {
        let reached = moment.wait(&scene);
        let pods = crowd::pods(&mut random, &format!("pod-{at}"), PORTION);
        creations.spawn(crowd::insist(world.client.clone(), pods));
        reached.await?;
        // Fails unless the process ends by itself and says that it ended well.
        world
            .stop_extender()
            .await
            .with_context(|| format!("{moment:?}"))?;
        world.start_extender().await?;
    }
    while let Some(created) = creations.join_next().await {
        created??;
    }
    let summary = audit::settled(&world, &scene, moments.len() * PORTION).await?;
    println!("{summary:?}");
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}
