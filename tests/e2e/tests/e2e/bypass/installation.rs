//! Without a part of what is installed.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    core::v1::Pod,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_cluster::User;
use privatekube_e2e::{World, create_as, eventually, pod, refused};
use serde_json::{Value, json};

use super::{DELTA, RESOURCE, mostly_taken, people, pods, prepared, remove_gate};

/// A pod's metadata and resources as the webhook would write them, each part by choice.
fn by_hand(asks: bool, label: bool, resource: Option<&str>) -> Value {
    let builder = if asks {
        pod("by-hand").asks("taxi", "5", DELTA)
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

/// Pods that lack something of what makes them wait, and what is said of them.
fn lacking() -> [(Value, &'static [&'static str]); 7] {
    [
        (
            by_hand(true, false, None),
            &["no container requests the resource privatekube.dev/privacy-budget"],
        ),
        (
            by_hand(true, true, None),
            &["no container requests the resource", "check that it is installed"],
        ),
        (
            by_hand(true, true, Some("0")),
            &["no container requests the resource"],
        ),
        (
            by_hand(true, false, Some("1")),
            &["lacks the label privatekube.dev/managed: \"true\""],
        ),
        (
            by_hand(false, true, None),
            &["asks for no budget", "privatekube.dev/dataset"],
        ),
        (
            by_hand(false, false, Some("1")),
            &["asks for no budget", "privatekube.dev/epsilon"],
        ),
        (by_hand(false, true, Some("1")), &["asks for no budget"]),
    ]
}

#[tokio::test]
async fn without_the_webhook_a_pod_that_lacks_what_makes_it_wait_is_refused() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "hands").await?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(world.client.clone());
    webhooks
        .delete("privatekube-extender", &DeleteParams::default())
        .await?;
    eventually("the API server forgets the webhook", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod: Pod = serde_json::from_value(by_hand(true, true, Some("1")))?;
        let made = pods(&world.client, "hands").create(&dry, &pod).await?;
        Ok(match made.spec.and_then(|spec| spec.scheduling_gates) {
            Some(gates) => Err(format!("{gates:?}")),
            None => Ok(()),
        })
    })
    .await?;

    for (user, client) in people(&world).await? {
        for (attempt, words) in lacking() {
            let told = refused(create_as(&client, attempt.clone()).await, words);
            told.with_context(|| format!("{user:?}: {attempt}"))?;
        }
        let mut placed = by_hand(true, true, Some("1"));
        placed["spec"]["nodeName"] = json!(world.cluster.description().nodes[0]);
        refused(
            create_as(&client, placed).await,
            &["names its node", "leave out spec.nodeName"],
        )?;
        let mut granted = by_hand(true, true, Some("1"));
        granted["metadata"]["annotations"]["privatekube.dev/grant"] = json!("{}");
        refused(
            create_as(&client, granted).await,
            &["privatekube.dev/grant is written by the system"],
        )?;
    }

    // What has all of it gets in without the webhook, and still waits for its budget and pays for it.
    let tenant = world.client_as(User::Tenant).await?;
    mostly_taken(&world, "hands").await?;
    create_as(&tenant, by_hand(true, true, Some("1"))).await?;
    // Without a gate it is tried before its claim is seen, or after.
    world
        .unschedulable("hands", "by-hand", "privacy budget claim hands/by-hand-")
        .await?;
    let mut senseless = by_hand(true, true, Some("1"));
    senseless["metadata"]["name"] = json!("senseless");
    senseless["metadata"]["annotations"]["privatekube.dev/epsilon"] = json!("a lot");
    create_as(&tenant, senseless).await?;
    world
        .unschedulable("hands", "senseless", "privacy budget claim hands/senseless-")
        .await?;
    let told = world.event("hands", "senseless", "BudgetDenied").await?;
    ensure!(
        told.contains("privatekube.dev/epsilon: \"a lot\" is not a number"),
        "{told}"
    );

    // Applied again, it is as before.
    reinstall(&world).await?;
    create_as(&tenant, pod("again").asks("taxi", "5", DELTA).within("hands")).await?;
    let again: Pod = world.api("hands").get("again").await?;
    let gates = again
        .spec
        .and_then(|spec| spec.scheduling_gates)
        .unwrap_or_default();
    ensure!(
        gates.iter().any(|gate| gate.name == "privatekube.dev/budget"),
        "{gates:?}"
    );
    let release = json!({"spec": {"release": {"all": true}}});
    world
        .change::<PrivacyBudgetClaim>("hands", "holder", release)
        .await?;
    world.pod_phase("hands", "by-hand", "Running").await?;
    world.pod_phase("hands", "again", "Running").await?;
    world.block_shows("hands", "b1", ("0", "0", "10")).await?;
    Ok(())
}

