//! The installation: it can be applied again, describes its fields, has exactly the rights it needs, and
//! answers only known clients.

mod kubectl_output;
mod make_up;
mod ports;
mod reapply;
mod rights;
mod schedulers;

use std::path::PathBuf;

use anyhow::Result;
use privatekube_api::ClaimPhase;
use privatekube_e2e::{TestEnvironment, block, claim, dataset, manifests};
use serde_json::json;

const DELTA: &str = "1e-9";
const KINDS: [&str; 4] = ["pds", "pb", "pbc", "ple"];

/// A file or folder of the repository.
fn folder(path: &str) -> PathBuf {
    manifests().join("../..").join(path)
}

/// Creates a namespace with a dataset, a block and a granted claim, for kubectl to show.
async fn prepare(env: &TestEnvironment) -> Result<()> {
    env.namespace("team").await?;
    let data = block("taxi", "b1")
        .with("dataSource", json!("s3://lake/taxi"))
        .within("team");
    env.create_all([dataset("taxi").within("team"), data]).await?;
    env.create(claim("taxi", "count").epsilon("2.5", DELTA).within("team"))
        .await?;
    env.wait_for_claim_phase("team", "count", ClaimPhase::Granted)
        .await?;
    env.wait_for_block_budget("team", "b1", ("7.5", "2.5", "0")).await
}
