//! The files of `monitoring/`, their tests, and the runbooks: they belong together.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{checked_by_promtool, path, prometheus::rules_file};

const RULES: &str = "monitoring/rules/privatekube.yaml";
const RUNBOOKS: &str = "docs/runbooks";
/// The parts of a runbook, in their order.
const PARTS: [&str; 4] = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"];

fn yaml(file: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(&fs::read_to_string(path(file))?)?)
}

fn text(value: &Value, field: &str) -> Result<String> {
    let text = value[field].as_str();
    Ok(text
        .with_context(|| format!("{value} has no {field}"))?
        .to_owned())
}

/// The alerts among the rules.
fn alerts() -> Result<Vec<Value>> {
    let rules = rules_file()?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let all = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    Ok(all.filter(|rule| rule.get("alert").is_some()).cloned().collect())
}

/// The files that test the rules.
fn test_files() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path("tests/prometheus/rules"))? {
        files.push(format!("tests/prometheus/rules/{}", entry?.file_name().display()));
    }
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn promtool_accepts_the_rules_and_the_configuration() -> Result<()> {
    for arguments in [
        ["check", "rules", "--lint=all", RULES],
        ["check", "config", "--lint=all", "monitoring/prometheus.yaml"],
    ] {
        let file = path(arguments[3]);
        let file = file.to_str().context("not UTF-8")?;
        checked_by_promtool(
            &[arguments[0], arguments[1], "--lint-fatal", arguments[2], file],
            None,
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_rule_gives_what_its_tests_say() -> Result<()> {
    let files: Vec<_> = test_files()?.iter().map(|file| path(file)).collect();
    let mut arguments = vec!["test", "rules"];
    for file in &files {
        arguments.push(file.to_str().context("not UTF-8")?);
    }
    checked_by_promtool(&arguments, None).await.map(drop)
}

/// Without an order, promtool evaluates the groups in a random one at each time, and an alert may miss what another group
/// records at that time.
#[test]
fn the_groups_are_evaluated_in_the_order_of_the_rules() -> Result<()> {
    let rules = rules_file()?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let groups: Vec<String> = groups
        .iter()
        .map(|group| text(group, "name"))
        .collect::<Result<_>>()?;
    for file in test_files()? {
        let order = yaml(&file)?["group_eval_order"].take();
        ensure!(
            order == serde_json::json!(groups),
            "{file}: group_eval_order is {order}, not {groups:?}"
        );
    }
    Ok(())
}

/// An alert without a test that lets it fire, or without one that keeps it quiet, is missing one.
#[test]
fn every_alert_is_tested_firing_and_quiet() -> Result<()> {
    let (mut fires, mut is_quiet) = (BTreeSet::new(), BTreeSet::new());
    for file in test_files()? {
        let tests = yaml(&file)?;
        let tests = tests["tests"].as_array().context("no tests")?;
        for test in tests
            .iter()
            .flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten())
        {
            let alert = text(test, "alertname")?;
            let expected = test["exp_alerts"].as_array().map_or(0, Vec::len);
            if expected > 0 { &mut fires } else { &mut is_quiet }.insert(alert);
        }
    }
    let alerts: BTreeSet<String> = alerts()?
        .iter()
        .map(|alert| text(alert, "alert"))
        .collect::<Result<_>>()?;
    ensure!(
        alerts == fires,
        "not the same: {alerts:?} and those that fire in tests, {fires:?}"
    );
    ensure!(
        alerts == is_quiet,
        "not the same: {alerts:?} and those quiet in tests, {is_quiet:?}"
    );
    Ok(())
}

/// Each alert says how bad it is, what has happened and to which dataset, and where to read on; and each runbook is one
/// that an alert and docs/operations.md name.
#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() -> Result<()> {
    let operations = fs::read_to_string(path("docs/operations.md"))?;
    let mut named = BTreeSet::new();
    for alert in alerts()? {
        let name = text(&alert, "alert")?;
        let severity = text(&alert["labels"], "severity")?;
        ensure!(
            ["info", "warning", "critical"].contains(&severity.as_str()),
            "{name}: severity {severity}"
        );
        let annotations = &alert["annotations"];
        let (summary, description) = (text(annotations, "summary")?, text(annotations, "description")?);
        ensure!(
            summary.len() < 140 && !description.is_empty(),
            "{name}: {summary}"
        );
        let groups_by_dataset = text(&alert, "expr")?.contains("dataset_") && !name.contains("NotAdvancing");
        let names_dataset = "{{ $labels.namespace }}/{{ $labels.dataset }}";
        ensure!(
            !groups_by_dataset || description.contains(names_dataset),
            "{name} does not name the dataset"
        );
        let url = text(annotations, "runbook_url")?;
        let file = url
            .strip_prefix(concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/"))
            .with_context(|| format!("{name}: {url} is not in this repository"))?;
        let runbook = fs::read_to_string(path(file)).with_context(|| format!("{name}: {file}"))?;
        ensure!(runbook.contains(&name), "{file} does not name {name}");
        let mut rest = runbook.as_str();
        for part in PARTS {
            let at = rest.find(&format!("\n{part}\n"));
            rest = &rest[at.with_context(|| format!("{file} has no {part:?} there"))?..];
        }
        let link = file.trim_start_matches("docs/");
        ensure!(
            operations.contains(&format!("({link})")),
            "docs/operations.md does not link to {link}"
        );
        named.insert(file.to_owned());
    }
    for entry in fs::read_dir(path(RUNBOOKS))? {
        let file = format!("{RUNBOOKS}/{}", entry?.file_name().display());
        ensure!(named.contains(&file), "no alert names {file}");
    }
    Ok(())
}

/// Panels of dashboards link to runbooks.
#[test]
fn dashboards_link_to_runbooks_that_exist() -> Result<()> {
    for entry in fs::read_dir(path("dashboards"))? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(file)?;
        for link in text.split(&format!("{RUNBOOKS}/")).skip(1) {
            let name = link.split(['"', '#']).next().unwrap_or_default();
            ensure!(
                path(RUNBOOKS).join(name).is_file(),
                "there is no {RUNBOOKS}/{name}"
            );
        }
    }
    Ok(())
}

/// The operator's object is made of the plain file.
#[test]
fn the_operators_rules_are_those_of_the_plain_file() -> Result<()> {
    let wrapped = Command::new(path("monitoring/rules/wrap")).output()?;
    ensure!(wrapped.status.success(), "{wrapped:?}");
    let file = fs::read(path("monitoring/rules/prometheusrule.yaml"))?;
    ensure!(
        wrapped.stdout == file,
        "monitoring/rules/prometheusrule.yaml is not up to date: run `make generate`"
    );
    let object: Value = serde_saphyr::from_str(&String::from_utf8(file)?)?;
    ensure!(object["spec"] == rules_file()?, "the object has other rules");
    Ok(())
}
