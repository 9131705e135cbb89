//! The threads that make runs. They are left alone when a sweep ends early: the process does not wait for them.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread,
};

use crate::{
    experiment::{ExperimentError, Parameters},
    results::RunResult,
};

/// What is told to the sweep.
#[derive(Debug)]
pub(super) enum Message {
    /// A run has ended.
    Made(Box<Parameters>, Box<RunResult>),
    /// A run can't be made.
    Failed(String, ExperimentError),
    /// A run's thread has ended without either.
    Lost(String),
    /// Enough.
    Interrupt,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Workers(Arc<AtomicBool>);

impl Workers {
    /// No further run is begun.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Begins to make `runs`, in their order.
pub(super) fn start(runs: &[Parameters], jobs: NonZeroUsize, sender: &Sender<Message>) -> Workers {
    let runs: Arc<[Parameters]> = runs.into();
    let next = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    for _ in 0..jobs.get().min(runs.len()) {
        let (runs, next, stopped, sender) = (
            Arc::clone(&runs),
            Arc::clone(&next),
            Arc::clone(&stopped),
            sender.clone(),
        );
        thread::spawn(move || {
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let mut guard = LostRunGuard(Some((run.name(), sender.clone())));
                let message = match run.result() {
                    Ok(result) => Message::Made(Box::new(run.clone()), Box::new(result)),
                    Err(error) => Message::Failed(run.name(), error),
                };
                guard.0 = None;
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
    }
    Workers(stopped)
}

/// Tells that a run was lost when its thread unwinds.
struct LostRunGuard(Option<(String, Sender<Message>)>);

impl Drop for LostRunGuard {
    fn drop(&mut self) {
        if let Some((run, sender)) = self.0.take() {
            let _ = sender.send(Message::Lost(run));
        }
    }
}
