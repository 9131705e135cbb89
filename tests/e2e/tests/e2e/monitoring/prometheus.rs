//! A Prometheus that scrapes the extender each second and evaluates the rules of `monitoring/`, and what it answers.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use kube::{Client, Config};
use privatekube_cluster::Prometheus;
use privatekube_e2e::Observed;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::path;

/// The labels of a series.
pub(super) type Labels = BTreeMap<String, String>;

/// A Prometheus, its data, and a client of it.
pub(super) struct ScrapingPrometheus {
    client: Client,
    /// Ends before its directory is removed.
    _process: Prometheus,
    _dir: TempDir,
}

impl ScrapingPrometheus {
    /// Starts one for the extender that serves its metrics at this port.
    pub(super) async fn start(extender: u16) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let rules = dir.path().join("rules.json");
        fs::write(&rules, serde_json::to_vec(&hurried(rules_file()?)?)?)?;
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "privatekube-extender",
                "honor_labels": true,
                "static_configs": [{"targets": [format!("127.0.0.1:{extender}")]}],
            }],
        });
        let file = dir.path().join("prometheus.json");
        fs::write(&file, serde_json::to_vec(&config)?)?;
        let process = Prometheus::start(&file, dir.path()).await?;
        let url = format!("http://127.0.0.1:{}", process.port());
        Ok(Self {
            client: Client::try_from(Config::new(url.parse()?))?,
            _process: process,
            _dir: dir,
        })
    }

    /// The result of a query at this moment: series and their values.
    pub(super) async fn query(&self, query: &str) -> Result<Vec<(Labels, f64)>> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        let request = http::Request::post("/api/v1/query")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into_bytes())?;
        let answer: Value = self
            .client
            .request(request)
            .await
            .with_context(|| query.to_owned())?;
        let data = &answer["data"];
        if data["resultType"] == "scalar" {
            return Ok(vec![(Labels::new(), number(&data["result"][1])?)]);
        }
        let series = data["result"]
            .as_array()
            .with_context(|| format!("{query}: {answer}"))?;
        series
            .iter()
            .map(|series| {
                let labels = serde_json::from_value(series["metric"].clone())?;
                Ok((labels, number(&series["value"][1])?))
            })
            .collect()
    }

    /// Observes that every rule was evaluated without an error.
    pub(super) async fn faulty_rules(&self) -> Result<Observed<()>> {
        let groups = self.get("/api/v1/rules").await?;
        let rules: Vec<Value> = groups["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        ensure!(rules.len() > 20, "{} rules", rules.len());
        for rule in &rules {
            let health = rule["health"].as_str().unwrap_or_default();
            ensure!(
                ["ok", "unknown"].contains(&health),
                "{}: {}",
                rule["name"],
                rule["lastError"]
            );
            if health != "ok" {
                return Ok(Err(format!("{} was not evaluated yet", rule["name"])));
            }
        }
        Ok(Ok(()))
    }

    /// The alerts that fire or are about to, with their labels.
    pub(super) async fn active_alerts(&self) -> Result<Vec<(String, Labels)>> {
        let alerts = self.get("/api/v1/alerts").await?;
        let alerts = alerts["alerts"].as_array().context("no alerts")?;
        alerts
            .iter()
            .map(|alert| {
                let labels: Labels = serde_json::from_value(alert["labels"].clone())?;
                Ok((labels.get("alertname").cloned().context("no name")?, labels))
            })
            .collect()
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = http::Request::get(path).body(Vec::new())?;
        let mut answer: Value = self.client.request(request).await?;
        Ok(answer["data"].take())
    }
}

fn number(value: &Value) -> Result<f64> {
    let text = value.as_str().context("a value is not text")?;
    Ok(text.parse()?)
}

/// The rules of `monitoring/`.
pub(super) fn rules_file() -> Result<Value> {
    let text = fs::read_to_string(path("monitoring/rules/privatekube.yaml"))?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// The rules with seconds in place of the minutes between two samples, since no test can wait for minutes.
fn hurried(mut rules: Value) -> Result<Value> {
    let recorded = rules
        .pointer_mut("/groups/0")
        .filter(|group| group["name"] == "privatekube.recorded")
        .context("the recorded rules are not first")?;
    recorded["interval"] = json!("1s");
    for rule in recorded["rules"].as_array_mut().into_iter().flatten() {
        let expression = rule["expr"].as_str().context("no expression")?;
        rule["expr"] = json!(
            expression
                .replace("offset 5m", "offset 5s")
                .replace("/ 300", "/ 5")
        );
    }
    Ok(rules)
}
