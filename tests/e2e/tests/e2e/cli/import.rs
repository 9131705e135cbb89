//! Objects of the OSDI 2021 system, imported from the cluster in which they are, and applied.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::PostParams};
use privatekube_api::{ClaimPhase, PrivateDataBlock};
use privatekube_e2e::{TestEnvironment, eventually};
use privatekube_policy::Epsilon;
use serde_json::{Value, json};

use super::{DATA, privacy};

/// A definition of the old group, which keeps whatever is in its objects.
fn definition(kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.columbia.github.com")},
        "spec": {
            "group": "columbia.github.com", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

fn units(text: &Value) -> Option<i128> {
    Some(text.as_str()?.parse::<Epsilon>().ok()?.units())
}

/// Defines the kinds of the old system, and waits until they are served.
async fn define_old_kinds(env: &TestEnvironment) -> Result<()> {
    for (kind, plural) in [
        ("PrivateDataBlock", "privatedatablocks"),
        ("PrivacyBudgetClaim", "privacybudgetclaims"),
    ] {
        let definitions: Api<CustomResourceDefinition> = Api::all(env.client.clone());
        let made = serde_json::from_value(definition(kind, plural))?;
        definitions.create(&PostParams::default(), &made).await?;
        eventually("the old group is served", async || {
            let name = format!("{plural}.columbia.github.com");
            let status = definitions.get(&name).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.unwrap_or_default().into_iter();
            let is_served = conditions.any(|each| each.type_ == "Established" && each.status == "True");
            Ok(if is_served {
                Ok(())
            } else {
                Err("it isn't yet".to_owned())
            })
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_old_system_spent_stays_spent() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace(DATA).await?;
    define_old_kinds(&env).await?;
    let old = |kind: &str, name: &str, spec: Value, status: Value| {
        json!({
            "apiVersion": "columbia.github.com/v1", "kind": kind,
            "metadata": {"name": name, "namespace": DATA}, "spec": spec, "status": status,
        })
    };
    let spent = |epsilon: f64| json!({"epsDel": {"epsilon": epsilon, "delta": 0.000_001}});
    for object in [
        old(
            "PrivateDataBlock",
            "b1",
            json!({"dataset": "taxi", "initialBudget": {"epsDel": {"epsilon": 5, "delta": 0.0001}}}),
            json!({"committedBudgetMap": {"data/c0": spent(2.5)}, "acquiredBudgetMap": {"data/c1": spent(0.25)}}),
        ),
        old(
            "PrivacyBudgetClaim",
            "c2",
            json!({"requests": [{"identifier": "id-1", "allocateRequest": {
                "dataset": "taxi", "minNumberOfBlocks": 1, "maxNumberOfBlocks": 1,
                "expectedBudget": {"constant": {"epsDel": {"epsilon": 0.125, "delta": 0}}}}}]}),
            json!({"responses": [{"identifier": "id-1", "state": "pending"}]}),
        ),
    ] {
        // What is established is served a moment later.
        eventually("the object is taken", async || {
            match env.create(object.clone()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Err(status.message)),
                answer => Ok(Ok(answer.map(drop)?)),
            }
        })
        .await?;
    }

    let file = env.cluster.description().dir.join("imported.yaml");
    let file = file.to_str().context("a path")?;
    let told = privacy(
        &env,
        None,
        "",
        &["import", "-A", "--unlock-arrivals", "1", "--out", file],
    )
    .await?;
    ensure!(
        told.code == 0 && told.text.contains("datasets 1, blocks 1, claims 1"),
        "{told:?}"
    );
    env.cluster.kubectl(["apply", "-f", file]).await?;

    // The claim that waited there is granted of what is left.
    env.wait_for_claim_phase(DATA, "c2", ClaimPhase::Granted).await?;
    let ledger = env.ledger(DATA, "taxi").await?;
    let block = ledger.block("b1").context("no block b1")?;
    let part = |text: &str| -> Result<i128> { Ok(text.parse::<Epsilon>()?.units()) };
    ensure!(
        i128::from(block.capacity.units()[0]) == part("2.25")? && block.allocated[0] == part("0.125")?,
        "{block:?}"
    );

    // Statuses are behind the ledger for a moment.
    let last = u64::try_from(ledger.entries.len())?;
    env.wait::<PrivateDataBlock>(DATA, "b1", "up to date", |block| {
        let status = block.and_then(|block| block.status.as_ref());
        status.and_then(|status| status.ledger_sequence) == Some(last)
    })
    .await?;
    let told = privacy(&env, None, "", &["ledger", "verify", "taxi", "-n", DATA]).await?;
    ensure!(
        told.code == 0 && told.text.contains("data/taxi: verified"),
        "{told:?}"
    );
    let of_block = ["ledger", "statement", "block/b1", "-n", DATA, "-o", "json"];
    let told = privacy(&env, None, "", &of_block).await?;
    ensure!(told.code == 0, "{told:?}");
    let statement: Value = serde_json::from_str(&told.text)?;
    let block = &statement["ledgers"][0]["blocks"][0];
    let before = &block["spentBefore"];
    let amount = |list: &Value| units(&list[0]["amount"]);
    ensure!(
        statement["isRight"] == true
            && amount(&before["amounts"]) == Some(part("2.75")?)
            && amount(&before["guaranteed"]) == Some(part("5")?)
            && amount(&block["total"]) == Some(part("2.25")?),
        "{statement}"
    );
    Ok(())
}
