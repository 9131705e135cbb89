//! Attempts to bypass the budget while a part of the installation is missing.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, create_as, eventually, pod, refused};
use serde_json::{Value, json};

use super::{DELTA, RESOURCE, allocate_nine, pods, prepare, remove_gate, users};

/// A pod with what the webhook would write, each part by choice: the annotations of a request, the label, the
/// resource.
fn handwritten_pod(request: bool, label: bool, resource: Option<&str>) -> Value {
    let builder = if request {
        pod("by-hand").requests("taxi", "5", DELTA)
    } else {
        pod("by-hand")
    };
    let mut pod = builder.within("hands");
    if label {
        pod["metadata"]["labels"] = json!({"privatekube.dev/managed": "true"});
    }
    if let Some(amount) = resource {
        let amounts = json!({RESOURCE: amount});
        pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    }
    pod
}

/// Pods without a part of what makes them wait for budget, and the message with which each must be refused.
fn incomplete_pods() -> [(Value, &'static [&'static str]); 7] {
    [
        (
            handwritten_pod(true, false, None),
            &["no container requests the resource privatekube.dev/privacy-budget"],
        ),
        (
            handwritten_pod(true, true, None),
            &["no container requests the resource", "check that it is installed"],
        ),
        (
            handwritten_pod(true, true, Some("0")),
            &["no container requests the resource"],
        ),
        (
            handwritten_pod(true, false, Some("1")),
            &["lacks the label privatekube.dev/managed: \"true\""],
        ),
        (
            handwritten_pod(false, true, None),
            &["asks for no budget", "privatekube.dev/dataset"],
        ),
        (
            handwritten_pod(false, false, Some("1")),
            &["asks for no budget", "privatekube.dev/epsilon"],
        ),
        (handwritten_pod(false, true, Some("1")), &["asks for no budget"]),
    ]
}

/// Checks that the policy refuses pods whose containers may start again, and keys that are almost ours.
async fn refuse_restarts_and_misspelt_keys(client: &Client) -> Result<()> {
    for (list, field, value) in [
        ("", "restartPolicy", json!("Always")),
        ("", "restartPolicy", json!("OnFailure")),
        ("initContainers", "restartPolicy", json!("Always")),
    ] {
        let mut restarting = handwritten_pod(true, true, Some("1"));
        if list.is_empty() {
            restarting["spec"][field] = value;
        } else {
            restarting["spec"][list] = json!([{"name": "side", "image": "side:1", field: value}]);
        }
        let refusal = refused(
            create_as(client, restarting.clone()).await,
            &[
                "write spec.restartPolicy: Never",
                "privatekube.dev/restarts: free",
            ],
        );
        refusal.with_context(|| format!("{restarting}"))?;
        restarting["metadata"]["annotations"]["privatekube.dev/restarts"] = json!("free");
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let accepted: Pod = serde_json::from_value(restarting)?;
        pods(client, "hands").create(&dry, &accepted).await?;
    }
    for (list, key) in [
        ("annotations", "PrivateKube.dev/dataset"),
        ("annotations", "private\u{212a}ube.dev/epsilon"),
        ("annotations", "pr\u{130}vatekube.dev/epsilon"),
        ("annotations", "privatekube.dev/weather"),
        ("labels", "privatekube.dev/dataset"),
    ] {
        for mut almost in [
            pod("almost").within("hands"),
            handwritten_pod(true, true, Some("1")),
        ] {
            almost["metadata"][list][key] = json!("taxi");
            refused(create_as(client, almost).await, &["in lower case"]).context(key)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_the_webhook_a_pod_without_its_label_or_resource_is_refused() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "hands").await?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(env.client.clone());
    webhooks
        .delete("privatekube-extender", &DeleteParams::default())
        .await?;
    eventually("the API server forgets the webhook", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod: Pod = serde_json::from_value(handwritten_pod(true, true, Some("1")))?;
        let made = pods(&env.client, "hands").create(&dry, &pod).await?;
        Ok(match made.spec.and_then(|spec| spec.scheduling_gates) {
            Some(gates) => Err(format!("{gates:?}")),
            None => Ok(()),
        })
    })
    .await?;

    for (user, client) in users(&env).await? {
        for (attempt, words) in incomplete_pods() {
            let message = refused(create_as(&client, attempt.clone()).await, words);
            message.with_context(|| format!("{user:?}: {attempt}"))?;
        }
        let mut placed = handwritten_pod(true, true, Some("1"));
        placed["spec"]["nodeName"] = json!(env.cluster.description().nodes[0]);
        refused(
            create_as(&client, placed).await,
            &["names its node", "leave out spec.nodeName"],
        )?;
        refuse_restarts_and_misspelt_keys(&client)
            .await
            .with_context(|| format!("{user:?}"))?;
        let mut granted = handwritten_pod(true, true, Some("1"));
        granted["metadata"]["annotations"]["privatekube.dev/grant"] = json!("{}");
        refused(
            create_as(&client, granted).await,
            &["privatekube.dev/grant is written by the system"],
        )?;
    }

    // A complete pod is accepted without the webhook. It still waits for its budget, and consumes it.
    let tenant = env.client_as(User::Tenant).await?;
    allocate_nine(&env, "hands").await?;
    create_as(&tenant, handwritten_pod(true, true, Some("1"))).await?;
    // It has no gate, so the scheduler may try it before its claim is known, or after.
    env.wait_until_unschedulable("hands", "by-hand", "privacy budget claim hands/by-hand-")
        .await?;
    let mut senseless = handwritten_pod(true, true, Some("1"));
    senseless["metadata"]["name"] = json!("senseless");
    senseless["metadata"]["annotations"]["privatekube.dev/epsilon"] = json!("a lot");
    create_as(&tenant, senseless).await?;
    env.wait_until_unschedulable("hands", "senseless", "privacy budget claim hands/senseless-")
        .await?;
    let message = env.wait_for_event("hands", "senseless", "BudgetDenied").await?;
    ensure!(
        message.contains("privatekube.dev/epsilon: \"a lot\" is not a number"),
        "{message}"
    );

    // With the manifests applied again, everything works as before.
    reinstall(&env).await?;
    create_as(&tenant, pod("again").requests("taxi", "5", DELTA).within("hands")).await?;
    let again: Pod = env.api("hands").get("again").await?;
    let gates = again
        .spec
        .and_then(|spec| spec.scheduling_gates)
        .unwrap_or_default();
    ensure!(
        gates.iter().any(|gate| gate.name == "privatekube.dev/budget"),
        "{gates:?}"
    );
    let release = json!({"spec": {"release": {"all": true}}});
    env.change::<PrivacyBudgetClaim>("hands", "holder", release)
        .await?;
    env.wait_for_pod_phase("hands", "by-hand", "Running").await?;
    env.wait_for_pod_phase("hands", "again", "Running").await?;
    env.wait_for_block_budget("hands", "b1", ("0", "0", "10")).await?;
    Ok(())
}

