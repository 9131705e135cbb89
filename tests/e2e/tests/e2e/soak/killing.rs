//! Chooses what is killed and when, kills it, and starts it again.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Result;
use privatekube_cluster::{ExtenderOptions, Part};
use privatekube_e2e::{TestEnvironment, WatchedCluster};
use tokio::time::{sleep, timeout};

use super::keeper::Keeper;
use crate::workload::Random;

/// A process that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Extender,
    ApiServer,
    Etcd,
    Scheduler,
    /// Another extender, which writes to the same ledgers until it is killed.
    Rival,
}

impl Victim {
    pub(super) const ALL: [Self; 5] = [
        Self::Extender,
        Self::ApiServer,
        Self::Etcd,
        Self::Scheduler,
        Self::Rival,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Extender => "extender",
            Self::ApiServer => "kube-apiserver",
            Self::Etcd => "etcd",
            Self::Scheduler => "kube-scheduler",
            Self::Rival => "second extender",
        }
    }

    fn random(random: &mut Random) -> Self {
        match random.below(100) {
            0..50 => Self::Extender,
            50..68 => Self::ApiServer,
            68..82 => Self::Etcd,
            82..92 => Self::Scheduler,
            _ => Self::Rival,
        }
    }
}

/// The kills that are to come, and those that were.
pub(super) struct Kills {
    /// Each kind once, in random order: these come first.
    first: Vec<Victim>,
    count: usize,
    done: BTreeMap<Victim, usize>,
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills", self.done())?;
        for (at, (victim, count)) in self.done.iter().enumerate() {
            write!(
                f,
                "{}{} {count}",
                if at == 0 { ": " } else { ", " },
                victim.name()
            )?;
        }
        Ok(())
    }
}

impl Kills {
    pub(super) fn new(random: &mut Random, count: usize) -> Self {
        let mut rest = Victim::ALL.to_vec();
        let mut first = Vec::new();
        while !rest.is_empty() {
            let victim = random.one_of(&rest);
            rest.retain(|other| *other != victim);
            first.push(victim);
        }
        Self {
            first,
            count,
            done: BTreeMap::new(),
        }
    }

    /// What is killed next; none if there were enough.
    pub(super) fn next(&mut self, random: &mut Random) -> Option<Victim> {
        if self.done() >= self.count {
            return None;
        }
        Some(self.first.pop().unwrap_or_else(|| Victim::random(random)))
    }

    pub(super) fn done(&self) -> usize {
        self.done.values().sum()
    }

    pub(super) fn of(&self, victim: Victim) -> usize {
        self.done.get(&victim).copied().unwrap_or_default()
    }

    /// Kills by SIGKILL, and starts again. What has ended by itself meanwhile doesn't count.
    pub(super) async fn kill(
        &mut self,
        env: &TestEnvironment,
        keeper: &Keeper,
        watched: &WatchedCluster,
        victim: Victim,
    ) -> Result<()> {
        let cluster = &env.cluster;
        match victim {
            Victim::Extender => keeper.kill().await?,
            Victim::ApiServer | Victim::Etcd => {
                let part = if victim == Victim::Etcd {
                    Part::Etcd
                } else {
                    Part::KubeApiserver
                };
                cluster.kill_part(part).await?;
                cluster.start_part(part).await?;
            }
            Victim::Scheduler => {
                cluster.kill_part(Part::KubeScheduler).await?;
                cluster.start_scheduler(true).await?;
            }
            Victim::Rival => {
                // It takes itself for the leader, as one does that can't hear of another.
                let options = ExtenderOptions {
                    arguments: vec!["--leader-elect=false".into()],
                    ..ExtenderOptions::default()
                };
                let Ok(rival) = cluster.start_another_extender(&options).await else {
                    return Ok(());
                };
                until_entries(watched, 2).await;
                // It ends by itself if the other one writes first. Then nothing is killed.
                if rival.has_ended() {
                    return Ok(());
                }
                rival.kill().await?;
            }
        }
        *self.done.entry(victim).or_default() += 1;
        Ok(())
    }
}

/// Waits for a random moment of the work: some entries more, and a little longer, so that any step may be cut.
pub(super) async fn moment(random: &mut Random, watched: &WatchedCluster) {
    let more = usize::try_from(1 + random.below(8)).unwrap_or(1);
    until_entries(watched, more).await;
    // This waits for nothing: it chooses the step that the kill hits.
    sleep(Duration::from_millis(random.below(200))).await;
}

/// Waits until there are so many more entries. During a fault there may be none for long; then the wait ends.
async fn until_entries(watched: &WatchedCluster, more: usize) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let goal = watched.entries.count(|_| true) + more;
    let reached = watched.until("entries", async || {
        let count = watched.entries.count(|_| true);
        Ok(if count >= goal { Ok(()) } else { Err(String::new()) })
    });
    let _ = timeout(PATIENCE, reached).await;
}