/// Applies the manifests over what is there, and waits until the webhooks reach the extender again.
async fn reinstall(world: &World) -> Result<()> {
    let reachable = |config: &WebhookClientConfig| config.url.is_some() && config.ca_bundle.is_some();
    world.cluster.install(&privatekube_e2e::manifests()).await?;
    eventually(
        "the extender writes its address into the webhook configurations",
        async || {
            let mutating = Api::<MutatingWebhookConfiguration>::all(world.client.clone());
            let validating = Api::<ValidatingWebhookConfiguration>::all(world.client.clone());
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
    let client = world.client.clone();
    eventually("the API server asks the webhooks again", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod: Pod = serde_json::from_value(pod("probe").asks("taxi", "1", DELTA).within("default"))?;
        match pods(&client, "default").create(&dry, &pod).await {
            // Its dataset is unknown there, as the extender alone can say.
            Err(kube::Error::Api(status)) if status.message.contains("\"taxi\" is unknown") => Ok(Ok(())),
            other => Ok(Err(format!("{other:?}"))),
        }
    })
    .await
}

#[tokio::test]
async fn a_scheduler_that_does_not_ask_the_extender_never_places_a_managed_pod() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let managed = |name: &str| pod(name).asks("taxi", "1", DELTA);
    let node = world.cluster.description().nodes[0].clone();
    world.cluster.start_second_scheduler("second").await?;
    for (_, client) in people(&world).await? {
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
    // The second scheduler does its work otherwise.
    world
        .create(pod("plain").with("schedulerName", json!("second")).within("team"))
        .await?;
    world.pod_phase("team", "plain", "Running").await?;

    // The default scheduler's configuration is lost: neither a pod whose budget is granted nor one whose gate was
    // removed by hand is placed.
    world.cluster.stop_scheduler().await?;
    let tenant = world.client_as(User::Tenant).await?;
    create_as(&tenant, managed("granted").within("team")).await?;
    world
        .pod_claim_phase("team", "granted", ClaimPhase::Granted)
        .await?;
    create_as(&tenant, pod("waiting").asks("taxi", "9.5", DELTA).within("team")).await?;
    world
        .pod_claim_phase("team", "waiting", ClaimPhase::Waiting)
        .await?;
    remove_gate(&tenant, "team", "waiting").await?;
    world.cluster.start_scheduler(false).await?;
    for name in ["granted", "waiting"] {
        world
            .unschedulable("team", name, &format!("Insufficient {RESOURCE}"))
            .await?;
    }
    world.create(pod("other-plain").within("team")).await?;
    world.pod_phase("team", "other-plain", "Running").await?;
    world.block_shows("team", "b1", ("9", "1", "0")).await?;

    world.cluster.stop_scheduler().await?;
    world.cluster.start_scheduler(true).await?;
    world.pod_phase("team", "granted", "Running").await?;
    world
        .unschedulable("team", "waiting", "can never be granted")
        .await?;
    world.block_shows("team", "b1", ("9", "0", "1")).await?;
    Ok(())
}