/// Applies the manifests again, and waits until the webhooks reach the extender.
async fn reinstall(env: &TestEnvironment) -> Result<()> {
    let reachable = |config: &WebhookClientConfig| config.url.is_some() && config.ca_bundle.is_some();
    env.cluster.install(&privatekube_e2e::manifests()).await?;
    eventually(
        "the extender writes its address into the webhook configurations",
        async || {
            let mutating = Api::<MutatingWebhookConfiguration>::all(env.client.clone());
            let validating = Api::<ValidatingWebhookConfiguration>::all(env.client.clone());
            let (mutating, validating) = tokio::try_join!(
                mutating.get("privatekube-extender"),
                validating.get("privatekube-extender")
            )?;
            let mutating = mutating
                .webhooks
                .into_iter()
                .flatten()
                .map(|webhook| webhook.client_config);
            let validating = validating
                .webhooks
                .into_iter()
                .flatten()
                .map(|webhook| webhook.client_config);
            let mut all = mutating.chain(validating);
            Ok(match all.find(|config| !reachable(config)) {
                Some(config) => Err(format!("{config:?}")),
                None => Ok(()),
            })
        },
    )
    .await?;
    let client = env.client.clone();
    eventually("the API server asks the webhooks again", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod: Pod = serde_json::from_value(pod("probe").requests("taxi", "1", DELTA).within("default"))?;
        match pods(&client, "default").create(&dry, &pod).await {
            // This message comes from the extender, so the webhook is called.
            Err(kube::Error::Api(status)) if status.message.contains("\"taxi\" is unknown") => Ok(Ok(())),
            other => Ok(Err(format!("{other:?}"))),
        }
    })
    .await
}

#[tokio::test]
async fn a_scheduler_without_the_extender_never_places_a_managed_pod() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let managed = |name: &str| pod(name).requests("taxi", "1", DELTA);
    let node = env.cluster.description().nodes[0].clone();
    env.cluster.start_second_scheduler("second").await?;
    for (_, client) in users(&env).await? {
        let placed = managed("placed").with("nodeName", json!(node)).within("team");
        let words = format!("spec.nodeName is {node:?}");
        refused(
            create_as(&client, placed).await,
            &[&words, "nodeSelector or affinity"],
        )?;
        for scheduler in ["other", "second"] {
            let pod = managed("elsewhere")
                .with("schedulerName", json!(scheduler))
                .within("team");
            let words = format!("spec.schedulerName is {scheduler:?}");
            refused(
                create_as(&client, pod).await,
                &[&words, "write one of default-scheduler"],
            )?;
        }
    }
    // The second scheduler places pods without a claim.
    env.create(pod("plain").with("schedulerName", json!("second")).within("team"))
        .await?;
    env.wait_for_pod_phase("team", "plain", "Running").await?;

    // The default scheduler's configuration is lost: neither a pod whose budget is granted nor one whose gate
    // was removed by hand is placed.
    env.cluster.stop_scheduler().await?;
    let tenant = env.client_as(User::Tenant).await?;
    create_as(&tenant, managed("granted").within("team")).await?;
    env.wait_for_pod_claim_phase("team", "granted", ClaimPhase::Granted)
        .await?;
    create_as(
        &tenant,
        pod("waiting").requests("taxi", "9.5", DELTA).within("team"),
    )
    .await?;
    env.wait_for_pod_claim_phase("team", "waiting", ClaimPhase::Waiting)
        .await?;
    remove_gate(&tenant, "team", "waiting").await?;
    env.cluster.start_scheduler(false).await?;
    for name in ["granted", "waiting"] {
        env.wait_until_unschedulable("team", name, &format!("Insufficient {RESOURCE}"))
            .await?;
    }
    env.create(pod("other-plain").within("team")).await?;
    env.wait_for_pod_phase("team", "other-plain", "Running").await?;
    env.wait_for_block_budget("team", "b1", ("9", "1", "0")).await?;

    env.cluster.stop_scheduler().await?;
    env.cluster.start_scheduler(true).await?;
    env.wait_for_pod_phase("team", "granted", "Running").await?;
    env.wait_until_unschedulable("team", "waiting", "can never be granted")
        .await?;
    env.wait_for_block_budget("team", "b1", ("9", "0", "1")).await?;
    Ok(())
}
