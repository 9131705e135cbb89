//! What was spent of a block's budget before it came to its ledger, as its object states it: the ledger has only what was left.

use privatekube_api::PrivateDataBlock;
use privatekube_policy::{Composition, Delta, Epsilon};
use privatekube_view::DatasetObjects;
use serde::Serialize;

use crate::amounts::{Amount, amounts};

/// What a block came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpentBefore {
    /// How much was spent.
    pub(super) amounts: Vec<Amount>,
    /// By what.
    pub(super) reason: String,
    /// All that the block guarantees: what was spent before, and the total of the ledger.
    pub(super) guaranteed: Vec<Amount>,
    /// Whether what is guaranteed less what was spent is the total of the ledger, to the digit.
    pub(super) is_equal: bool,
    #[serde(skip)]
    pub(super) units: Vec<i128>,
    #[serde(skip)]
    pub(super) guaranteed_units: Vec<i128>,
}

impl SpentBefore {
    /// What the object of a block states; `None` if there is no object, or it states nothing. `total` is what the ledger has.
    pub(super) fn of(
        objects: &DatasetObjects,
        block: &str,
        composition: &Composition,
        total: &[i128],
    ) -> Option<Self> {
        let object = &objects.block(block)?.object;
        let guarantee = objects
            .dataset()
            .and_then(|dataset| dataset.spec.guarantee().ok()?);
        Self::stated(object, composition, guarantee, total)
    }

    fn stated(
        object: &PrivateDataBlock,
        composition: &Composition,
        guarantee: Option<(Epsilon, Delta)>,
        total: &[i128],
    ) -> Option<Self> {
        let spent = object.spec.spent(composition).ok()??;
        let mut whole = object.spec.clone();
        let reason = whole.spent.take()?.reason;
        let guaranteed = whole.capacity(composition, guarantee).ok()?;
        let left = guaranteed.without(&spent);
        let widened = |units: &[i64]| -> Vec<i128> { units.iter().map(|units| (*units).into()).collect() };
        let (spent, guaranteed) = (widened(spent.units()), widened(guaranteed.units()));
        Some(Self {
            amounts: amounts(composition, &spent),
            reason,
            guaranteed: amounts(composition, &guaranteed),
            is_equal: widened(left.units()) == total,
            units: spent,
            guaranteed_units: guaranteed,
        })
    }
}
