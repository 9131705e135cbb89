//! By binding a pod.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::ClaimPhase;
use privatekube_cluster::{Part, User};
use privatekube_e2e::{World, create_as, eventually, pod, refused};
use privatekube_policy::Phase;
use serde_json::json;

use super::{DELTA, bind, binding, mostly_taken, prepared, remove_gate};

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
        Ok(gates.is_empty().then_some(()).ok_or_else(|| format!("{gates:?}")))
    })
    .await?;
    bind(&scheduler, &binding("team", "hasty", &node)).await?;
    world.pod_phase("team", "hasty", "Running").await?;
    world.block_shows("team", "b1", ("0.5", "9", "0.5")).await?;
    ensure!(world.books("team", "taxi").await?.phase("hasty") == Some(Phase::Consumed));
    ensure!(world.extender_count("privatekube_pods_bypassed_total").await? == 1);
    Ok(())
}
