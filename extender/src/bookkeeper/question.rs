//! Questions to a bookkeeper that only its engine can answer. No answer changes anything.

use privatekube_api::ClaimRequest;
use privatekube_policy::{ClaimId, Engine};
use privatekube_view::{DatasetObjects, Trial, TrialError};
use tokio::sync::oneshot;

/// A question. It is answered from what is committed; the sender of the reply is dropped if the dataset has no open ledger.
#[derive(Debug)]
pub enum Question {
    /// In which order the waiting claims are tried; `None` if the policy has no order.
    Queue(oneshot::Sender<Option<Vec<ClaimId>>>),
    /// What would become of a claim.
    WhatIf {
        /// The namespace that would claim.
        namespace: String,
        /// Its request.
        request: Box<ClaimRequest>,
        /// Receives the trial, which decides on a copy of the engine, outside of the bookkeeper.
        reply: oneshot::Sender<Result<Trial, TrialError>>,
    },
}

impl Question {
    /// Answers the question, unless there is no engine. Whoever asked may have given up.
    pub(super) fn answer(self, engine: Option<&Engine>, objects: &DatasetObjects) {
        let Some(engine) = engine else {
            return;
        };
        match self {
            Self::Queue(reply) if !reply.is_closed() => {
                let order = engine.queue();
                let _ = reply.send(order.map(|order| order.into_iter().cloned().collect()));
            }
            Self::WhatIf {
                namespace,
                request,
                reply,
            } if !reply.is_closed() => {
                let _ = reply.send(Trial::new(engine, objects, &namespace, &request));
            }
            Self::Queue(_) | Self::WhatIf { .. } => {}
        }
    }
}
