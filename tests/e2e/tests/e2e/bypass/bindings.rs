//! Attempts to bypass the budget by binding a pod.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::ClaimPhase;
use privatekube_cluster::{Part, User};
use privatekube_e2e::{TestEnvironment, create_as, eventually, pod, refused};
use privatekube_policy::Phase;
use serde_json::json;

use super::{DELTA, allocate_nine, bind, binding, prepare, remove_gate};

/// Gives a user the right to create Bindings in a namespace, by both of the API's paths.
async fn allow_bindings(env: &TestEnvironment, namespace: &str, user: User) -> Result<()> {
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
    env.create_all([role, bound]).await
}

#[tokio::test]
async fn only_the_extender_binds_a_managed_pod() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    allow_bindings(&env, "team", User::Tenant).await?;
    let (tenant, second) =
        tokio::try_join!(env.client_as(User::Tenant), env.client_as(User::SecondScheduler))?;
    let node = env.cluster.description().nodes[0].clone();
    // This pod fits on no node, so that its budget is granted and the scheduler doesn't bind it.
    let nowhere = json!({"example.org/nowhere": "true"});
    env.create(
        pod("granted")
            .requests("taxi", "9", DELTA)
            .with("nodeSelector", nowhere)
            .within("team"),
    )
    .await?;
    env.wait_for_pod_claim_phase("team", "granted", ClaimPhase::Granted)
        .await?;
    env.create(pod("waiting").requests("taxi", "5", DELTA).within("team"))
        .await?;
    env.wait_for_pod_claim_phase("team", "waiting", ClaimPhase::Waiting)
        .await?;
    remove_gate(&tenant, "team", "waiting").await?;
    for name in ["granted", "waiting"] {
        env.wait_until_unschedulable("team", name, "").await?;
        let words = format!("pod team/{name} asks for privacy budget, so only the extender binds it");
        for client in [&tenant, &second, &env.client] {
            let binding = binding("team", name, &node);
            refused(bind(client, &binding).await, &[&words])?;
            if !std::ptr::eq(client, &raw const second) {
                refused(create_as(client, binding).await, &[&words])?;
            }
        }
    }
    // Users with the right may bind pods without a claim.
    for (name, client) in [("of-tenant", &tenant), ("of-second", &second)] {
        env.create(pod(name).with("schedulerName", json!("nobody")).within("team"))
            .await?;
        // The annotations of a Binding are copied to the pod, so the grant annotation must be refused here
        // too.
        let mut forged = binding("team", name, &node);
        forged["metadata"]["annotations"] = json!({"privatekube.dev/grant": "{\"claims\":[]}"});
        refused(bind(client, &forged).await, &["privatekube.dev/grant"])?;
        bind(client, &binding("team", name, &node)).await?;
        env.wait_for_pod_phase("team", name, "Running").await?;
    }
    for name in ["granted", "waiting"] {
        let pod: Pod = env.api("team").get(name).await?;
        ensure!(
            pod.spec.is_some_and(|spec| spec.node_name.is_none()),
            "{name} has a node"
        );
    }
    env.wait_for_block_budget("team", "b1", ("1", "9", "0")).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_bound_without_a_grant_is_deleted_counted_and_reported() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    allocate_nine(&env, "team").await?;
    // The webhook isn't called for the scheduler's bindings: with the extender, the scheduler creates none
    // for managed pods.
    let scheduler = env.client_as(User::Scheduler).await?;
    let node = env.cluster.description().nodes[1].clone();
    env.create(pod("forced").requests("taxi", "5", DELTA).within("team"))
        .await?;
    env.wait_for_pod_claim_phase("team", "forced", ClaimPhase::Waiting)
        .await?;
    remove_gate(&env.client, "team", "forced").await?;
    bind(&scheduler, &binding("team", "forced", &node)).await?;
    env.wait("team", "forced", "gone", |pod: Option<&Pod>| pod.is_none())
        .await?;
    let message = env.wait_for_event("team", "forced", "BudgetBypassed").await?;
    ensure!(
        message.contains("got a node without privacy budget and is deleted"),
        "{message}"
    );
    ensure!(env.extender_count("privatekube_pods_bypassed_total").await? == 1);

    // A pod whose budget is granted may run, and its budget is consumed.
    env.cluster.stop_part(Part::KubeScheduler).await?;
    env.create(pod("hasty").requests("taxi", "0.5", DELTA).within("team"))
        .await?;
    env.wait_for_pod_claim_phase("team", "hasty", ClaimPhase::Granted)
        .await?;
    eventually("the gate is removed", async || {
        let hasty: Pod = env.api("team").get("hasty").await?;
        let gates = hasty
            .spec
            .and_then(|spec| spec.scheduling_gates)
            .unwrap_or_default();
        Ok(gates.is_empty().then_some(()).ok_or_else(|| format!("{gates:?}")))
    })
    .await?;
    bind(&scheduler, &binding("team", "hasty", &node)).await?;
    env.wait_for_pod_phase("team", "hasty", "Running").await?;
    env.wait_for_block_budget("team", "b1", ("0.5", "9", "0.5"))
        .await?;
    ensure!(env.ledger("team", "taxi").await?.phase("hasty") == Some(Phase::Consumed));
    ensure!(env.extender_count("privatekube_pods_bypassed_total").await? == 1);
    Ok(())
}
