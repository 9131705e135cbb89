//! Ways around the budget: each is tried, by a user of the namespace and, where it makes sense, by the administrator,
//! and each fails.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use privatekube_api::{
    ClaimPhase, PrivacyBudgetClaim, PrivacyLedgerEntry, PrivateDataBlock, PrivateDataset, entry_name,
};
use privatekube_cluster::{Part, User};
use privatekube_e2e::{
    PodBuilder, World, block, claim, create_as, dataset, eventually, inline_claim, pod, refused,
};
use privatekube_policy::Phase;
use serde_json::{Value, json};

const DELTA: &str = "1e-9";
const RESOURCE: &str = "privatekube.dev/privacy-budget";

/// A namespace with a dataset whose one block has a budget of 10, all of it available.
async fn prepared(world: &World, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    world
        .create_all([
            dataset("taxi").within(namespace),
            block("taxi", "b1").within(namespace),
        ])
        .await
}

/// A claim that has 9 of the block's 10, so that a pod that asks for more than 1 waits.
async fn mostly_taken(world: &World, namespace: &str) -> Result<()> {
    world
        .create(claim("taxi", "holder").epsilon("9", DELTA).within(namespace))
        .await?;
    world
        .claim_phase(namespace, "holder", ClaimPhase::Granted)
        .await?;
    Ok(())
}

/// Both kinds of people: a user of the namespace, and one who may do anything.
async fn people(world: &World) -> Result<[(User, Client); 2]> {
    Ok([
        (User::Tenant, world.client_as(User::Tenant).await?),
        (User::Admin, world.client.clone()),
    ])
}

fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

/// Takes the first scheduling gate away, as whoever may update a pod can.
async fn remove_gate(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/spec/schedulingGates", "value": [{"name": "privatekube.dev/budget"}]},
        {"op": "remove", "path": "/spec/schedulingGates/0"},
    ]))?;
    pods(client, namespace)
        .patch(name, &PatchParams::default(), &Patch::Json::<Pod>(patch))
        .await?;
    Ok(())
}

