//! Why claims wait, and what would become of others.

use std::fs;

use anyhow::{Result, ensure};
use kube::api::ListParams;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use serde_json::{Value, json};

use super::{DATA, privacy};

/// A block of epsilon 10 that four arrivals unlock, with a claim that is granted and one that waits.
async fn prepare() -> Result<TestEnvironment> {
    let env = TestEnvironment::start().await?;
    env.namespace(DATA).await?;
    env.create_all([
        dataset("taxi").arrivals(4).within(DATA),
        block("taxi", "b1").dimension("day", 1).within(DATA),
        claim("taxi", "small").epsilon("1", "0").within(DATA),
    ])
    .await?;
    env.wait_for_claim_phase(DATA, "small", ClaimPhase::Granted)
        .await?;
    env.create_all([claim("taxi", "large").epsilon("6", "0").within(DATA)])
        .await?;
    env.wait_for_claim_phase(DATA, "large", ClaimPhase::Waiting)
        .await?;
    Ok(env)
}

#[tokio::test]
async fn claims_are_explained_and_demands_tried_without_a_trace() -> Result<()> {
    let env = prepare().await?;
    let before = env.ledger(DATA, "taxi").await?.entries.len();

    let told = privacy(&env, None, "", &["explain", "claim/large", "-n", DATA]).await?;
    ensure!(told.code == 3, "{told:?}");
    for words in [
        "claim data/large on dataset data/taxi",
        "Waiting (TooLittleUnlocked)",
        "after the next arrival",
        "no other claim waits",
        "epsilon at most",
    ] {
        ensure!(told.text.contains(words), "{words}: {}", told.text);
    }
    let told = privacy(&env, None, "", &["explain", "small", "-n", DATA, "-o", "json"]).await?;
    let json: Value = serde_json::from_str(&told.text)?;
    ensure!(
        told.code == 0 && json["claims"][0]["phase"] == "Granted",
        "{told:?}"
    );
    let told = privacy(&env, None, "", &["explain", "nobody", "-n", DATA]).await?;
    ensure!(
        told.code == 1 && told.complaint.contains("no pod, claim or Job nobody"),
        "{told:?}"
    );

    // By flags: now, later and never.
    for (epsilon, code) in [("0.5", 0), ("8", 3), ("11", 4)] {
        let arguments = [
            "dry-run",
            "--dataset",
            "taxi",
            "--epsilon",
            epsilon,
            "--delta",
            "0",
            "--blocks",
            "block.day == 1",
            "-n",
            DATA,
        ];
        let told = privacy(&env, None, "", &arguments).await?;
        ensure!(told.code == code, "{epsilon}: {told:?}");
    }
    // A Job whose annotations are half at the wrong place, and a pod, as YAML on the standard input.
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "train", "annotations": {"privatekube.dev/timeout": "1h"}},
        "spec": {"template": pod("x").requests("taxi", "0.5", "0").template()},
    });
    let bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": {"privatekub.dev/epsilon": "1"}}});
    let told = privacy(
        &env,
        None,
        &format!("{job}\n---\n{bare}\n"),
        &["dry-run", "-f", "-", "-n", DATA],
    )
    .await?;
    ensure!(told.code == 0, "{told:?}");
    for words in [
        "Job data/train on dataset data/taxi: would be granted now",
        "write it in spec.template.metadata.annotations",
        "at most 7, each of which pays (backoffLimit is 6, the default",
        "Pod data/p: requests no budget",
        "did you mean privatekube.dev/epsilon?",
    ] {
        ensure!(told.text.contains(words), "{words}: {}", told.text);
    }

    // Nothing was written.
    ensure!(env.ledger(DATA, "taxi").await?.entries.len() == before);
    let claims = env
        .api::<PrivacyBudgetClaim>(DATA)
        .list(&ListParams::default())
        .await?;
    ensure!(claims.items.len() == 2, "{claims:?}");
    Ok(())
}

#[tokio::test]
async fn who_may_not_read_the_ledger_is_told_which_right_is_missing() -> Result<()> {
    let env = prepare().await?;
    env.create_all([
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "claims-only", "namespace": DATA},
            "rules": [{
                "apiGroups": ["privatekube.dev"],
                "resources": ["privatedatasets", "privatedatablocks", "privacybudgetclaims"],
                "verbs": ["get", "list"],
            }, {"apiGroups": ["", "batch"], "resources": ["pods", "jobs"], "verbs": ["get", "list"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "alice", "namespace": DATA},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "claims-only"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        }),
    ])
    .await?;
    // The administrator acts as alice.
    let mut kubeconfig: Value = serde_saphyr::from_str(&fs::read_to_string(env.cluster.kubeconfig())?)?;
    kubeconfig["users"][0]["user"]["as"] = "alice".into();
    let alice = env.cluster.description().dir.join("alice.kubeconfig");
    fs::write(&alice, kubeconfig.to_string())?;

    let told = privacy(&env, Some(&alice), "", &["explain", "large", "-n", DATA]).await?;
    ensure!(told.code == 6, "{told:?}");
    for words in [
        "Waiting",
        "you may not list privacyledgerentries.privatekube.dev in namespace data",
        "b1",
    ] {
        ensure!(told.text.contains(words), "{words}: {}", told.text);
    }
    let arguments = [
        "dry-run",
        "--dataset",
        "taxi",
        "--epsilon",
        "0.5",
        "--delta",
        "0",
        "--blocks",
        "all",
        "-n",
        DATA,
    ];
    let told = privacy(&env, Some(&alice), "", &arguments).await?;
    ensure!(
        told.code == 6 && told.text.contains("can't be tried without the ledger"),
        "{told:?}"
    );
    Ok(())
}
