//! [`Replicas`]: several extenders, each with a pod object, behind what stands for the two Services of the manifests.
//!
//! There is no kube-proxy here, and the extenders are processes beside the cluster. So two forwarders listen where the scheduler and
//! the API server call the extender, and choose for each new connection, as Services do: that of the scheduler a ready replica whose
//! pod has the leader's label, that of the webhooks any ready replica. A connection that was made stays where it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::DeleteParams,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_cluster::{Extender, ExtenderOptions, ExtenderPorts};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{TestEnvironment, extender::get, polling::eventually};

const NAMESPACE: &str = "privatekube-system";
/// How often it is looked which replicas are ready, as a kubelet's probe does, and more often.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How long a test waits between two questions whether a replica leads.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// An extender and the pod object that stands for it.
#[derive(Debug)]
pub struct Replica {
    /// The pod's name.
    pub name: String,
    /// The process.
    pub extender: Extender,
}

/// Several extenders behind two Services. Dropping it ends them.
#[derive(Debug)]
pub struct Replicas {
    /// Those that run.
    pub running: Vec<Replica>,
    shared: Shared,
    started: usize,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Known>>);

/// What the forwarders choose from.
#[derive(Debug, Default)]
struct Known {
    ports: BTreeMap<String, ExtenderPorts>,
    ready: BTreeSet<String>,
    labelled: BTreeSet<String>,
    /// Changes with each choice, so that replicas take turns.
    turn: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn choose(&mut self, only_leader: bool) -> Option<ExtenderPorts> {
        let chosen = self
            .ready
            .iter()
            .filter(|name| !only_leader || self.labelled.contains(*name));
        let chosen: Vec<&String> = chosen.collect();
        self.turn = self.turn.wrapping_add(1);
        let name = chosen.get(self.turn.checked_rem(chosen.len())?)?;
        self.ports.get(*name).copied()
    }
}

impl Replicas {
    /// Starts so many replicas, in a cluster whose own extender doesn't run, and waits until one of them leads.
    pub async fn start(env: &TestEnvironment, count: usize) -> Result<Self> {
        let shared = Shared::default();
        let mut tasks = JoinSet::new();
        let ports = env.cluster.description().extender_ports;
        for (port, only_leader) in [(ports.scheduler, true), (ports.webhook, false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            tasks.spawn(forward(listener, shared.clone(), only_leader));
        }
        tasks.spawn(follow_label(env.client.clone(), shared.clone()));
        tasks.spawn(probe(shared.clone()));
        let mut replicas = Self {
            running: Vec::new(),
            shared,
            started: 0,
            _tasks: tasks,
        };
        for _ in 0..count {
            replicas.add(env).await?;
        }
        replicas.until_led_by_other_than("").await?;
        Ok(replicas)
    }

    /// Starts another replica, and waits until it is ready and behind the Service of the webhooks.
    pub async fn add(&mut self, env: &TestEnvironment) -> Result<()> {
        let name = format!("privatekube-extender-{}", self.started);
        self.started += 1;
        env.create(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/name": "privatekube-extender"},
            },
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "extender",
                    "image": "privatekube/extender",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }))
        .await
        .context("make the pod of a replica")?;
        let options = ExtenderOptions {
            environment: vec![
                ("POD_NAME".into(), name.clone().into()),
                ("POD_NAMESPACE".into(), NAMESPACE.into()),
            ],
            ..ExtenderOptions::default()
        };
        let extender = env.cluster.start_another_extender(&options).await?;
        self.shared.lock().ports.insert(name.clone(), extender.ports());
        self.running.push(Replica {
            name: name.clone(),
            extender,
        });
        eventually("the replica is behind the Service", async || {
            let is_ready = self.shared.lock().ready.contains(&name);
            Ok(if is_ready {
                Ok(())
            } else {
                Err("it isn't ready".to_owned())
            })
        })
        .await
    }

    /// Waits until a replica of another name answers the scheduler, and returns its name and how long that took.
    pub async fn until_led_by_other_than(&self, name: &str) -> Result<(String, Duration)> {
        let began = Instant::now();
        let patience = Duration::from_secs(60);
        while began.elapsed() < patience {
            for replica in self.running.iter().filter(|replica| replica.name != name) {
                if let Ok((200, _)) = get(replica.extender.ports().health, "/leaderz").await {
                    return Ok((replica.name.clone(), began.elapsed()));
                }
            }
            sleep(ASK_EVERY).await;
        }
        anyhow::bail!("no other replica than {name:?} leads after {patience:?}")
    }

    /// Whether a replica answers the scheduler.
    pub async fn leads(&self, replica: &Replica) -> bool {
        matches!(
            get(replica.extender.ports().health, "/leaderz").await,
            Ok((200, _))
        )
    }

    /// Takes the replica of this name out, for the caller to end it.
    pub fn take(&mut self, name: &str) -> Result<Replica> {
        let at = self.running.iter().position(|replica| replica.name == name);
        Ok(self.running.remove(at.context("no such replica")?))
    }

    /// Takes out the replica that leads.
    pub async fn take_leader(&mut self) -> Result<Replica> {
        let (name, _) = self.until_led_by_other_than("").await?;
        self.take(&name)
    }

    /// The pods that have the leader's label.
    #[must_use]
    pub fn labelled(&self) -> Vec<String> {
        self.shared.lock().labelled.iter().cloned().collect()
    }
}

impl Replica {
    /// Deletes the pod object, whose process has ended.
    pub async fn delete_pod(env: &TestEnvironment, name: &str) -> Result<()> {
        let at_once = DeleteParams::default().grace_period(0);
        env.api::<Pod>(NAMESPACE).delete(name, &at_once).await?;
        Ok(())
    }
}

/// Forwards each connection to a replica's port.
async fn forward(listener: TcpListener, shared: Shared, only_leader: bool) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // Nobody may be there: then the client's connection ends, as it would be refused.
        let Some(ports) = shared.lock().choose(only_leader) else {
            continue;
        };
        let port = if only_leader {
            ports.scheduler
        } else {
            ports.webhook
        };
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let _ = server.set_nodelay(true);
                let _ = client.set_nodelay(true);
                // It ends with an error if either end dies.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Follows which pods have the leader's label.
async fn follow_label(client: Client, shared: Shared) {
    let api: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let labelled = watcher(
        api,
        watcher::Config::default().labels("privatekube.dev/leader=true"),
    );
    let labelled = labelled.default_backoff();
    pin_mut!(labelled);
    while let Some(event) = labelled.next().await {
        let mut known = shared.lock();
        match event {
            Ok(watcher::Event::Init) => known.labelled.clear(),
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                known.labelled.insert(pod.name_any());
            }
            Ok(watcher::Event::Delete(pod)) => _ = known.labelled.remove(&pod.name_any()),
            Ok(watcher::Event::InitDone) | Err(_) => {}
        }
    }
}

/// Looks again and again which replicas are ready.
async fn probe(shared: Shared) {
    loop {
        let all = shared.lock().ports.clone();
        for (name, ports) in all {
            let ready = matches!(get(ports.health, "/readyz").await, Ok((200, _)));
            let mut known = shared.lock();
            if ready {
                known.ready.insert(name);
            } else {
                known.ready.remove(&name);
            }
        }
        sleep(PROBE_EVERY).await;
    }
}