/// A Binding, as a scheduler makes it.
fn binding(namespace: &str, pod: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod, "namespace": namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

/// POST to the pod's subresource `binding`.
async fn bind(client: &Client, binding: &Value) -> Result<Value, kube::Error> {
    let text = |field: &str| binding["metadata"][field].as_str().unwrap_or_default();
    pods(client, text("namespace"))
        .create_subresource("binding", text("name"), &PostParams::default(), binding)
        .await
}

#[tokio::test]
async fn a_pod_whose_gate_is_removed_by_hand_waits_and_runs_by_itself_when_there_is_budget() -> Result<()> {
    let world = World::start().await?;
    let tenant = world.client_as(User::Tenant).await?;
    // Budget comes by release in one namespace, by unlocking in the other.
    prepared(&world, "released").await?;
    mostly_taken(&world, "released").await?;
    world.namespace("unlocked").await?;
    let (data, portion) = (dataset("taxi").arrivals(2), block("taxi", "b1"));
    world
        .create_all([data.within("unlocked"), portion.within("unlocked")])
        .await?;
    for namespace in ["released", "unlocked"] {
        create_as(&tenant, pod("eager").asks("taxi", "6", DELTA).within(namespace)).await?;
        world
            .pod_claim_phase(namespace, "eager", ClaimPhase::Waiting)
            .await?;
        remove_gate(&tenant, namespace, "eager").await?;
        let pod: Pod = world.api(namespace).get("eager").await?;
        let says = format!(
            "privacy budget claim {namespace}/{} waits for privacy budget",
            inline_claim(&pod)
        );
        world.unschedulable(namespace, "eager", &says).await?;
    }

    let release = json!({"spec": {"release": {"all": true}}});
    world
        .change::<PrivacyBudgetClaim>("released", "holder", release)
        .await?;
    world
        .create(claim("taxi", "second").epsilon("0.5", DELTA).within("unlocked"))
        .await?;
    for namespace in ["released", "unlocked"] {
        world.pod_phase(namespace, "eager", "Running").await?;
        world
            .block_shows(
                namespace,
                "b1",
                if namespace == "released" {
                    ("4", "0", "6")
                } else {
                    ("3.5", "0.5", "6")
                },
            )
            .await?;
    }
    ensure!(
        world.scheduled_after_flush().await? < 1.0,
        "the pods were only found by the scheduler's flush"
    );
    Ok(())
}

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
        Ok(made
            .spec
            .is_some_and(|spec| spec.scheduling_gates.is_none())
            .then_some(()))
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
            Ok(mutating
                .chain(validating)
                .all(|config| reachable(&config))
                .then_some(()))
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
            Err(kube::Error::Api(status)) if status.message.contains("\"taxi\" is unknown") => Ok(Some(())),
            _ => Ok(None),
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

/// Merge patches that change what a pod asked and got; each is refused.
fn changes_of_metadata() -> Vec<(Value, &'static str)> {
    let annotations = |changed: Value| json!({"metadata": {"annotations": changed}});
    let labels = |changed: Value| json!({"metadata": {"labels": changed}});
    let annotation = "annotations that begin with privatekube.dev/ are what";
    let label = "the label privatekube.dev/managed says that";
    vec![
        (annotations(json!({"privatekube.dev/epsilon": "0.1"})), annotation),
        (annotations(json!({"privatekube.dev/epsilon": "9.0"})), annotation),
        (annotations(json!({"privatekube.dev/delta": null})), annotation),
        (
            annotations(json!({"privatekube.dev/priority": "1000"})),
            annotation,
        ),
        (
            annotations(json!({"privatekube.dev/grant": "{\"claims\":[]}"})),
            annotation,
        ),
        (annotations(Value::Null), annotation),
        (labels(json!({"privatekube.dev/managed": null})), label),
        (labels(json!({"privatekube.dev/managed": "false"})), label),
        (labels(Value::Null), label),
    ]
}

#[tokio::test]
async fn what_a_pod_asked_and_got_never_changes() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    mostly_taken(&world, "team").await?;
    let asked: PodBuilder = pod("train").asks("taxi", "9", DELTA);
    world.create(asked.within("team")).await?;
    world
        .create(pod("runs").asks("taxi", "1", DELTA).within("team"))
        .await?;
    world.create(pod("plain").within("team")).await?;
    world.pod_phase("team", "runs", "Running").await?;
    world.pod_phase("team", "plain", "Running").await?;
    let before = world.pods("team").await?;
    let grant = before["runs"]
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get("privatekube.dev/grant"));
    ensure!(grant.is_some_and(|grant| grant.contains("b1")), "{grant:?}");

    for (user, client) in people(&world).await? {
        let api = pods(&client, "team");
        for (patch, words) in changes_of_metadata() {
            for name in ["train", "runs"] {
                let said = format!("{user:?}: {name}: {patch}");
                let answer = api
                    .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await;
                refused(answer, &[words]).context(said)?;
            }
        }
        // A plain pod can't become what looks like a granted one.
        for patch in [
            json!({"metadata": {"annotations": {"privatekube.dev/grant": "{}"}}}),
            json!({"metadata": {"annotations": {"privatekube.dev/dataset": "taxi"}}}),
            json!({"metadata": {"labels": {"privatekube.dev/managed": "true"}}}),
        ] {
            let answer = api
                .patch("plain", &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            refused(answer, &["privatekube.dev/"]).with_context(|| format!("{user:?}: {patch}"))?;
        }
        // Another's annotations are anybody's.
        let patch = json!({"metadata": {"annotations": {"example.org/note": "x"}}});
        api.patch("train", &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        let probe = json!({"spec": {"ephemeralContainers": [{"name": "probe", "image": "probe:1"}]},
            "metadata": {"annotations": {"privatekube.dev/epsilon": "0.1"}}});
        // Whoever may add a container to a pod that runs does, but changes no more than that.
        let answer = api
            .patch_ephemeral_containers("runs", &PatchParams::default(), &Patch::Strategic(&probe))
            .await;
        if user == User::Tenant {
            refused(answer, &["cannot patch resource"])?;
        } else {
            ensure!(answer?.metadata.annotations == before["runs"].metadata.annotations);
        }
    }
    // Those who may write a pod's status, as kubelets do, can't either.
    for (patch, words) in changes_of_metadata() {
        let answer = pods(&world.client, "team")
            .patch_status("train", &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        refused(answer, &[words]).with_context(|| format!("status: {patch}"))?;
    }
    let after = world.pods("team").await?;
    for (name, pod) in before {
        let ours = |pod: &Pod| {
            let all = pod.metadata.annotations.clone().unwrap_or_default();
            let ours = all
                .into_iter()
                .filter(|(key, _)| key.starts_with("privatekube.dev/"));
            (ours.collect::<Vec<_>>(), pod.metadata.labels.clone())
        };
        ensure!(
            ours(&pod) == ours(&after[&name]),
            "{name} was {pod:?}, is {:?}",
            after[&name]
        );
    }
    // A gate is comfort, not enforcement, but it isn't put back on a pod that runs.
    let gates = json!({"spec": {"schedulingGates": [{"name": "privatekube.dev/budget"}]}});
    let answer = pods(&world.client, "team")
        .patch("runs", &PatchParams::default(), &Patch::Merge(&gates))
        .await;
    refused(answer, &["schedulingGates"])?;
    Ok(())
}

/// Lets a user make Bindings in a namespace, by both of their paths.
async fn allow_bindings(world: &World, namespace: &str, user: User) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "binder", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods/binding", "bindings"], "verbs": ["create"]}],
    });
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "binder", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "binder"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name()}],
    });
    world.create_all([role, bound]).await
}

