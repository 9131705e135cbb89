//! The queries of Grafana's dashboards: each returns data, unless its panel says that it may be empty.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use kube::{Api, ResourceExt, api::ListParams};
use privatekube_api::PrivateDataBlock;
use privatekube_e2e::{TestEnvironment, eventually};
use serde_json::{Value, json};

use super::{path, prometheus::ScrapingPrometheus};

/// A panel whose description ends with this may be empty in a healthy cluster.
const MAY_BE_EMPTY: &str = "Empty when all is well.";

/// Panels that are empty here, although the load has every case, and why.
const EMPTY_HERE: &[(&str, &str)] = &[
    ("Entries not exported", "nothing is exported here"),
    ("Exports that fail", "nothing is exported here"),
];

/// Whether a query may have no data here: its panel has to say so, too.
fn is_empty_here(query: &PanelQuery) -> bool {
    query.may_be_empty && EMPTY_HERE.iter().any(|(panel, _)| *panel == query.panel)
}

/// One query of a panel.
#[derive(Debug, PartialEq, Eq)]
struct PanelQuery {
    /// The dashboard's file.
    dashboard: String,
    /// The panel's title.
    panel: String,
    query: String,
    may_be_empty: bool,
}

/// What the dashboards' variables stand for.
#[derive(Debug)]
struct Variables {
    namespace: String,
    dataset: String,
    block: String,
}

/// Waits until every query of every dashboard has data.
pub(super) async fn have_data(env: &TestEnvironment, prometheus: &ScrapingPrometheus) -> Result<()> {
    let dir = path("dashboards");
    let mut queries = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            queries.extend(of_file(&file)?);
        }
    }
    ensure!(!queries.is_empty(), "{} has no queries", dir.display());
    let choices = choices(env).await?;
    eventually("every panel has data", || async {
        let mut empty = Vec::new();
        for query in &queries {
            if !has_data(prometheus, query, &choices).await? && !is_empty_here(query) {
                empty.push(query);
            }
        }
        Ok(if empty.is_empty() {
            Ok(())
        } else {
            Err(format!("without data: {empty:#?}"))
        })
    })
    .await?;
    println!("{} queries of dashboards", queries.len());
    Ok(())
}

/// Whether the query has data for one of the choices of a dashboard's user: some panels are of one kind of dataset.
async fn has_data(
    prometheus: &ScrapingPrometheus,
    query: &PanelQuery,
    choices: &[Variables],
) -> Result<bool> {
    for choice in choices {
        let series = prometheus
            .query(&substituted(&query.query, choice))
            .await
            .with_context(|| format!("{}, {:?}", query.dashboard, query.panel))?;
        if series.iter().any(|(_, value)| !value.is_nan()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All that a user may choose: everything, or one block with its dataset.
async fn choices(env: &TestEnvironment) -> Result<Vec<Variables>> {
    let everything = || ".*".to_owned();
    let mut choices = vec![Variables {
        namespace: everything(),
        dataset: everything(),
        block: everything(),
    }];
    let blocks = Api::<PrivateDataBlock>::all(env.client.clone());
    for block in blocks.list(&ListParams::default()).await? {
        choices.push(Variables {
            namespace: block.namespace().unwrap_or_default(),
            dataset: block.spec.dataset.clone(),
            block: block.name_any(),
        });
    }
    Ok(choices)
}

/// The queries of a dashboard's file.
fn of_file(file: &Path) -> Result<Vec<PanelQuery>> {
    let dashboard: Value =
        serde_json::from_slice(&fs::read(file)?).with_context(|| file.display().to_string())?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut queries = Vec::new();
    collect(&dashboard, &name, &mut queries);
    ensure!(!queries.is_empty(), "{} has no queries", file.display());
    Ok(queries)
}

/// Finds panels at any depth: rows have panels of their own.
fn collect(value: &Value, dashboard: &str, into: &mut Vec<PanelQuery>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, dashboard, into)),
        Value::Object(fields) => {
            let targets = fields.get("targets").and_then(Value::as_array);
            for query in targets
                .into_iter()
                .flatten()
                .filter_map(|target| target["expr"].as_str())
            {
                let text = |field: &str| value[field].as_str().unwrap_or_default();
                into.push(PanelQuery {
                    dashboard: dashboard.to_owned(),
                    panel: text("title").to_owned(),
                    query: query.to_owned(),
                    may_be_empty: text("description").trim_end().ends_with(MAY_BE_EMPTY),
                });
            }
            fields.values().for_each(|value| collect(value, dashboard, into));
        }
        _ => {}
    }
}

/// Replaces Grafana's variables, as Grafana does: `$name`, `${name}` or `${name:format}`.
fn substituted(query: &str, variables: &Variables) -> String {
    let mut text = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let (name, after) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((inner, after)) => (inner.split(':').next().unwrap_or_default(), after),
            None => after.split_at(after.find(|char| !is_name(char)).unwrap_or(after.len())),
        };
        let value = match name {
            "namespace" => variables.namespace.as_str(),
            "dataset" => &variables.dataset,
            "block" => &variables.block,
            "__rate_interval" => "1m",
            "__interval" => "5s",
            "__range" => "15m",
            "__range_s" => "900",
            // Not a variable, or one that the agreed form doesn't have: the query fails, and says so.
            other => {
                text.push('$');
                other
            }
        };
        text.push_str(value);
        rest = after;
    }
    text + rest
}

#[test]
fn queries_are_found_at_any_depth_with_their_panels() -> Result<()> {
    let dashboard = json!({"title": "PrivateKube", "panels": [
        {"title": "Claims", "targets": [{"expr": "privatekube_claims"}, {"expr": "1"}]},
        {"title": "a row", "panels": [
            {"title": "Bypassed", "description": "Pods. Empty when all is well.", "targets": [{"expr": "up > 1"}]},
        ]},
        {"title": "a text"},
    ]});
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("overview.json");
    fs::write(&file, dashboard.to_string())?;
    let found = of_file(&file)?;
    let found: Vec<_> = found
        .iter()
        .map(|query| (query.panel.as_str(), query.query.as_str(), query.may_be_empty))
        .collect();
    ensure!(
        found
            == [
                ("Claims", "privatekube_claims", false),
                ("Claims", "1", false),
                ("Bypassed", "up > 1", true)
            ],
        "{found:?}"
    );
    fs::write(&file, json!({"panels": []}).to_string())?;
    ensure!(of_file(&file).is_err());
    Ok(())
}

#[test]
fn variables_are_replaced_in_every_form() -> Result<()> {
    let variables = Variables {
        namespace: "data".to_owned(),
        dataset: "taxi".to_owned(),
        block: "day-1".to_owned(),
    };
    let query =
        r#"rate(a{n=~"$namespace", d="${dataset}", b=~"${block:regex}"}[$__rate_interval]) / $__range_s"#;
    let expected = r#"rate(a{n=~"data", d="taxi", b=~"day-1"}[1m]) / 900"#;
    ensure!(substituted(query, &variables) == expected);
    ensure!(substituted("a{b=~\"x$\"}", &variables) == "a{b=~\"x$\"}");
    Ok(())
}
