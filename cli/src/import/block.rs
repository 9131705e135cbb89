//! Blocks of the old system: what is left of each.

use privatekube_api::PrivateDataBlock;
use privatekube_policy::{Composition, Delta, Epsilon, Order, Rounding};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Imported,
    amounts::{Side, delta, epsilon},
    named,
};
use crate::amounts::{Amount, amounts, few, short_name};

/// A block that was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportedBlock {
    pub(super) block: String,
    pub(super) dataset: String,
    total: Vec<Amount>,
    consumed: Vec<Amount>,
    allocated: Vec<Amount>,
    left: Vec<Amount>,
    #[serde(skip)]
    pub(super) cells: Vec<[String; 5]>,
}

/// The Renyi orders of a block's budget, as decimals; none for epsilon and delta, and without those that aren't orders here.
pub(super) fn orders(object: &Value) -> Vec<String> {
    let curve = object["spec"]["initialBudget"]["renyi"].as_array();
    let orders = curve
        .into_iter()
        .flatten()
        .filter_map(|point| order(&point["alpha"]));
    orders.collect()
}

fn order(alpha: &Value) -> Option<String> {
    let text = match alpha {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    // 1e6 and 1000000.0 are written in full.
    let number: f64 = text.parse().ok()?;
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.parse::<Order>().ok().map(|order| order.to_string())
}

/// Makes a block, or says why not.
pub(super) fn import(
    object: &Value,
    dataset: &str,
    composition: &Composition,
    orders: &[String],
    imported: &mut Imported,
) {
    let (namespace, name) = named(object);
    let what = format!("block {namespace}/{name}");
    let status = &object["status"];
    let Some(total) = budget(&object["spec"]["initialBudget"], orders, Side::Down) else {
        imported
            .not_carried_over
            .push(format!("{what}: its initialBudget is not understood"));
        return;
    };
    let Some(used) = used(status, &what, composition, &total, orders, imported) else {
        return;
    };
    let [consumed, allocated] = &used;
    let capacity: Vec<i128> = total.iter().map(|units| units.unwrap_or_default()).collect();
    let mut left: Vec<i128> = capacity
        .iter()
        .zip(consumed.iter().zip(allocated))
        .map(|(total, used)| match used {
            (Some(consumed), Some(allocated)) => (total - consumed - allocated).max(0),
            _ => 0,
        })
        .collect();
    lower_to_stated(&mut left, status, &what, composition, orders, imported);
    if status.is_null() {
        imported.notes.push(format!(
            "{what}: it has no status, so nothing is known to be consumed: get the objects with their statuses"
        ));
    }
    let mut spec = Map::new();
    spec.insert("dataset".to_owned(), dataset.into());
    if let Some(source) = object["spec"]["dataSource"].as_str() {
        spec.insert("dataSource".to_owned(), source.into());
    }
    let dimensions = dimensions(object, &what, imported);
    if !dimensions.is_empty() {
        spec.insert("dimensions".to_owned(), Value::Object(dimensions));
    }
    // What was used is taken off the budget by the block itself, so that both can be read there.
    let (initial, spent) = split(&capacity, &left, orders);
    spec.insert("initialBudget".to_owned(), initial);
    if let Some(spent) = spent {
        let reason = "consumed and allocated in the system of columbia.github.com";
        spec.insert("spent".to_owned(), json!({"budget": spent, "reason": reason}));
    }
    let manifest = json!({
        "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataBlock",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let parsed: Result<PrivateDataBlock, _> = serde_json::from_value(manifest.clone());
    let problem = match parsed {
        Ok(_) if left.iter().all(|units| *units == 0) => Some("nothing is left of its budget".to_owned()),
        Ok(block) => match block.spec.capacity(composition, None) {
            Ok(budget)
                if budget
                    .units()
                    .iter()
                    .map(|units| i128::from(*units))
                    .eq(left.iter().copied()) =>
            {
                None
            }
            Ok(_) => Some("its budget can't be stated so that exactly what is left is left".to_owned()),
            Err(errors) => Some(errors.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    if let Some(problem) = problem {
        imported.not_carried_over.push(format!("{what}: {problem}"));
        return;
    }
    imported.manifests.push(manifest);
    let known = |units: &[Option<i128>]| -> Vec<i128> {
        units
            .iter()
            .map(|units| units.unwrap_or(i128::from(i64::MAX)))
            .collect()
    };
    let (consumed, allocated) = (known(consumed), known(allocated));
    let cells = (0..capacity.len()).map(|at| {
        [
            short_name(composition, at),
            few(composition, at, capacity[at], Rounding::Nearest),
            few(composition, at, consumed[at], Rounding::Up),
            few(composition, at, allocated[at], Rounding::Up),
            few(composition, at, left[at], Rounding::Down),
        ]
    });
    imported.blocks.push(ImportedBlock {
        block: format!("{namespace}/{name}"),
        dataset: dataset.to_owned(),
        cells: cells.collect(),
        total: amounts(composition, &capacity),
        consumed: amounts(composition, &consumed),
        allocated: amounts(composition, &allocated),
        left: amounts(composition, &left),
    });
}

/// What was consumed and what was allocated at each coordinate, `None` where it isn't known; `None` if it is not understood.
fn used(
    status: &Value,
    what: &str,
    composition: &Composition,
    total: &[Option<i128>],
    orders: &[String],
    imported: &mut Imported,
) -> Option<[Vec<Option<i128>>; 2]> {
    let mut used = [vec![Some(0_i128); total.len()], vec![Some(0_i128); total.len()]];
    for (sums, field) in used.iter_mut().zip(["committedBudgetMap", "acquiredBudgetMap"]) {
        for (claim, amount) in status[field].as_object().into_iter().flatten() {
            let Some(amount) = budget(amount, orders, Side::Up) else {
                imported.not_carried_over.push(format!(
                    "{what}: what {claim} has in {field} is not understood, so nobody knows what is left"
                ));
                return None;
            };
            for (at, (sum, units)) in sums.iter_mut().zip(amount).enumerate() {
                if units.is_none() && total.get(at).copied().flatten().is_some_and(|total| total > 0) {
                    imported.notes.push(format!(
                        "{what}: what {claim} used at {} isn't stated, so nothing is left there",
                        composition.coordinate_name(at)
                    ));
                }
                *sum = sum.zip(units).map(|(sum, units)| sum.saturating_add(units));
            }
        }
    }
    Some(used)
}

/// Lowers what is left to what the old system's floats say, where that is less.
fn lower_to_stated(
    left: &mut [i128],
    status: &Value,
    what: &str,
    composition: &Composition,
    orders: &[String],
    imported: &mut Imported,
) {
    let fields = ["pendingBudget", "availableBudget"];
    // Both are empty until the old system has seen the block.
    if fields
        .iter()
        .all(|field| status[field].as_object().is_none_or(Map::is_empty))
    {
        return;
    }
    let stated = fields.map(|field| budget(&status[field], orders, Side::Down));
    let [Some(pending), Some(available)] = stated else {
        return;
    };
    for (at, left) in left.iter_mut().enumerate() {
        let parts = pending
            .get(at)
            .copied()
            .flatten()
            .zip(available.get(at).copied().flatten());
        if let Some((pending, available)) = parts
            && pending + available < *left
        {
            imported.notes.push(format!(
                "{what}: at {} its status has {} left, which is less than its budget less what is used: that is taken",
                composition.coordinate_name(at),
                composition.display_units(at, pending + available)
            ));
            *left = pending + available;
        }
    }
}

/// A budget in units at each coordinate, `None` where a curve has none; `None` if it is no budget. An empty one is nothing.
fn budget(budget: &Value, orders: &[String], side: Side) -> Option<Vec<Option<i128>>> {
    let coordinates = if orders.is_empty() { 2 } else { orders.len() };
    if let Some(pair) = budget["epsDel"].as_object() {
        if !orders.is_empty() {
            return None;
        }
        let zero = Value::from(0);
        let of = |name: &str| pair.get(name).unwrap_or(&zero).clone();
        return Some(vec![
            Some(epsilon(&of("epsilon"), side)?),
            Some(delta(&of("delta"), side)?),
        ]);
    }
    let Some(curve) = budget["renyi"].as_array() else {
        let is_empty = budget.as_object().is_some_and(Map::is_empty);
        return is_empty.then(|| vec![Some(0); coordinates]);
    };
    if orders.is_empty() {
        return None;
    }
    let mut units = vec![None; coordinates];
    for point in curve {
        let at = order(&point["alpha"]).and_then(|order| orders.iter().position(|other| *other == order));
        // What is used at an order that the block doesn't have concerns nothing.
        if let Some(at) = at {
            units[at] = Some(epsilon(&point["epsilon"], side)?);
        }
    }
    Some(units)
}

/// The initial budget and what was spent of it, as a manifest states them.
fn split(capacity: &[i128], left: &[i128], orders: &[String]) -> (Value, Option<Value>) {
    let spent: Vec<i128> = capacity
        .iter()
        .zip(left)
        .map(|(total, left)| total - left)
        .collect();
    match spent.first() {
        _ if spent.iter().all(|units| *units == 0) => (stated(capacity, orders), None),
        // A budget that is spent has an epsilon above 0.
        Some(0) if orders.is_empty() => (stated(left, orders), None),
        _ => (stated(capacity, orders), Some(stated(&spent, orders))),
    }
}

/// Amounts as a manifest states them.
fn stated(units: &[i128], orders: &[String]) -> Value {
    let epsilon = |units: i128| Epsilon::from_units(units).to_string();
    if orders.is_empty() {
        let of = |at: usize| units.get(at).copied().unwrap_or_default();
        return json!({"epsilon": epsilon(of(0)), "delta": Delta::from_units(of(1)).to_string()});
    }
    let curve = orders.iter().zip(units);
    let curve: Vec<Value> = curve
        .map(|(order, units)| json!({"order": order, "epsilon": epsilon(*units)}))
        .collect();
    json!({"renyi": curve})
}

/// A block's dimensions. The last of several with one name counts, as in the old system.
fn dimensions(object: &Value, what: &str, imported: &mut Imported) -> Map<String, Value> {
    let mut dimensions = Map::new();
    for dimension in object["spec"]["dimensions"].as_array().into_iter().flatten() {
        let name = dimension["attribute"].as_str().unwrap_or_default();
        let value = match (&dimension["numericValue"], dimension["stringValue"].as_str()) {
            (Value::Null, Some(text)) => Value::from(text),
            (number, _) => {
                let text = number.as_str().map_or_else(|| number.to_string(), str::to_owned);
                if let Ok(integer) = text.parse::<i64>() {
                    Value::from(integer)
                } else {
                    imported.notes.push(format!(
                        "{what}: dimension {name} is {text}, and numbers are integers here: it is a string"
                    ));
                    Value::from(text)
                }
            }
        };
        dimensions.insert(name.to_owned(), value);
    }
    dimensions
}