#[tokio::test]
async fn only_the_extender_binds_a_managed_pod() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    allow_bindings(&world, "team", User::Tenant).await?;
    let (tenant, second) = tokio::try_join!(
        world.client_as(User::Tenant),
        world.client_as(User::SecondScheduler)
    )?;
    let node = world.cluster.description().nodes[0].clone();
    // One that fits on no node by itself, so that its budget is granted and the scheduler doesn't bind it.
    let nowhere = json!({"example.org/nowhere": "true"});
    world
        .create(
            pod("granted")
                .asks("taxi", "9", DELTA)
                .with("nodeSelector", nowhere)
                .within("team"),
        )
        .await?;
    world
        .pod_claim_phase("team", "granted", ClaimPhase::Granted)
        .await?;
    world
        .create(pod("waiting").asks("taxi", "5", DELTA).within("team"))
        .await?;
    world
        .pod_claim_phase("team", "waiting", ClaimPhase::Waiting)
        .await?;
    remove_gate(&tenant, "team", "waiting").await?;
    for name in ["granted", "waiting"] {
        world.unschedulable("team", name, "").await?;
        let words = format!("pod team/{name} asks for privacy budget, so only the extender binds it");
        for client in [&tenant, &second, &world.client] {
            let binding = binding("team", name, &node);
            refused(bind(client, &binding).await, &[&words])?;
            if !std::ptr::eq(client, &raw const second) {
                refused(create_as(client, binding).await, &[&words])?;
            }
        }
    }
    // Plain pods are bound by whoever may.
    for (name, client) in [("of-tenant", &tenant), ("of-second", &second)] {
        world
            .create(pod(name).with("schedulerName", json!("nobody")).within("team"))
            .await?;
        // Not even by this do they get what only a grant gives: the annotations of a Binding become the pod's.
        let mut forged = binding("team", name, &node);
        forged["metadata"]["annotations"] = json!({"privatekube.dev/grant": "{\"claims\":[]}"});
        refused(bind(client, &forged).await, &["privatekube.dev/grant"])?;
        bind(client, &binding("team", name, &node)).await?;
        world.pod_phase("team", name, "Running").await?;
    }
    for name in ["granted", "waiting"] {
        let pod: Pod = world.api("team").get(name).await?;
        ensure!(
            pod.spec.is_some_and(|spec| spec.node_name.is_none()),
            "{name} has a node"
        );
    }
    world.block_shows("team", "b1", ("1", "9", "0")).await?;
    Ok(())
}

/// What is said to somebody: that there is no right to it, or that it is against a rule.
type Said<'a> = &'a dyn Fn(&'static str) -> &'static str;

/// Makes, edits and removes entries of the ledger. `next` is one as the extender would make it.
async fn forge_entries(
    api: &Api<PrivacyLedgerEntry>,
    next: &PrivacyLedgerEntry,
    said: Said<'_>,
    removes: bool,
) -> Result<()> {
    let name = entry_name("taxi", 1);
    refused(
        api.create(&PostParams::default(), next).await,
        &[said("writes the ledger: ask for budget")],
    )?;
    for change in [
        json!({"spec": {"writer": "me", "events": []}}),
        json!({"metadata": {"labels": {"privatekube.dev/dataset": null}}}),
    ] {
        let answer = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(change))
            .await;
        // By the definition's own rule or by the policy.
        refused(answer, &[said("never change")])?;
    }
    if removes {
        let kept = said("ledger entries say what is spent and aren't deleted");
        let params = DeleteParams::default();
        refused(api.delete(&name, &params).await.map(drop), &[kept])?;
        let all = api.delete_collection(&params, &ListParams::default()).await;
        refused(all.map(drop), &[kept])?;
    }
    Ok(())
}

