//! The threads that make runs. When a sweep ends early, they are not joined: the process exits without
//! waiting for them.

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

/// A message to the sweep's thread.
#[derive(Debug)]
pub(super) enum Message {
    /// A run was made.
    Made(Box<Parameters>, Box<RunResult>),
    /// A run failed.
    Failed(String, ExperimentError),
    /// A run's thread panicked.
    Lost(String),
    /// The sweep is interrupted.
    Interrupt,
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Workers(Arc<AtomicBool>);

impl Workers {
    /// Makes the threads begin no further run.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts `jobs` threads that make `runs` in their order and send results to `sender`.
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

/// Sends `Message::Lost` if it is dropped with its content, which happens when a run's thread panics.
struct LostRunGuard(Option<(String, Sender<Message>)>);

impl Drop for LostRunGuard {
    fn drop(&mut self) {
        if let Some((run, sender)) = self.0.take() {
            let _ = sender.send(Message::Lost(run));
        }
    }
}
