//! Who asked for budget: written at admission, where nobody can forge or change it, kept in the ledger, and told of.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_audit::{Objects, audit};
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, block, claim, create_as, dataset, eventually, pod, refused};
use serde_json::{Value, json};

use super::{DATA, privacy};

const BY: &str = "privatekube.dev/requested-by";
const FORGED: &str = "alice@example.com";

/// The user that an object names.
fn by<K: ResourceExt>(object: &K) -> Option<&str> {
    object.annotations().get(BY).map(String::as_str)
}

/// The object with the annotation of a forger, or of whoever copied it.
fn forged(mut object: Value) -> Value {
    object["metadata"]["annotations"][BY] = json!(FORGED);
    object
}

#[tokio::test]
async fn the_ledger_says_who_asked_and_nobody_can_forge_it() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    env.namespace(DATA).await?;
    env.create_all([dataset("taxi").within(DATA), block("taxi", "b1").within(DATA)])
        .await?;

    // A pod of the administrator, and a claim of somebody else, both with the name of a third one.
    let train = pod("train")
        .requests("taxi", "1", "0")
        .annotation("purpose", "a model");
    let made = env.create(forged(train.within(DATA))).await?;
    let admin = User::Admin.name();
    ensure!(by(&made) == Some(admin), "{made:?}");
    let tenant = env.client_as(User::Tenant).await?;
    let weekly = claim("taxi", "weekly")
        .epsilon("2", "0")
        .with("purpose", json!("a report"));
    let made = create_as(&tenant, forged(weekly.within(DATA))).await?;
    let person = User::Tenant.name();
    ensure!(by(&made) == Some(person), "{made:?}");
    env.wait_for_pod_phase(DATA, "train", "Running").await?;
    env.wait_for_claim_phase(DATA, "weekly", ClaimPhase::Granted)
        .await?;

    // Neither changes later: an update of the pod is refused, and one of the claim leaves it as it is.
    let forgery = json!({"metadata": {"annotations": {BY: FORGED}}});
    refused(
        env.change::<Pod>(DATA, "train", forgery.clone()).await,
        &["never change"],
    )?;
    for patch in [forgery, json!({"metadata": {"annotations": {BY: null}}})] {
        let changed: PrivacyBudgetClaim = env.change(DATA, "weekly", patch).await?;
        ensure!(by(&changed) == Some(person), "{changed:?}");
    }
    let claims: Api<PrivacyBudgetClaim> = env.api(DATA);
    let mut replaced = claims.get("weekly").await?;
    replaced.metadata.annotations = None;
    let replaced = claims
        .replace("weekly", &PostParams::default(), &replaced)
        .await?;
    ensure!(by(&replaced) == Some(person), "{replaced:?}");
    refused(
        env.change::<PrivacyBudgetClaim>(DATA, "weekly", json!({"spec": {"purpose": "another"}}))
            .await,
        &["purpose never changes"],
    )?;
    let long = claim("taxi", "long")
        .epsilon("1", "0")
        .with("purpose", json!("x".repeat(257)));
    refused::<DynamicObject>(env.create(long.within(DATA)).await, &["256"])?;

    check_commands(&env, admin, person).await?;
    check_without_webhooks(&env).await?;

    // An audit that shares no code with PrivateKube finds the same users in the ledger and in the objects.
    env.stop_extender().await?;
    let mut objects = Objects::default();
    let resources = Objects::RESOURCES.join(",");
    let arguments = ["get", &resources, "--all-namespaces", "--output", "json"];
    objects.add(&env.cluster.kubectl(arguments).await?)?;
    let report = audit(&objects);
    ensure!(report.lasting().next().is_none(), "{report}");
    Ok(())
}

/// Checks what the command line tells, from the cluster and from an export.
async fn check_commands(env: &TestEnvironment, admin: &str, person: &str) -> Result<()> {
    let file = env.cluster.description().dir.join("trail.jsonl");
    let file = file.to_str().context("a path")?;
    let told = privacy(env, None, "", &["ledger", "export", file, "-n", DATA]).await?;
    ensure!(told.code == 0, "{told:?}");
    let from_file = ["ledger", "audit", "--file", file, "-o", "json"];
    let from_cluster = ["ledger", "audit", "taxi", "-n", DATA, "-o", "json"];
    for arguments in [&from_cluster[..], &from_file[..]] {
        let told = privacy(env, None, "", arguments).await?;
        ensure!(told.code == 0, "{told:?}");
        let answer: Value = serde_json::from_str(&told.text)?;
        check_trail(&answer["ledgers"][0], admin, person)?;
    }
    let told = privacy(
        env,
        None,
        "",
        &["ledger", "audit", "-n", DATA, "--claim", "weekly"],
    )
    .await?;
    let line = format!("asked by {person}, by guarantee(epsilon=2,delta=0); for: a report");
    ensure!(
        told.text.contains(&line) && !told.text.contains("pod/"),
        "{told:?}"
    );
    let told = privacy(env, None, "", &["ledger", "verify", "-n", DATA]).await?;
    ensure!(told.code == 0, "{told:?}");

    Ok(())
}