async fn forge_statuses(client: &Client, said: Said<'_>) -> Result<()> {
    let status = Patch::Merge(json!({"status": {"phase": "Granted", "available": {"epsilon": "1000"}}}));
    let params = PatchParams::default();
    let view = said("the status is a view of the ledger");
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(client.clone(), "team");
    refused(claims.patch_status("holder", &params, &status).await, &[view])?;
    let blocks: Api<PrivateDataBlock> = Api::namespaced(client.clone(), "team");
    refused(blocks.patch_status("b1", &params, &status).await, &[view])?;
    let datasets: Api<PrivateDataset> = Api::namespaced(client.clone(), "team");
    refused(datasets.patch_status("taxi", &params, &status).await, &[view])?;
    Ok(())
}

#[tokio::test]
async fn the_ledger_and_statuses_are_written_by_the_extender_alone() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    mostly_taken(&world, "team").await?;
    let books = world.books("team", "taxi").await?;
    let entries: Api<PrivacyLedgerEntry> = world.api("team");
    let first = entries.get(&entry_name("taxi", 1)).await?;
    let sequence = books.entries.len() + 1;
    let mut next = PrivacyLedgerEntry::new(&entry_name("taxi", sequence as u64), first.spec.clone());
    next.metadata.labels.clone_from(&first.metadata.labels);
    next.spec.sequence = i64::try_from(sequence)?;

    let tenant = world.client_as(User::Tenant).await?;
    let of_tenant: Api<PrivacyLedgerEntry> = Api::namespaced(tenant.clone(), "team");
    let no_right: Said<'_> = &|_| "is forbidden: User \"tenant\" cannot";
    forge_entries(&of_tenant, &next, no_right, true).await?;
    forge_statuses(&tenant, no_right).await?;
    // Whoever makes blocks makes budget.
    let objects = [
        block("taxi", "more").within("team"),
        dataset("other").within("team"),
    ];
    for object in objects {
        refused(create_as(&tenant, object).await, &[no_right("")])?;
    }
    let blocks: Api<PrivateDataBlock> = Api::namespaced(tenant.clone(), "team");
    refused(
        blocks.delete("b1", &DeleteParams::default()).await.map(drop),
        &[no_right("")],
    )?;

    // No right helps, and hardly that of one for whom no rights are asked: that one may clean up.
    all_rights(&world, User::Tenant).await?;
    let rule: Said<'_> = &|rule| rule;
    forge_entries(&of_tenant, &next, rule, true).await?;
    forge_statuses(&tenant, rule).await?;
    forge_entries(&entries, &next, rule, false).await?;
    forge_statuses(&world.client, rule).await?;
    ensure!(entries.get(&entry_name("taxi", 1)).await?.spec == first.spec);
    ensure!(world.books("team", "taxi").await?.entries == books.entries);
    Ok(())
}

/// Gives a user all rights, and waits until they count.
async fn all_rights(world: &World, user: User) -> Result<()> {
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "all-rights", "namespace": "team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name()}],
    });
    world.create(bound).await?;
    let client = world.client_as(user).await?;
    eventually("the rights count", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let block: PrivateDataBlock = serde_json::from_value(block("taxi", "probe").within("team"))?;
        let made = Api::<PrivateDataBlock>::namespaced(client.clone(), "team")
            .create(&dry, &block)
            .await;
        Ok(made.ok().map(|_| ()))
    })
    .await
}

#[tokio::test]
async fn a_claim_object_made_to_look_like_a_pods_changes_nothing_of_that_pods_budget() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    world.namespace("elsewhere").await?;
    let tenant = world.client_as(User::Tenant).await?;
    // Granted, but not bound, so that there would be something to release.
    let nowhere = json!({"example.org/nowhere": "true"});
    world
        .create(
            pod("train")
                .asks("taxi", "4", DELTA)
                .with("nodeSelector", nowhere)
                .within("team"),
        )
        .await?;
    world
        .pod_claim_phase("team", "train", ClaimPhase::Granted)
        .await?;
    let train: Pod = world.api("team").get("train").await?;
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "train", "uid": train.metadata.uid,
        "controller": true}]);
    let forge = |mut object: Value, usage: &str| {
        object["metadata"]["ownerReferences"] = owner.clone();
        object["spec"][usage] = json!({"all": true});
        object
    };
    for usage in ["release", "consume"] {
        let forged = claim("taxi", &format!("train-{usage}"))
            .epsilon("1", DELTA)
            .within("team");
        create_as(&tenant, forge(forged, usage)).await?;
    }
    // In the very name of the pod's claim, nobody but the extender makes one.
    let own = inline_claim(&train);
    for namespace in ["team", "elsewhere"] {
        let forged = forge(
            claim("team/taxi", &own).epsilon("1", DELTA).within(namespace),
            "release",
        );
        for (_, client) in people(&world).await? {
            refused(
                create_as(&client, forged.clone()).await,
                &["the claim of pod train is made by the extender"],
            )?;
        }
    }
    // They are claims like any other, and what they say is of themselves.
    world
        .claim_phase("team", "train-release", ClaimPhase::Released)
        .await?;
    world
        .claim_phase("team", "train-consume", ClaimPhase::Consumed)
        .await?;
    let books = world.books("team", "taxi").await?;
    ensure!(
        books.phase("train") == Some(Phase::Granted),
        "{:?}",
        books.phases()
    );
    ensure!(books.phases().len() >= 3, "{:?}", books.phases());
    world.block_shows("team", "b1", ("5", "4", "1")).await?;

    // Spent is what its pod spent, and nothing else counts as that: it would come back with the pod's end.
    let consume = json!({"spec": {"consume": {"all": true}}});
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(tenant.clone(), "team");
    let answer = claims
        .patch(&own, &PatchParams::default(), &Patch::Merge(consume))
        .await;
    refused(answer, &["spec.consume", "pod train"])?;
    Ok(())
}

