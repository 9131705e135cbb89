//! Ledgers, verified from outside and told of.

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use privatekube_api::{ClaimPhase, PrivateDataBlock};
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, block, claim, dataset};
use serde_json::{Value, json};

use super::{DATA, privacy};

#[tokio::test]
async fn a_ledger_is_verified_a_changed_status_is_found_and_a_statement_adds_up() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    env.namespace(DATA).await?;
    env.create_all([
        dataset("taxi").renyi(&["2", "8"]).within(DATA),
        block("taxi", "b1").within(DATA),
        block("taxi", "b2").within(DATA),
    ])
    .await?;
    for (name, epsilon) in [("one", "0.3"), ("two", "0.7")] {
        env.create_all([claim("taxi", name)
            .epsilon(epsilon, "1e-9")
            .with("consume", json!({"all": true}))
            .within(DATA)])
            .await?;
        env.wait_for_claim_phase(DATA, name, ClaimPhase::Consumed).await?;
    }
    let ledger = env.ledger(DATA, "taxi").await?;
    let last = u64::try_from(ledger.entries.len())?;
    let consumed = ledger.block("b1").context("no block b1")?.consumed;
    // Statuses are behind the ledger for a moment.
    env.wait::<PrivateDataBlock>(DATA, "b1", "up to date", |block| {
        let status = block.and_then(|block| block.status.as_ref());
        status.and_then(|status| status.ledger_sequence) == Some(last)
    })
    .await?;
    env.stop_extender().await?;

    let told = privacy(&env, None, "", &["ledger", "verify", "taxi", "-n", DATA]).await?;
    ensure!(
        told.code == 0 && told.text.contains("data/taxi: verified"),
        "{told:?}"
    );

    let of_block = ["ledger", "statement", "block/b1", "-n", DATA, "-o", "json"];
    let told = privacy(&env, None, "", &of_block).await?;
    ensure!(told.code == 0, "{told:?}");
    let statement: Value = serde_json::from_str(&told.text)?;
    ensure!(statement["isRight"] == true, "{statement}");
    let rows = statement["ledgers"][0]["rows"].as_array().context("no rows")?;
    ensure!(
        rows.len() == 2 && rows[0]["request"] == "epsilon 0.3, delta 1e-9",
        "{rows:?}"
    );
    for (at, consumed) in consumed.iter().enumerate() {
        let of_row = |row: &Value| -> Option<i128> {
            let amount = row["amounts"][at]["amount"].as_str()?;
            Some(amount.parse::<privatekube_policy::Epsilon>().ok()?.units())
        };
        ensure!(
            rows.iter().filter_map(of_row).sum::<i128>() == *consumed,
            "{statement}"
        );
    }
    let told = privacy(
        &env,
        None,
        "",
        &["ledger", "statement", "namespace/data", "-n", DATA],
    )
    .await?;
    ensure!(told.code == 0 && told.text.contains("claim data/two"), "{told:?}");
    let told = privacy(&env, None, "", &["ledger", "history", "claim/one", "-n", DATA]).await?;
    ensure!(
        told.code == 0 && told.text.contains("consumed; nothing of it is left allocated"),
        "{told:?}"
    );

    // An export, read without the cluster.
    let file = env.cluster.description().dir.join("export.jsonl");
    let file = file.to_str().context("a path")?;
    let told = privacy(&env, None, "", &["ledger", "export", file, "-n", DATA]).await?;
    ensure!(told.code == 0, "{told:?}");
    let told = privacy(&env, None, "", &["ledger", "verify", "--file", file]).await?;
    ensure!(told.code == 0 && told.text.contains("verified"), "{told:?}");

    // Somebody with the extender's credentials makes a block look unused.
    let blocks: Api<PrivateDataBlock> = Api::namespaced(env.client_as(User::Extender).await?, DATA);
    let nothing =
        json!({"epsilon": "0", "renyi": [{"order": "2", "epsilon": "0"}, {"order": "8", "epsilon": "0"}]});
    let patch = Patch::Merge(json!({"status": {"consumed": nothing}}));
    blocks.patch_status("b1", &PatchParams::default(), &patch).await?;
    let told = privacy(&env, None, "", &["ledger", "verify", "-n", DATA]).await?;
    ensure!(told.code == 5, "{told:?}");
    ensure!(
        told.text.contains("block b1") && told.text.contains("consumed is 0"),
        "{told:?}"
    );
    Ok(())
}
