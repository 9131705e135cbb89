//! One extender: all that runs in its process but the listeners.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use axum::Router;
use privatekube_fake_api_server::FakeApiServer;
use tokio::{sync::mpsc, task::JoinHandle};

use super::faults::SharedFaults;
use crate::{
    admission::{Admission, ClaimLimiter, ClaimLimits, PodTemplates, router},
    bookkeeper::CheckpointSettings,
    clock::simulated::{Ahead, by_clock},
    handles::Handles,
    leadership::{Election, Leadership, LeaseTimes, Replica},
    registry::Registry,
    scheduler, service,
    testing::handles,
    writers::{Events, Gates, Statuses},
};

pub(super) struct Process {
    /// Its name in entries, and that of its client.
    pub(super) name: String,
    /// Its verbs for the scheduler.
    pub(super) scheduler: Router,
    /// Its webhooks.
    pub(super) webhooks: Router,
    /// Its name as a candidate for the lease, if there are elections.
    pub(super) replica: Option<String>,
    /// By how much its clock is ahead.
    pub(super) ahead: Ahead,
    task: JoinHandle<()>,
}

/// The resource of the lease that replicas hold in turns.
pub(super) const LEASES: &str = "leases";

fn election(handles: &Handles, identity: String) -> Arc<Election> {
    let replica = Replica {
        namespace: "privatekube".to_owned(),
        lease: "extender".to_owned(),
        identity,
        // Longer than usual: most of what happens in a world would be renewals.
        times: LeaseTimes {
            duration: Duration::from_secs(8),
            renew_deadline: Duration::from_secs(5),
            renew_every: Duration::from_secs(2),
        },
        pod: None,
        drain: Duration::ZERO,
    };
    Arc::new(Election::new(
        handles.client.clone(),
        &replica,
        handles.leadership.clone(),
        handles.metrics.leadership.clone(),
    ))
}

/// Stands for election once everything is read; ends when the lease was lost.
async fn lead(election: Option<Arc<Election>>, leadership: Leadership) -> String {
    let Some(election) = election else {
        return std::future::pending().await;
    };
    leadership.until_caught_up().await;
    format!("{:?}", election.run().await)
}

impl Process {
    /// Starts an extender. It runs on the local task set.
    pub(super) fn start(
        server: &FakeApiServer,
        name: String,
        replica: Option<String>,
        checkpoints: CheckpointSettings,
        ahead: i64,
        faults: SharedFaults,
    ) -> Self {
        let (mut handles, _) = handles(server);
        handles.client = server.client_named(&name);
        handles.writer.clone_from(&name);
        handles.defaults = None;
        handles.checkpoints = checkpoints;
        if replica.is_some() {
            handles.leadership = Leadership::candidate();
        }
        let election = replica.clone().map(|identity| election(&handles, identity));
        let (statuses, status_queue) = Statuses::new();
        let (gates, gate_queue) = Gates::new();
        let (events, event_queue) = Events::new(handles.metrics.clone());
        (handles.statuses, handles.gates, handles.events) = (statuses, gates, events.clone());
        let (requeue, to_requeue) = mpsc::unbounded_channel();
        handles.requeue = requeue;
        let registry = Arc::new(Registry::new(handles.clone()));
        let webhooks = router(Admission {
            registry: Arc::clone(&registry),
            schedulers: vec!["default-scheduler".to_owned()].into(),
            user: "extender".into(),
            limiter: Arc::new(ClaimLimiter::new(ClaimLimits::default())),
            templates: Arc::new(PodTemplates::new(&[])),
        });
        let scheduler = scheduler::router(Arc::clone(&registry));
        let ahead: Ahead = Arc::new(AtomicI64::new(ahead));
        let writer = name.clone();
        let life = async move {
            let (client, view) = (handles.client.clone(), Arc::clone(&handles.view));
            let (pods, metrics) = (Arc::clone(&handles.pods), handles.metrics.clone());
            let (clock, leadership) = (Arc::clone(&handles.server_clock), handles.leadership.clone());
            let ended = tokio::select! {
                ended = Box::pin(service::keep_books(&registry, to_requeue)) => format!("{ended:?}"),
                () = Statuses::run(
                    client.clone(),
                    Arc::clone(&pods),
                    Arc::clone(&view),
                    metrics.clone(),
                    events.clone(),
                    leadership.clone(),
                    status_queue,
                ) => "statuses".to_owned(),
                () = Gates::run(
                    client.clone(),
                    pods,
                    view,
                    metrics.clone(),
                    events,
                    leadership.clone(),
                    gate_queue,
                ) => "gates".to_owned(),
                () = Events::run(client.clone(), event_queue, leadership, metrics) => "Events".to_owned(),
                () = clock.follow(client) => "clock".to_owned(),
                lost = lead(election, handles.leadership.clone()) => lost,
            };
            let mut faults = faults.lock().unwrap();
            faults.dead.insert(writer.clone());
            faults.count("ended by itself");
            faults.note(&format!("{writer} ends: {ended}"));
        };
        let task = tokio::task::spawn_local(by_clock(Arc::clone(&ahead), life));
        Self {
            name,
            scheduler,
            webhooks,
            replica,
            ahead,
            task,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it at once, wherever it is.
    pub(super) fn crash(self, faults: &SharedFaults) {
        self.task.abort();
        let mut faults = faults.lock().unwrap();
        faults.note(&format!("{} crashes", self.name));
        faults.count("crash");
        faults.dead.insert(self.name);
    }
}
