//! Attempts to misuse the extender's credentials: its rights are bounded by policies, whatever roles say.

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use privatekube_api::ClaimPhase;
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, eventually, pod, refused};
use serde_json::{Value, json};

use super::{DELTA, allocate_nine, bind, binding, pods, prepare, remove_gate};

/// Makes the extender an administrator, and waits until that is in effect.
async fn make_administrator(env: &TestEnvironment, extender: &Client) -> Result<()> {
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "extender-is-administrator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "privatekube-extender", "namespace": "privatekube-system"}],
    });
    let bound = serde_json::from_value(bound)?;
    let api: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(env.client.clone());
    api.create(&PostParams::default(), &bound).await?;
    eventually("the extender has all rights", async || {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(extender.clone(), "team");
        let answer = secrets.get_opt("none").await;
        Ok(answer.map(drop).map_err(|error| error.to_string()))
    })
    .await
}

/// Patches of a managed pod that the extender has no need for.
fn needless_changes() -> [Value; 5] {
    [
        json!({"metadata": {"labels": {"app": "x"}}}),
        json!({"metadata": {"annotations": {"example.org/note": "x"}}}),
        json!({"metadata": {"finalizers": ["example.org/stays"]}}),
        json!({"spec": {"activeDeadlineSeconds": 1}}),
        json!({"spec": {"containers": [{"name": "main", "image": "other:1"}]}}),
    ]
}

#[tokio::test]
async fn the_extender_changes_nothing_but_what_it_needs_even_as_an_administrator() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    allocate_nine(&env, "team").await?;
    env.create(pod("plain").within("team")).await?;
    env.wait_for_pod_phase("team", "plain", "Running").await?;
    env.create(
        pod("unbound")
            .with("schedulerName", json!("nobody"))
            .within("team"),
    )
    .await?;
    env.create(pod("waiting").requests("taxi", "5", DELTA).within("team"))
        .await?;
    env.wait_for_pod_claim_phase("team", "waiting", ClaimPhase::Waiting)
        .await?;
    let extender = env.client_as(User::Extender).await?;
    make_administrator(&env, &extender).await?;
    let of_extender = pods(&extender, "team");
    let params = PatchParams::default();

    let others = "changes and deletes only pods with the label privatekube.dev/managed";
    for patch in needless_changes() {
        let patch = Patch::Strategic(&patch);
        refused(of_extender.patch("plain", &params, &patch).await, &[others])?;
    }
    let probe = json!({"spec": {"ephemeralContainers": [{"name": "probe", "image": "probe:1"}]}});
    let probe = Patch::Strategic(&probe);
    let answer = of_extender
        .patch_ephemeral_containers("plain", &params, &probe)
        .await;
    refused(answer, &[others])?;
    let answer = of_extender.delete("plain", &DeleteParams::default()).await;
    refused(answer.map(drop), &[others])?;

    let needless = "changes nothing of a managed pod but its scheduling gate";
    for patch in needless_changes() {
        // Another rule keeps everybody from changing images.
        let says = if patch["spec"]["containers"].is_array() {
            "asked for its images, which never change"
        } else {
            needless
        };
        let answer = of_extender
            .patch("waiting", &params, &Patch::Strategic(&patch))
            .await;
        refused(answer, &[says]).with_context(|| patch.to_string())?;
    }
    // Of its own pods it changes the leader's label, and nothing else.
    let own = |name: &str, app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "privatekube-system", "labels": {"app.kubernetes.io/name": app}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "main", "image": "none",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        })
    };
    env.create(own("own", "privatekube-extender")).await?;
    env.create(own("foreign", "another")).await?;
    let in_own = pods(&extender, "privatekube-system");
    let label =
        |value: Value| Patch::Merge(json!({"metadata": {"labels": {"privatekube.dev/leader": value}}}));
    for value in [json!("true"), Value::Null, json!("true")] {
        in_own.patch("own", &params, &label(value)).await?;
    }
    refused(
        in_own.patch("foreign", &params, &label(json!("true"))).await,
        &[others],
    )?;
    refused(
        of_extender.patch("plain", &params, &label(json!("true"))).await,
        &[others],
    )?;
    for patch in needless_changes() {
        let patch = Patch::Strategic(&patch);
        refused(in_own.patch("own", &params, &patch).await, &[others])?;
    }
    let answer = in_own.delete("own", &DeleteParams::default()).await;
    refused(answer.map(drop), &[others])?;

    let status = Patch::Merge(json!({"status": {"message": "changed"}}));
    refused(
        of_extender.patch_status("waiting", &params, &status).await,
        &[needless],
    )?;
    let wakes = json!({"metadata": {"annotations": {"extender.privatekube.dev/granted-at": "now"}}});
    of_extender
        .patch("waiting", &params, &Patch::Merge(&wakes))
        .await?;
    remove_gate(&extender, "team", "waiting").await?;

    let node = env.cluster.description().nodes[0].clone();
    let mut plain = binding("team", "unbound", &node);
    let grants = "binds only pods whose UID and grant it knows";
    refused(bind(&extender, &plain).await, &[grants])?;
    plain["metadata"]["annotations"] = json!({"privatekube.dev/grant": "{}"});
    refused(bind(&extender, &plain).await, &[grants])?;
    of_extender.delete("waiting", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn the_extender_changes_only_the_address_of_its_webhooks_even_as_an_administrator() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    let extender = env.client_as(User::Extender).await?;
    make_administrator(&env, &extender).await?;
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(extender.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(extender.clone());
    let name = "privatekube-extender";
    let words = "changes nothing of a webhook configuration but clientConfig";
    let attempts = [
        json!([{"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["*"]}]),
        json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]),
        json!([{"op": "remove", "path": "/webhooks/0/matchConditions"}]),
        json!([{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"a": "b"}}}]),
        json!([{"op": "remove", "path": "/webhooks/0"}]),
        json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}]),
    ];
    for attempt in attempts {
        let patch: json_patch::Patch = serde_json::from_value(attempt.clone())?;
        let params = PatchParams::default();
        let answer = mutating
            .patch(name, &params, &Patch::<Value>::Json(patch.clone()))
            .await;
        refused(answer, &[words]).with_context(|| attempt.to_string())?;
        let answer = validating
            .patch(name, &params, &Patch::<Value>::Json(patch))
            .await;
        refused(answer, &[words]).with_context(|| attempt.to_string())?;
    }
    let mut another = mutating.get(name).await?;
    another.metadata.name = Some("another".to_owned());
    another.metadata.resource_version = None;
    another.metadata.managed_fields = None;
    refused(mutating.create(&PostParams::default(), &another).await, &[words])?;
    let answer = mutating.delete(name, &DeleteParams::default()).await;
    refused(answer.map(drop), &[words])?;
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let address = json!([
        {"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://127.0.0.1:1/webhook/pods"},
    ]);
    let patch: json_patch::Patch = serde_json::from_value(address)?;
    mutating.patch(name, &dry, &Patch::<Value>::Json(patch)).await?;
    Ok(())
}