/// Without the webhooks that write it, the admission policies still refuse another name, and no name is accepted.
async fn check_without_webhooks(env: &TestEnvironment) -> Result<()> {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(env.client.clone());
    webhooks
        .delete("privatekube-extender", &DeleteParams::default())
        .await?;
    let words = "requested-by is written by the system";
    let other = claim("taxi", "other").epsilon("1", "0");
    eventually("the API server forgets the webhooks", async || {
        match env.create(forged(other.within(DATA))).await {
            Err(kube::Error::Api(status)) if status.message.contains(words) => Ok(Ok(())),
            Err(error) => Err(error.into()),
            // It was still called, and wrote who made it.
            Ok(made) => {
                env.delete::<PrivacyBudgetClaim>(DATA, "other").await?;
                Ok(Err(format!("{made:?}")))
            }
        }
    })
    .await?;
    let pod = pod("other").requests("taxi", "1", "0");
    refused(env.create(forged(pod.within(DATA))).await, &[words])?;
    env.create(claim("taxi", "unnamed").epsilon("1", "0").within(DATA))
        .await?;
    env.wait_for_claim_phase(DATA, "unnamed", ClaimPhase::Granted)
        .await?;
    refused(
        env.change::<PrivacyBudgetClaim>(
            DATA,
            "unnamed",
            json!({"metadata": {"annotations": {BY: FORGED}}}),
        )
        .await,
        &["never changes"],
    )?;
    let told = privacy(
        env,
        None,
        "",
        &["ledger", "audit", "-n", DATA, "--claim", "unnamed"],
    )
    .await?;
    ensure!(
        told.text.contains("asked by a user who wasn't written down"),
        "{told:?}"
    );
    Ok(())
}

fn check_trail(ledger: &Value, admin: &str, person: &str) -> Result<()> {
    let decisions = ledger["decisions"].as_array().context("no decisions")?;
    let of = |decision: &str, name: &str| {
        let found = decisions.iter().find(|row| {
            let claim = row["claim"].as_str().unwrap_or_default();
            row["decision"] == decision && claim.contains(&format!("/{name}/"))
        });
        found.with_context(|| format!("{name} isn't {decision} in {ledger}"))
    };
    let pod = of("granted", "train")?;
    let requester = &pod["requester"];
    for (field, expected) in [
        ("user", json!(admin)),
        ("mechanism", json!("guarantee(epsilon=1,delta=0)")),
        ("purpose", json!("a model")),
    ] {
        ensure!(requester[field] == expected, "{field}: {pod}");
    }
    ensure!(pod["pod"] == "data/train", "{pod}");
    let images = pod["requester"]["images"].as_array();
    ensure!(images.is_some_and(|images| images.len() == 1), "{pod}");
    let claim = of("granted", "weekly")?;
    ensure!(
        claim["requester"]["user"] == person && claim["requester"]["purpose"] == "a report",
        "{claim}"
    );
    // 10 in all, less 1 and 2.
    let last = if of("granted", "weekly")?["entry"].as_u64() >= pod["entry"].as_u64() {
        claim
    } else {
        pod
    };
    ensure!(last["blocks"][0]["left"][0]["amount"] == "7", "{last}");
    ensure!(claim["blocks"][0]["amounts"][0]["amount"] == "2", "{claim}");
    let consumed = of("consumed", "train")?;
    ensure!(consumed["blocks"][0]["amounts"][0]["amount"] == "1", "{consumed}");
    ensure!(ledger["rules"]["policy"] == "dpf", "{ledger}");
    for row in decisions {
        let program = row["program"].as_str().unwrap_or_default();
        ensure!(program.starts_with("privatekube "), "{row}");
    }
    Ok(())
}