#[tokio::test]
async fn a_pod_is_granted_no_more_than_its_claim_still_has() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    world.create(block("taxi", "b2").within("team")).await?;
    let tenant = world.client_as(User::Tenant).await?;
    create_as(
        &tenant,
        claim("taxi", "shrunk").epsilon("5", DELTA).within("team"),
    )
    .await?;
    world.claim_phase("team", "shrunk", ClaimPhase::Granted).await?;
    let release = json!({"spec": {"release": {"perBlock": {
        "b1": {"epsilon": "4.75", "delta": "5e-10"},
        "b2": {"epsilon": "5", "delta": DELTA},
    }}}});
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(tenant.clone(), "team");
    claims
        .patch("shrunk", &PatchParams::default(), &Patch::Merge(release))
        .await?;
    world.block_shows("team", "b1", ("9.75", "0.25", "0")).await?;
    world.block_shows("team", "b2", ("10", "0", "0")).await?;
    create_as(&tenant, pod("train").annotation("claim", "shrunk").within("team")).await?;
    let train = world.pod_phase("team", "train", "Running").await?;
    world.block_shows("team", "b1", ("9.75", "0", "0.25")).await?;
    let grant = train
        .metadata
        .annotations
        .unwrap_or_default()
        .remove("privatekube.dev/grant");
    let grant: Value = serde_json::from_str(&grant.context("no grant")?)?;
    let blocks = json!([{"name": "b1", "epsilon": "0.25", "delta": "0.0000000005"}]);
    ensure!(grant["claims"][0]["blocks"] == blocks, "{grant}");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_bound_by_force_is_deleted_counted_and_told_of() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    mostly_taken(&world, "team").await?;
    // Its bindings are not reviewed: it has no part in them, as long as it asks the extender.
    let scheduler = world.client_as(User::Scheduler).await?;
    let node = world.cluster.description().nodes[1].clone();
    world
        .create(pod("forced").asks("taxi", "5", DELTA).within("team"))
        .await?;
    world
        .pod_claim_phase("team", "forced", ClaimPhase::Waiting)
        .await?;
    remove_gate(&world.client, "team", "forced").await?;
    bind(&scheduler, &binding("team", "forced", &node)).await?;
    world
        .wait("team", "forced", "gone", |pod: Option<&Pod>| pod.is_none())
        .await?;
    let told = world.event("team", "forced", "BudgetBypassed").await?;
    ensure!(
        told.contains("got a node without privacy budget and is deleted"),
        "{told}"
    );
    ensure!(world.extender_count("privatekube_pods_bypassed_total").await? == 1);

    // One whose budget is granted may run, and pays.
    world.cluster.stop_part(Part::KubeScheduler).await?;
    world
        .create(pod("hasty").asks("taxi", "0.5", DELTA).within("team"))
        .await?;
    world
        .pod_claim_phase("team", "hasty", ClaimPhase::Granted)
        .await?;
    eventually("the gate is removed", async || {
        let hasty: Pod = world.api("team").get("hasty").await?;
        let gates = hasty
            .spec
            .and_then(|spec| spec.scheduling_gates)
            .unwrap_or_default();
        Ok(gates.is_empty().then_some(()))
    })
    .await?;
    bind(&scheduler, &binding("team", "hasty", &node)).await?;
    world.pod_phase("team", "hasty", "Running").await?;
    world.block_shows("team", "b1", ("0.5", "9", "0.5")).await?;
    ensure!(world.books("team", "taxi").await?.phase("hasty") == Some(Phase::Consumed));
    ensure!(world.extender_count("privatekube_pods_bypassed_total").await? == 1);
    Ok(())
}
