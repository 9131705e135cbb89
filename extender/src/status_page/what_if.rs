//! What-if: whether a demand would be granted now, later or never, and what would remain. Changes nothing.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use privatekube_api::{ClaimRequest, DatasetKey, PrivacyBudgetClaim, counted, is_label_name};
use privatekube_ledger::MOST_EVENT_BYTES;
use privatekube_view::{Outcome, Trial, WhatIf, too_large_for_an_entry};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    Shared,
    layout::{Part, dataset_href, encoded, page},
    numbers::{Digits, amount},
};
use crate::{bookkeeper::Question, clock};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest texts that are read: those of the fields of a claim object.
const MOST_MECHANISM: usize = 1000;
const MOST_SELECTOR: usize = 2000;
const MOST_NUMBER: usize = 64;

/// What is tried.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    dataset: Option<String>,
    namespace: Option<String>,
    epsilon: Option<String>,
    delta: Option<String>,
    mechanism: Option<String>,
    selector: Option<String>,
    min: Option<String>,
    max: Option<String>,
    priority: Option<String>,
}

/// The form, and the answer if a demand is given.
pub(super) async fn what_if(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    let is_asked = given(&asked.epsilon) || given(&asked.mechanism);
    let answer = if is_asked {
        Some(answer(&shared, &asked).await)
    } else {
        None
    };
    let mut datasets: Vec<DatasetKey> = shared
        .registry
        .handles()
        .view
        .datasets()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    datasets.sort();
    datasets.truncate(1000);
    let content = html! {
        h1 { "What if" }
        p.muted { "Type a demand to see whether it would be granted now, later or never, and what would remain. Nothing is \
                   changed, and the answer holds for this moment." }
        (form(&asked, &datasets))
        @match &answer {
            None => {}
            Some(Err(problem)) => p.notice.bad role="alert" { (problem) },
            Some(Ok((dataset, answer))) => (shown(dataset, answer)),
        }
    };
    page(Part::WhatIf, "What if", &content).into_response()
}

fn form(asked: &Asked, datasets: &[DatasetKey]) -> Markup {
    let field = |label: &str, name: &str, value: &Option<String>, placeholder: &str, most: usize| {
        html! {
            label { (label) input name=(name) value=[value.as_deref()] placeholder=(placeholder) maxlength=(most)
                autocomplete="off" spellcheck="false"; }
        }
    };
    html! {
        form.what-if method="get" action="/what-if" {
            label {
                "Dataset"
                input name="dataset" list="datasets" required placeholder="namespace/name" maxlength="127"
                    value=[asked.dataset.as_deref()] autocomplete="off";
                datalist #datasets { @for key in datasets { option value=(key) {} } }
            }
            (field("Namespace that claims", "namespace", &asked.namespace, "the dataset's", 63))
            fieldset {
                legend { "Budget on each block: epsilon and delta, or a mechanism" }
                (field("Epsilon", "epsilon", &asked.epsilon, "0.5", MOST_NUMBER))
                (field("Delta", "delta", &asked.delta, "0", MOST_NUMBER))
                (field("Mechanism", "mechanism", &asked.mechanism, "gaussian(sigma=20)", MOST_MECHANISM))
            }
            fieldset {
                legend { "Blocks: all, those of a selector, or the newest" }
                (field("Selector", "selector", &asked.selector, "block.startTime >= 20770", MOST_SELECTOR))
                (field("At least", "min", &asked.min, "1", MOST_NUMBER))
                (field("At most", "max", &asked.max, "all", MOST_NUMBER))
                (field("Priority", "priority", &asked.priority, "0", MOST_NUMBER))
            }
            button.primary { "Try it" }
        }
    }
}

/// The request that is tried, as a claim object would state it.
fn request(asked: &Asked) -> Result<(ClaimRequest, String), String> {
    let text = |name: &str, value: &Option<String>, most: usize| -> Result<Option<String>, String> {
        let value = value.as_deref().map(str::trim).filter(|value| !value.is_empty());
        match value {
            Some(value) if value.len() > most => Err(format!("{name} has more than {most} characters")),
            value => Ok(value.map(str::to_owned)),
        }
    };
    let number = |name: &str, value: &Option<String>, least: i64| -> Result<Option<Value>, String> {
        let value = text(name, value, MOST_NUMBER)?;
        let number = value.map(|value| match value.parse::<i64>() {
            Ok(number) if (least..=i64::from(i32::MAX)).contains(&number) => Ok(Value::from(number)),
            _ => Err(format!("{name} {value:?} is no whole number of {least} or more")),
        });
        number.transpose()
    };
    let dataset = text("dataset", &asked.dataset, 127)?.ok_or("dataset: write namespace/name")?;
    let key = DatasetKey::parse(&dataset, "default").map_err(|problem| format!("dataset: {problem}"))?;
    let namespace = text("namespace", &asked.namespace, 63)?.unwrap_or_else(|| key.namespace.clone());
    if !is_label_name(&namespace) {
        return Err(format!("namespace {namespace:?} is no name of a namespace"));
    }
    let mut budget = Map::new();
    for (name, value, most) in [
        ("epsilon", &asked.epsilon, MOST_NUMBER),
        ("delta", &asked.delta, MOST_NUMBER),
        ("mechanism", &asked.mechanism, MOST_MECHANISM),
    ] {
        if let Some(value) = text(name, value, most)? {
            budget.insert(name.to_owned(), value.into());
        }
    }
    if budget.contains_key("epsilon") && !budget.contains_key("delta") {
        budget.insert("delta".to_owned(), "0".into());
    }
    let mut blocks = Map::new();
    for (name, value) in [("min", &asked.min), ("max", &asked.max)] {
        if let Some(value) = number(name, value, 1)? {
            blocks.insert(name.to_owned(), value);
        }
    }
    let mut spec = json!({"dataset": key.to_string(), "budget": budget});
    match text("selector", &asked.selector, MOST_SELECTOR)? {
        Some(selector) => spec["selector"] = selector.into(),
        None if blocks.is_empty() => spec["blocks"] = json!({"which": "all"}),
        None => {}
    }
    if !blocks.is_empty() {
        spec["blocks"] = Value::Object(blocks);
    }
    if let Some(priority) = number("priority", &asked.priority, i64::from(i32::MIN))? {
        spec["priority"] = priority;
    }
    let object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivacyBudgetClaim",
        "metadata": {"namespace": namespace, "name": "what-if"},
        "spec": spec,
    });
    let object: PrivacyBudgetClaim = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let request = object
        .request()
        .map_err(|errors| errors.to_string().replace("spec.", ""))?;
    Ok((request, namespace))
}

