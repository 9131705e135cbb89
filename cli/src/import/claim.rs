//! Claims of the old system: those that wait are made again.

use std::collections::BTreeMap;

use privatekube_api::PrivacyBudgetClaim;
use serde_json::{Map, Value, json};

use super::{Imported, named};

/// Makes a claim of each allocation that waits, or says why not. `made` has the Renyi orders of the datasets that were made.
pub(super) fn import(
    object: &Value,
    made: &BTreeMap<(String, String), Vec<String>>,
    imported: &mut Imported,
) {
    let (namespace, name) = named(object);
    let what = format!("claim {namespace}/{name}");
    let requests = object["spec"]["requests"].as_array().cloned().unwrap_or_default();
    let responses = object["status"]["responses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut count = 0;
    for (at, request) in requests.iter().enumerate() {
        let allocate = &request["allocateRequest"];
        if !allocate.is_object() {
            continue;
        }
        match responses.get(at).and_then(|response| response["state"].as_str()) {
            None | Some("pending") => {}
            Some("success") => {
                imported.not_carried_over.push(format!(
                    "{what}, request {at}: it was granted, and what it has of its blocks counts as consumed"
                ));
                continue;
            }
            Some(state) => {
                imported
                    .not_carried_over
                    .push(format!("{what}, request {at}: it ended there ({state})"));
                continue;
            }
        }
        count += 1;
        let name = if count == 1 {
            name.clone()
        } else {
            format!("{name}-{at}")
        };
        match manifest(allocate, &namespace, &name, made) {
            Ok(manifest) => {
                imported.claims.push(format!("{namespace}/{name}"));
                imported.manifests.push(manifest);
            }
            Err(why) => imported
                .not_carried_over
                .push(format!("{what}, request {at}: {why}")),
        }
    }
}

fn manifest(
    allocate: &Value,
    namespace: &str,
    name: &str,
    made: &BTreeMap<(String, String), Vec<String>>,
) -> Result<Value, String> {
    let dataset = allocate["dataset"].as_str().unwrap_or_default();
    let key = (namespace.to_owned(), dataset.to_owned());
    if !made.contains_key(&key) {
        return Err(format!(
            "its dataset {dataset:?} has no block among these objects"
        ));
    }
    let mut spec = json!({"dataset": dataset});
    let expected = &allocate["expectedBudget"];
    if let Some(constant) = expected.get("constant") {
        spec["budget"] = budget(constant)?;
    } else if let Some(of_blocks) = expected["budgetMap"].as_object() {
        let mut budgets = Map::new();
        for (block, amount) in of_blocks {
            // NAMESPACE/NAME there, and the name alone here.
            let block = block.rsplit('/').next().unwrap_or(block);
            budgets.insert(block.to_owned(), budget(amount)?);
        }
        spec["perBlock"] = Value::Object(budgets);
    } else {
        return Err("its expectedBudget is neither constant nor a budgetMap".to_owned());
    }
    if spec.get("perBlock").is_none() {
        let conditions = allocate["conditions"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<String> = conditions.iter().map(condition).collect::<Result<_, _>>()?;
        let min = allocate["minNumberOfBlocks"].as_i64().unwrap_or(1).max(1);
        let max = allocate["maxNumberOfBlocks"].as_i64().filter(|max| *max > 0);
        let mut blocks = json!({"min": min});
        match max {
            Some(max) => blocks["max"] = max.into(),
            None if conditions.is_empty() => blocks["which"] = "all".into(),
            None => {}
        }
        spec["blocks"] = blocks;
        if !conditions.is_empty() {
            spec["selector"] = conditions.join(" && ").into();
        }
    }
    if let Some(timeout) = allocate["timeout"].as_u64().filter(|timeout| *timeout > 0) {
        spec["timeout"] = format!("{timeout}ms").into();
    }
    let manifest = json!({
        "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivacyBudgetClaim",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let claim: PrivacyBudgetClaim =
        serde_json::from_value(manifest.clone()).map_err(|error| error.to_string())?;
    claim.new_request().map_err(|errors| errors.to_string())?;
    Ok(manifest)
}

/// A budget as a claim states it: the decimals that were written.
fn budget(amount: &Value) -> Result<Value, String> {
    let text = |number: &Value| match number {
        Value::String(text) => text.clone(),
        number => number.to_string(),
    };
    if let Some(pair) = amount["epsDel"].as_object() {
        let of = |name: &str| pair.get(name).map_or_else(|| "0".to_owned(), text);
        return Ok(json!({"epsilon": of("epsilon"), "delta": of("delta")}));
    }
    let curve = amount["renyi"].as_array().ok_or("its budget is empty")?;
    let curve: Vec<Value> = curve
        .iter()
        .map(|point| json!({"order": text(&point["alpha"]), "epsilon": text(&point["epsilon"])}))
        .collect();
    Ok(json!({"renyi": curve}))
}

/// A condition as a part of a selector.
fn condition(condition: &Value) -> Result<String, String> {
    let attribute = condition["attribute"].as_str().unwrap_or_default();
    let operation = condition["operation"].as_str().unwrap_or_default();
    if let Some(text) = condition["stringValue"].as_str() {
        // A string of JSON is one of CEL.
        let text = Value::from(text).to_string();
        return match operation {
            "is" => Ok(format!("block.{attribute} == {text}")),
            "include" => Ok(format!("block.{attribute}.contains({text})")),
            _ => Err(format!(
                "its condition on {attribute} has an unknown operation {operation:?}"
            )),
        };
    }
    let number = &condition["numericValue"];
    let number = number.as_str().map_or_else(|| number.to_string(), str::to_owned);
    if number.parse::<i64>().is_err() {
        return Err(format!(
            "its condition on {attribute} compares with {number}, and dimensions are integers or strings here"
        ));
    }
    let sign = match operation {
        ">" | "greaterThan" => ">",
        ">=" | "greaterThanOrEqual" => ">=",
        "=" | "==" | "equal" => "==",
        "<" | "lessThan" => "<",
        "<=" | "lessThanOrEqual" => "<=",
        _ => {
            return Err(format!(
                "its condition on {attribute} has an unknown operation {operation:?}"
            ));
        }
    };
    Ok(format!("block.{attribute} {sign} {number}"))
}
