//! Reads all objects and audits them, until the audit finds nothing; then runs the program, as an auditor would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use privatekube_audit::{Objects, Report, audit};
use privatekube_e2e::{TestEnvironment, WatchedCluster};
use serde_json::Value;
use tokio::{process::Command, time::sleep};

use super::tenants::{DATA, DATASETS};

/// How long it may take until nothing is wrong any more.
const TIMEOUT: Duration = Duration::from_secs(420);
const PAUSE: Duration = Duration::from_millis(500);
/// How long the program may find something that is on its way.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where each resource of [`Objects::RESOURCES`] is listed.
fn path(resource: &str) -> String {
    match resource.split_once('.') {
        Some((plural, group)) => format!("/apis/{group}/v1alpha1/{plural}"),
        None => format!("/api/v1/{resource}"),
    }
}

/// Audits the cluster as it is.
pub(super) async fn report(client: &Client) -> Result<Report> {
    let mut objects = Objects::default();
    for resource in Objects::RESOURCES {
        let request = http::Request::get(path(resource)).body(Vec::new())?;
        objects.add_value(client.request::<Value>(request).await?)?;
    }
    Ok(audit(&objects))
}

/// Waits until the audit finds nothing. What is wrong at any moment ends the wait.
pub(super) async fn wait_until_nothing_is_wrong(
    env: &TestEnvironment,
    watched: &WatchedCluster,
) -> Result<Report> {
    let begun = Instant::now();
    let mut told = Instant::now();
    loop {
        let report = report(&env.client).await?;
        if report.findings.is_empty() {
            println!("nothing is wrong after {:.1?}", begun.elapsed());
            return Ok(report);
        }
        let lasting: Vec<String> = report.lasting().map(ToString::to_string).collect();
        if !lasting.is_empty() {
            keep_objects(env).await?;
            bail!("{lasting:#?}");
        }
        if begun.elapsed() > TIMEOUT {
            keep_objects(env).await?;
            bail!(
                "not settled after {TIMEOUT:?}, with {} pods:\n{report}",
                watched.pods.all().len()
            );
        }
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            let some: Vec<String> = report.findings.iter().take(8).map(ToString::to_string).collect();
            println!(
                "{} findings after {:.1?}: {some:#?}",
                report.findings.len(),
                begun.elapsed()
            );
        }
        sleep(PAUSE).await;
    }
}

/// Writes all objects beside the test's programs, for whoever looks for the fault.
async fn keep_objects(env: &TestEnvironment) -> Result<()> {
    let resources = Objects::RESOURCES.join(",");
    let arguments = ["get", &resources, "--all-namespaces", "--output", "json"];
    let objects = env.cluster.kubectl(arguments).await?;
    let to = programs()?.join("soak-objects.json");
    std::fs::write(&to, objects)?;
    println!("all objects are in {}", to.display());
    Ok(())
}

/// The folder of the programs that are built with the tests.
fn programs() -> Result<std::path::PathBuf> {
    let tests = std::env::current_exe()?;
    let programs = tests.parent().and_then(|deps| deps.parent());
    programs.context("a build directory").map(Into::into)
}

/// Runs the program with kubectl, and replays each ledger with the engine.
pub(super) async fn verify(env: &TestEnvironment) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut command = std::process::Command::new(programs()?.join("privatekube-audit"));
        env.cluster.environment(&mut command);
        let output = Command::from(command)
            .output()
            .await
            .context("privatekube-audit: build it with `cargo build -p privatekube-audit`")?;
        if output.status.success() {
            break;
        }
        // The clock unlocks budget, and grants on, for as long as a claim waits.
        let (text, complaint) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(begun.elapsed() < PATIENCE, "privatekube-audit: {text}{complaint}");
        sleep(PAUSE).await;
    }
    for dataset in DATASETS {
        env.ledger(DATA, dataset)
            .await
            .with_context(|| format!("replay {dataset}"))?;
    }
    Ok(())
}
