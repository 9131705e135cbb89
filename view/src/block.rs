//! A block as it is committed, in few bytes: its status is made from these when it is asked for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{Dimensions, PrivateDataBlockStatus};
use privatekube_policy::{BlockState, Budget, Composition, Delta, Epsilon};

use crate::{PhaseReason, block_warnings::StatedBudget, data_sources::SourceId, status};

/// A block as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockView {
    /// What selectors read of it.
    pub dimensions: Dimensions,
    /// How its dataset's budgets add up; `None` while the dataset has no ledger.
    pub(crate) composition: Option<Composition>,
    /// Its budget in the ledger, if it is there.
    pub(crate) committed: Option<BlockState>,
    /// Whether its budget was written off.
    pub(crate) written_off: bool,
    /// If so, the entry after which the ledger's budget was written off last.
    pub(crate) written_off_after: Option<u64>,
    /// Why it can't be used, if it can't.
    pub(crate) problem: Option<Problem>,
    /// What its budget is stated as.
    pub(crate) stated: Option<StatedBudget>,
    /// What was spent of that before the block came to its ledger.
    pub(crate) spent: Option<Budget>,
    /// Which data it is.
    pub(crate) source: Option<SourceId>,
    /// The beginning of its data source, for lists.
    pub(crate) listed_source: Option<Box<str>>,
    /// Another block with its data source.
    pub(crate) shares_with: Option<Box<str>>,
    /// That its budget is above its dataset's guarantee, if it is.
    pub(crate) above_guarantee: Option<Box<str>>,
    /// When its object was created.
    pub(crate) since: v1::Time,
    /// The UID of its object, to which alone its status may be written.
    pub(crate) uid: Option<Box<str>>,
    /// The generation of its object.
    pub(crate) generation: Option<i64>,
    /// The number of the entry that this is true of; 0 if there is none.
    pub(crate) sequence: u64,
}

/// Why a block can't be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Problem {
    /// Something is wrong with it.
    Unusable(String),
    /// There is no ledger that could have it.
    NoLedger(PhaseReason),
}

impl Problem {
    /// The reason of its condition Ready.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "Unusable",
            Self::NoLedger(why) => why.reason.as_str(),
        }
    }

    /// What to tell people.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Unusable(message) | Self::NoLedger(PhaseReason { message, .. }) => message,
        }
    }
}

/// The four states of a budget as parts of the capacity, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BudgetParts {
    /// Not unlocked yet.
    pub locked: f64,
    /// Unlocked and not taken; 0 where more was taken than is unlocked, as may be at a Renyi order.
    pub available: f64,
    /// Granted, neither consumed nor released.
    pub allocated: f64,
    /// Consumed.
    pub consumed: f64,
}

impl BudgetParts {
    /// The parts at a coordinate; all 0 if it has no capacity.
    #[expect(clippy::cast_precision_loss, reason = "drawn and rounded for people")]
    pub(crate) fn of(block: &BlockState, coordinate: usize) -> Self {
        let capacity = block.capacity.units().get(coordinate).copied().unwrap_or(0);
        let part = |units: &[i128]| match units.get(coordinate) {
            Some(units) if capacity > 0 => (*units as f64 / capacity as f64).clamp(0.0, 1.0),
            _ => 0.0,
        };
        Self {
            locked: part(&block.locked),
            available: part(&block.available),
            allocated: part(&block.allocated),
            consumed: part(&block.consumed),
        }
    }
}

impl BlockView {
    /// The UID of its object.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The capacity of a block that states this guarantee; none if the composition has none.
    pub(crate) fn capacity_of(&self, epsilon: Epsilon, delta: Delta) -> Option<Budget> {
        let capacity = self.composition.as_ref()?.capacity(epsilon, delta).ok()?;
        Some(match &self.spent {
            Some(spent) => capacity.without(spent),
            None => capacity,
        })
    }

    /// How much of its budget isn't consumed, at each coordinate; `None` if it isn't in the ledger.
    #[must_use]
    pub fn unconsumed(&self) -> Option<Vec<i128>> {
        let committed = self.committed.as_ref()?;
        let capacity = committed.capacity.units().iter();
        let left = capacity
            .zip(&committed.consumed)
            .map(|(capacity, consumed)| i128::from(*capacity) - consumed);
        Some(left.collect())
    }

    /// Which data it is; `None` if it doesn't say.
    #[must_use]
    pub const fn source(&self) -> Option<SourceId> {
        self.source
    }

    /// Its budget's states as parts of its capacity, for people, at the coordinate that its status shows; `None` if it isn't
    /// in the ledger.
    #[must_use]
    pub fn parts(&self) -> Option<BudgetParts> {
        let committed = self.committed.as_ref()?;
        let composition = self.composition.as_ref()?;
        Some(BudgetParts::of(
            committed,
            status::shown_coordinate(committed, composition),
        ))
    }

    /// Why it can't be used, if it can't.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        if self.written_off {
            return Some(status::WRITTEN_OFF);
        }
        self.problem.as_ref().map(Problem::message)
    }

    /// Its object's status.
    #[must_use]
    pub fn status(&self) -> PrivateDataBlockStatus {
        status::block_status(self)
    }

    /// Whether both say the same, whichever entries they are true of.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            dimensions,
            composition,
            committed,
            written_off,
            written_off_after,
            problem,
            stated,
            spent,
            source,
            listed_source,
            shares_with,
            above_guarantee,
            since,
            uid,
            generation,
            sequence: _,
        } = self;
        (dimensions, composition, committed) == (&other.dimensions, &other.composition, &other.committed)
            && (written_off, written_off_after) == (&other.written_off, &other.written_off_after)
            && (problem, since, uid, generation)
                == (&other.problem, &other.since, &other.uid, &other.generation)
            && (stated, spent, source) == (&other.stated, &other.spent, &other.source)
            && *listed_source == other.listed_source
            && (shares_with, above_guarantee) == (&other.shares_with, &other.above_guarantee)
    }

    /// Whether an object's status says what the view does, whichever entry it is true of.
    #[must_use]
    pub fn is_status(&self, status: Option<&PrivateDataBlockStatus>) -> bool {
        let says = |status: &PrivateDataBlockStatus| PrivateDataBlockStatus {
            ledger_sequence: status.ledger_sequence,
            ..self.status()
        };
        status.is_some_and(|status| says(status) == *status)
    }
}
