//! What the statuses of blocks say of a demand, for whoever may not read the ledger.

use std::collections::BTreeMap;

use privatekube_api::{Amounts, PrivateDataBlock, RenyiAmount};
use privatekube_policy::{Composition, Delta, Demand, Epsilon, Rounding};
use serde::Serialize;

use crate::{
    amounts::{exact, few, short_name},
    output::Form,
    table::Table,
};

/// The most rows of a table, unless all are wanted.
const MOST_ROWS: usize = 40;

/// What a block's status has for a demand at a coordinate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusNeed {
    block: String,
    coordinate: String,
    /// `None` if it is more than can be counted.
    asked: Option<String>,
    available: Option<String>,
    locked: Option<String>,
    missing: Option<String>,
    #[serde(skip)]
    cells: [String; 6],
}

/// What the statuses of `blocks` have for demands.
pub(crate) fn of_demands(
    demands: &[Demand],
    blocks: &[PrivateDataBlock],
    composition: &Composition,
) -> Vec<StatusNeed> {
    let named = |block: &PrivateDataBlock| block.metadata.name.clone().unwrap_or_default();
    let blocks: BTreeMap<String, &PrivateDataBlock> =
        blocks.iter().map(|block| (named(block), block)).collect();
    let mut needs = Vec::new();
    for demand in demands {
        for name in &demand.blocks {
            let status = blocks.get(name.as_str()).and_then(|block| block.status.as_ref());
            let Some(status) = status else { continue };
            for (at, asked) in demand.budget.units().iter().enumerate() {
                let of = |amounts: &Option<Amounts>| units(amounts.as_ref()?, composition, at);
                let (Some(total), Some(available), Some(locked)) =
                    (of(&status.total), of(&status.available), of(&status.locked))
                else {
                    continue;
                };
                // A Renyi order at which the block has nothing decides nothing.
                if total > 0 || *composition == Composition::Basic {
                    needs.push(need(
                        name.as_str(),
                        composition,
                        at,
                        (*asked).into(),
                        available,
                        locked,
                    ));
                }
            }
        }
    }
    needs
}

fn need(
    block: &str,
    composition: &Composition,
    at: usize,
    asked: i128,
    available: i128,
    locked: i128,
) -> StatusNeed {
    let missing = (asked - available).max(0);
    StatusNeed {
        block: block.to_owned(),
        coordinate: composition.coordinate_name(at),
        asked: exact(composition, at, asked),
        available: exact(composition, at, available),
        locked: exact(composition, at, locked),
        missing: exact(composition, at, missing),
        cells: [
            block.to_owned(),
            short_name(composition, at),
            few(composition, at, asked, Rounding::Nearest),
            few(composition, at, available, Rounding::Down),
            few(composition, at, locked, Rounding::Down),
            few(composition, at, missing, Rounding::Up),
        ],
    }
}

/// The table of them; nothing if there are none.
pub(crate) fn table(needs: &[StatusNeed], form: Form) -> String {
    if needs.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["BLOCK", ">OF", ">ASKED", ">AVAILABLE", ">LOCKED", ">MISSING"]);
    let shown = if form.wide { needs.len() } else { MOST_ROWS };
    for need in needs.iter().take(shown) {
        table.row(need.cells.clone());
    }
    let mut text = format!("\n{}", table.text("  ", form.paint));
    if needs.len() > shown {
        text.push_str("  and more (-o wide shows all)\n");
    }
    text
}

/// The units that a status shows at a coordinate. An overdrawn order is negative. `None` if the status has none.
pub(crate) fn units(amounts: &Amounts, composition: &Composition, at: usize) -> Option<i128> {
    let text = match (composition, at) {
        (Composition::Basic, 0) => amounts.epsilon.as_str(),
        (Composition::Basic, _) => amounts.delta.as_deref()?,
        (Composition::Renyi(orders), _) => {
            let order = orders.iter().nth(at)?.to_string();
            let mut all = amounts.renyi.iter().flatten();
            let found: &RenyiAmount = all.find(|amount| amount.order == order)?;
            found.epsilon.as_deref()?
        }
    };
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let units = match (composition, at) {
        (Composition::Basic, 1) => text.parse::<Delta>().ok()?.units(),
        _ => text.parse::<Epsilon>().ok()?.units(),
    };
    Some(sign * units)
}
