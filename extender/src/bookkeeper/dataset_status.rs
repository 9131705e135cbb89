//! How a dataset stands: its status and metrics.

use privatekube_api::{FieldError, PolicyName, PrivateDatasetStatus, conditions};
use privatekube_policy::{Engine, Phase};

use super::{Bookkeeper, BookkeeperError, condition::condition, telling::word};
use crate::{clock, view::DatasetView, writers::StatusKey};

impl Bookkeeper {
    /// Tells how many blocks and claims the dataset has, and whether its object's rules are its ledger's.
    pub(super) fn tell_dataset(&mut self) -> Result<(), BookkeeperError> {
        let engine = self.engine()?;
        let ready = self.ready(engine);
        if engine.is_none() && ready.is_true() {
            // Nothing is wrong, and nothing is there yet.
            return Ok(());
        }
        let count = |phase| {
            let count = self.phases.get(&phase);
            count.map_or(0, |count| u64::try_from(*count).unwrap_or(0))
        };
        let object = self.object.as_ref();
        let since = object.and_then(|object| object.metadata.creation_timestamp.clone());
        let since = since.unwrap_or_else(|| clock::meta_time(clock::now()));
        let blocks = self.blocks.len() as u64;
        let status = PrivateDatasetStatus {
            conditions: vec![condition(
                conditions::READY,
                ready.is_true(),
                ready.reason(),
                &ready.message(),
                since,
            )],
            ledger_sequence: self.sequence(),
            blocks: Some(blocks),
            waiting: Some(count(Phase::Waiting)),
            granted: Some(
                [Phase::Granted, Phase::Consumed, Phase::Released]
                    .map(count)
                    .iter()
                    .sum(),
            ),
        };
        let measured = self.desk.metrics.blocks.with_label_values(&self.labels());
        measured.set(i64::try_from(blocks).unwrap_or(i64::MAX));
        let composition = engine.map(|engine| engine.rules().composition.clone());
        let view = DatasetView { composition, status };
        let changed = self.desk.view.put_dataset(self.dataset.clone(), view);
        if changed && object.is_some() {
            self.desk.statuses.write(StatusKey::Dataset(self.dataset.clone()));
        }
        Ok(())
    }

    /// Measures no more how the dataset stands.
    pub(super) fn unmeasure_dataset(&self) {
        let (metrics, [namespace, dataset]) = (&self.desk.metrics, self.labels());
        // What was never measured isn't there.
        for gauge in [&metrics.blocks, &metrics.sequence] {
            let _ = gauge.remove_label_values(&[namespace, dataset]);
        }
        for phase in self.phases.keys() {
            let _ = metrics
                .claims
                .remove_label_values(&[namespace, dataset, word(*phase)]);
        }
    }

    fn ready(&self, engine: Option<&Engine>) -> Ready {
        let Some(spec) = self.object.as_ref().map(|object| &object.spec) else {
            return Ready::InLedger;
        };
        match (spec.rules(), engine) {
            (Err(problem), None) => Ready::NeverBegun(problem),
            (Err(problem), Some(_)) => Ready::Invalid(problem),
            (Ok(asks), Some(engine)) if asks != *engine.rules() => {
                Ready::RulesDiffer(engine.rules().policy.into())
            }
            (Ok(_), _) => spec.check().err().map_or(Ready::InLedger, Ready::Invalid),
        }
    }
}

/// Whether a dataset's object and its ledger are one.
enum Ready {
    InLedger,
    /// By this policy, and other rules that may differ, too, the ledger goes on.
    RulesDiffer(PolicyName),
    /// The ledger can't begin with these rules.
    NeverBegun(FieldError),
    /// What makes no sense is not used; the ledger goes on.
    Invalid(FieldError),
}

impl Ready {
    const fn is_true(&self) -> bool {
        matches!(self, Self::InLedger)
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::InLedger => "InLedger",
            Self::RulesDiffer(_) => "RulesDiffer",
            Self::NeverBegun(_) | Self::Invalid(_) => "Invalid",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::InLedger => "its ledger is open".to_owned(),
            Self::RulesDiffer(policy) => format!(
                "its ledger began with other rules, policy {} among them, which stay in force; make another dataset for \
                 these",
                policy.as_str()
            ),
            Self::NeverBegun(problem) => {
                format!("{problem}; nothing is granted: make another dataset, with rules that can be used")
            }
            Self::Invalid(problem) => {
                format!("{problem}; that is not used, and what its ledger began with stays in force")
            }
        }
    }
}