/// Tries what is asked. One demand is tried at a time, and only its match and the copy of the engine take a bookkeeper's time.
async fn answer(shared: &Shared, asked: &Asked) -> Result<(DatasetKey, WhatIf), String> {
    let (request, namespace) = request(asked)?;
    let dataset = request.dataset.clone();
    if shared.registry.handles().view.dataset(&dataset).is_none() {
        return Err(format!("dataset {dataset} is not in the view of this extender"));
    }
    let deadline = Instant::now() + PATIENCE;
    let busy = "other demands are being tried, or the dataset's bookkeeper is busy: try again in a moment";
    // The semaphore is never closed.
    let Ok(Ok(_one)) = timeout_at(deadline, shared.trials.acquire()).await else {
        return Err(busy.to_owned());
    };
    let (reply, trial) = oneshot::channel();
    let question = Question::WhatIf {
        namespace,
        request: Box::new(request),
        reply,
    };
    shared.registry.ask(&dataset, question);
    let trial: Trial = match timeout_at(deadline, trial).await {
        Ok(Ok(trial)) => trial.map_err(|problem| problem.to_string())?,
        Ok(Err(_)) => return Err(format!("dataset {dataset} has no open ledger")),
        Err(_) => return Err(busy.to_owned()),
    };
    let bytes = serde_json::to_vec(&trial.event())
        .map_err(|error| error.to_string())?
        .len();
    if bytes > MOST_EVENT_BYTES {
        return Err(too_large_for_an_entry(
            trial.block_count(),
            bytes,
            MOST_EVENT_BYTES,
        ));
    }
    let now = clock::now();
    let decided = tokio::task::spawn_blocking(move || trial.decide(now)).await;
    let answer = decided.map_err(|_| "the demand could not be tried".to_owned())?;
    Ok((dataset, answer.map_err(|problem| problem.to_string())?))
}

fn shown(dataset: &DatasetKey, answer: &WhatIf) -> Markup {
    let (class, title) = match answer.outcome {
        Outcome::Now => ("now", "It would be granted now"),
        Outcome::Later => ("later", "It would wait, and may be granted later"),
        Outcome::Never => ("never", "It would never be granted"),
    };
    html! {
        section #answer class={ "answer " (class) } aria-live="polite" {
            h2 { (title) }
            p.why { (answer.why.message) }
            p.muted {
                (counted(answer.block_count, "block matches", "blocks match")) "."
                @if answer.others_granted > 0 {
                    " Its arrival would unlock enough for " (counted(answer.others_granted, "waiting claim", "waiting claims")) "."
                }
            }
            @if !answer.blocks.is_empty() {
                div.scroll role="region" aria-label="What would remain" tabindex="0" {
                    table {
                        caption { "What would remain, the least first" }
                        thead { tr {
                            th scope="col" { "Block" }
                            th.number scope="col" { "Asked" }
                            th.number scope="col" { "Available now" }
                            th.number scope="col" { "Available after it arrives" }
                            th.number scope="col" { "Left once it is granted" }
                        } }
                        tbody {
                            @for block in &answer.blocks {
                                tr {
                                    th scope="row" {
                                        a href={ (dataset_href(dataset)) "/blocks/" (encoded(block.name.as_str())) } { (block.name) }
                                        span.muted.small { " " (block.coordinate) }
                                    }
                                    td.number { (amount(&block.asked, Digits::Few)) }
                                    td.number {
                                        @if let Some(now) = &block.now.available { (amount(&now.epsilon, Digits::Few)) }
                                    }
                                    td.number { (amount(&block.available, Digits::Few)) }
                                    td.number { (amount(&block.left, Digits::Few)) }
                                }
                            }
                        }
                    }
                }
                @if answer.block_count > answer.blocks.len() {
                    p.small.muted { "The " (answer.blocks.len()) " blocks with the least left, of " (answer.block_count) "." }
                }
            }
        }
    }
}
