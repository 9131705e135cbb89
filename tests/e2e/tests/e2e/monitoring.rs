//! Monitoring: a real Prometheus scrapes an extender that has every kind of work, evaluates the rules of `monitoring/`, and
//! answers the queries of `dashboards/`.

mod dashboards;
mod figures;
mod files;
mod load;
mod operator;
mod prometheus;
mod runbooks;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use privatekube_cluster::{ExtenderOptions, promtool};
use privatekube_e2e::{TestEnvironment, eventually, manifests};

use self::prometheus::{Labels, ScrapingPrometheus};

/// Blocks of a dataset with series of their own. The largest dataset here has one more.
const MOST_BLOCKS: &str = "2";

/// A file or folder of the repository.
fn path(of: &str) -> PathBuf {
    manifests().join("../..").join(of)
}

/// The output of promtool, which must succeed.
async fn checked_by_promtool(arguments: &[&str], input: Option<&Path>) -> Result<String> {
    let output = promtool(arguments, input).await?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        said[0],
        said[1]
    );
    Ok(said.concat())
}

#[tokio::test]
async fn a_real_prometheus_scrapes_the_extender_and_evaluates_all_rules_and_dashboards() -> Result<()> {
    let mut env = TestEnvironment::start_bare().await?;
    env.cluster.install(&manifests()).await?;
    let options = ExtenderOptions {
        arguments: ["--metrics-orders", "--metrics-most-blocks", MOST_BLOCKS]
            .map(Into::into)
            .to_vec(),
        ..ExtenderOptions::default()
    };
    env.extender = Some(env.cluster.start_extender_with(&options).await?);
    let port = env.cluster.description().extender_ports.health;
    let prometheus = ScrapingPrometheus::start(port).await?;
    let (loaded, applied) = tokio::join!(load::run(&env), operator::monitoring_is_applied(&env));
    loaded.context("the load")?;
    applied.context("the Prometheus operator's objects")?;

    the_served_text_is_clean(&env).await?;
    // What is scraped from now on has everything that the load has done.
    figures::agree_with_objects(&env, &prometheus).await?;
    eventually("every rule was evaluated", || prometheus.faulty_rules()).await?;
    eventually(
        "alerts are active where something is wrong, and no others",
        || async {
            // The first evaluations may have been before the first scrape.
            let active = prometheus.active_alerts().await?;
            let stopped = |(name, labels): &(String, Labels)| {
                name == "PrivateKubeDatasetStopped" && labels["namespace"] == load::FROZEN
            };
            let is_expected = |name: &str| load::ALERTS.contains(&name);
            let holds = active.iter().any(stopped) && active.iter().all(|(name, _)| is_expected(name));
            Ok(if holds { Ok(()) } else { Err(format!("{active:?}")) })
        },
    )
    .await?;
    runbooks::commands_work(&env, &prometheus).await?;
    // Rates need something that goes on.
    tokio::select! {
        shown = dashboards::have_data(&env, &prometheus) => shown,
        ended = load::go_on(&env) => ended.context("the load that goes on"),
    }
}

/// promtool finds nothing to say about the served metrics: names, units, types and help.
async fn the_served_text_is_clean(env: &TestEnvironment) -> Result<()> {
    let (code, text) = env.health("/metrics").await?;
    ensure!(code == 200, "/metrics: {code}");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("metrics.txt");
    fs::write(&file, text)?;
    let said = checked_by_promtool(&["check", "metrics"], Some(&file)).await?;
    ensure!(said.trim().is_empty(), "promtool check metrics: {said}");
    Ok(())
}
