//! How blocks and the dataset stand: their statuses and metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use privatekube_api::{FieldError, PolicyName, PrivateDataBlockStatus, PrivateDatasetStatus, conditions};
use privatekube_policy::{BlockId, Engine, Phase};

use super::{Bookkeeper, BookkeeperError, shown::block_status};
use crate::{
    clock,
    view::{BlockView, DatasetView},
    writers::StatusKey,
};

impl Bookkeeper {
    /// Tells how a block's budget stands, or why the block can't be used.
    pub(super) fn tell_block(&mut self, block: &BlockId) -> Result<(), BookkeeperError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let engine = ledger.engine().map_err(|error| self.poisoned(error))?;
        let Some(known) = self.blocks.get(block.as_str()) else {
            return Ok(());
        };
        let books = engine.block(block);
        let mut status = books
            .as_ref()
            .map(|books| block_status(books, &engine.setting().composition))
            .unwrap_or_default();
        status.ledger_sequence = Some(ledger.head().sequence);
        let since = known.object.metadata.creation_timestamp.clone();
        status.conditions = vec![Condition {
            type_: conditions::READY.to_owned(),
            status: if known.problem.is_none() { "True" } else { "False" }.to_owned(),
            reason: if known.problem.is_none() {
                "InLedger"
            } else {
                "Unusable"
            }
            .to_owned(),
            message: known
                .problem
                .clone()
                .unwrap_or_else(|| "its budget is in the ledger".to_owned()),
            last_transition_time: since.unwrap_or_else(|| clock::meta_time(clock::now())),
            observed_generation: known.object.metadata.generation,
        }];
        self.measure_block(block, &status);
        let view = BlockView {
            status,
            dimensions: known.dimensions.clone(),
        };
        if self.desk.view.put_block(self.block_key(block), view) {
            self.write_status(StatusKey::Block(self.dataset.clone(), block.as_str().to_owned()));
        }
        Ok(())
    }

    fn measure_block(&self, block: &BlockId, status: &PrivateDataBlockStatus) {
        if !self
            .blocks
            .get(block.as_str())
            .is_some_and(|known| known.measured)
        {
            return;
        }
        let parts = [
            ("locked", &status.locked),
            ("available", &status.available),
            ("allocated", &status.allocated),
            ("consumed", &status.consumed),
        ];
        for (state, amounts) in parts {
            let Some(epsilon) = amounts.as_ref().and_then(|amounts| amounts.epsilon.parse().ok()) else {
                continue;
            };
            let labels = [&self.dataset.namespace, &self.dataset.name, block.as_str(), state];
            self.desk
                .metrics
                .block_epsilon
                .with_label_values(&labels)
                .set(epsilon);
        }
    }

    /// Tells how many blocks and claims the dataset has, and whether its object's rules are its ledger's.
    pub(super) fn tell_dataset(&mut self) -> Result<(), BookkeeperError> {
        let engine = self.engine()?;
        let ready = self.ready(engine);
        if engine.is_none() && ready.is_true() {
            // Nothing is wrong, and nothing is there yet.
            return Ok(());
        }
        let count = |phase| {
            self.phases
                .get(&phase)
                .map_or(0, |count| u64::try_from(*count).unwrap_or(0))
        };
        let since = self
            .object
            .as_ref()
            .and_then(|object| object.metadata.creation_timestamp.clone());
        let blocks = self.blocks.len() as u64;
        let status = PrivateDatasetStatus {
            conditions: vec![Condition {
                type_: conditions::READY.to_owned(),
                status: if ready.is_true() { "True" } else { "False" }.to_owned(),
                reason: ready.reason().to_owned(),
                message: ready.message(),
                last_transition_time: since.unwrap_or_else(|| clock::meta_time(clock::now())),
                observed_generation: None,
            }],
            ledger_sequence: self.ledger.as_ref().map(|ledger| ledger.head().sequence),
            blocks: Some(blocks),
            waiting: Some(count(Phase::Waiting)),
            granted: Some(
                [Phase::Granted, Phase::Consumed, Phase::Released]
                    .map(count)
                    .iter()
                    .sum(),
            ),
        };
        let composition = engine.map(|engine| engine.setting().composition.clone());
        let labels = [self.dataset.namespace.as_str(), self.dataset.name.as_str()];
        self.desk
            .metrics
            .blocks
            .with_label_values(&labels)
            .set(i64::try_from(blocks).unwrap_or(i64::MAX));
        let view = DatasetView { composition, status };
        let changed = self.desk.view.put_dataset(self.dataset.clone(), view);
        if changed && self.object.is_some() {
            self.write_status(StatusKey::Dataset(self.dataset.clone()));
        }
        Ok(())
    }

    fn ready(&self, engine: Option<&Engine>) -> Ready {
        let Some(spec) = self.object.as_ref().map(|object| &object.spec) else {
            return Ready::InLedger;
        };
        match (spec.setting(), engine) {
            (Err(problem), None) => Ready::NeverBegun(problem),
            (Err(problem), Some(_)) => Ready::Invalid(problem),
            (Ok(asks), Some(engine)) if asks != *engine.setting() => {
                Ready::RulesDiffer(engine.setting().policy.into())
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
