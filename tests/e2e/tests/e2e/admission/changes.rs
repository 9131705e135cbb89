//! Changes of existing objects.

use anyhow::{Context, Result};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use privatekube_api::{ClaimPhase, PrivacyLedgerEntry};
use privatekube_e2e::{TestEnvironment, claim, dataset, refused};
use serde_json::{Value, json};

use super::{DELTA, prepare};

/// Merges `spec` into the spec of an object.
async fn patch_spec(
    client: &Client,
    kind: &str,
    name: &str,
    spec: Value,
) -> Result<DynamicObject, kube::Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("privatekube.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "team", &resource);
    api.patch(
        name,
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": spec})),
    )
    .await
}

/// Changes of immutable fields, and the message with which each must be refused.
#[rustfmt::skip]
fn changes_of_immutable_fields() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("PrivacyBudgetClaim", "asks", json!({"dataset": "renyi"}), "dataset never changes"),
        ("PrivacyBudgetClaim", "asks", json!({"selector": "true"}), "selector never changes"),
        ("PrivacyBudgetClaim", "asks", json!({"selector": null}), "selector never changes"),
        ("PrivacyBudgetClaim", "asks", json!({"blocks": {"max": 1}}), "blocks never change"),
        ("PrivacyBudgetClaim", "asks", json!({"blocks": null}), "blocks never change"),
        ("PrivacyBudgetClaim", "asks", json!({"budget": {"epsilon": "0.1"}}), "budget never changes"),
        ("PrivacyBudgetClaim", "asks", json!({"timeout": null}), "timeout never changes"),
        ("PrivacyBudgetClaim", "asks", json!({"priority": 9}), "priority never changes"),
        ("PrivacyBudgetClaim", "names", json!({"timeout": "1h"}), "timeout never changes"),
        ("PrivacyBudgetClaim", "names", json!({"perBlock": {"basic-day": {"delta": "0"}}}), "perBlock never changes"),
        ("PrivacyBudgetClaim", "names", json!({"perBlock": {"b2": {"epsilon": 1, "delta": 0}}}), "perBlock never"),
        ("PrivateDataBlock", "basic-day", json!({"dataset": "renyi"}), "a block never changes"),
        ("PrivateDataBlock", "basic-day", json!({"dataSource": "s3://other"}), "a block never changes"),
        ("PrivateDataBlock", "basic-day", json!({"dimensions": {"city": "rome"}}), "a block never changes"),
        ("PrivateDataBlock", "basic-day", json!({"dimensions": null}), "a block never changes"),
        ("PrivateDataBlock", "basic-day", json!({"initialBudget": {"epsilon": "11"}}), "a block never changes"),
        ("PrivateDataBlock", "basic-day", json!({"initialBudget": null}), "a block never changes"),
        (
            "PrivateDataset",
            "basic",
            json!({"unlocking": {"immediate": null, "arrivals": 2}}),
            "unlocking never changes",
        ),
        ("PrivateDataset", "basic", json!({"policy": "DPack"}), "policy never changes"),
        ("PrivateDataset", "packed", json!({"policy": "DPF", "dpack": null}), "policy never changes"),
        ("PrivateDataset", "packed", json!({"dpack": {"recomputeAfter": 2}}), "dpack never changes"),
        ("PrivateDataset", "packed", json!({"dpack": null}), "dpack never changes"),
        ("PrivateDataset", "refusing", json!({"fcfs": {"refusing": false}}), "fcfs never changes"),
        ("PrivateDataset", "blended", json!({"blend": {"fairness": "0.6"}}), "blend never changes"),
        ("PrivateDataset", "basic", json!({"composition": "Renyi"}), "composition never changes"),
        ("PrivateDataset", "renyi", json!({"orders": ["2", "4"]}), "orders never change"),
        ("PrivateDataset", "renyi", json!({"orders": null}), "orders never change"),
        ("PrivateDataset", "renyi", json!({"composition": "Basic", "orders": null}), "composition never changes"),
    ]
}

/// Invalid changes of mutable fields, and the message with which each must be refused.
#[rustfmt::skip]
fn invalid_changes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("PrivateDataset", "basic", json!({"guarantee": {"epsilon": "1e9", "delta": 0}}), "spec.guarantee.epsilon"),
        ("PrivateDataset", "renyi", json!({"guarantee": {"epsilon": 10, "delta": 0}}), "spec.guarantee"),
        ("PrivateDataset", "basic", json!({"timeout": "0s"}), "spec.timeout"),
        ("PrivateDataset", "basic", json!({"weights": [{"namespace": "team", "weight": 0}]}), "spec.weights[0].weight"),
        ("PrivateDataset", "refusing", json!({"weights": [{"namespace": "team", "weight": 2}]}), "spec.weights"),
        ("PrivacyBudgetClaim", "names", json!({"consume": {"all": false}}), "only true is accepted"),
        (
            "PrivacyBudgetClaim",
            "names",
            json!({"consume": {"perBlock": {"basic-day": {"epsilon": "1e7", "delta": 0}}}}),
            "spec.consume.perBlock[basic-day].epsilon",
        ),
        (
            "PrivacyBudgetClaim",
            "names",
            json!({"release": {"perBlock": {"Day": {"epsilon": "1", "delta": 0}}}}),
            "spec.release.perBlock[Day]",
        ),
    ]
}

#[tokio::test]
async fn immutable_fields_cannot_be_changed_and_other_changes_are_validated() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let request = claim("basic", "asks")
        .epsilon("2", DELTA)
        .with("selector", json!("block.city == 'nyc'"))
        .with("blocks", json!({"min": 1, "which": "all"}))
        .with("timeout", json!("1h"));
    let names = claim("basic", "names").on("basic-day", "2", DELTA);
    let dataset_with = |name: &str, policy: &str, field: &str, dataset_with: Value| {
        let dataset = dataset(name).with("policy", json!(policy));
        dataset.with(field, dataset_with).within("team")
    };
    env.create_all([
        request.within("team"),
        names.within("team"),
        dataset_with("packed", "DPack", "dpack", json!({})),
        dataset_with("refusing", "FCFS", "fcfs", json!({"refusing": true})),
        dataset_with("blended", "Blend", "blend", json!({"fairness": "0.5"})),
    ])
    .await?;
    env.wait_for_claim_phase("team", "names", ClaimPhase::Granted)
        .await?;
    for (kind, name, spec, words) in changes_of_immutable_fields() {
        let answer = patch_spec(&env.client, kind, name, spec.clone()).await;
        refused(answer, &[words]).with_context(|| format!("{kind} {name}: {spec}"))?;
    }

    // Changes of mutable fields are validated as at creation.
    for (kind, name, spec, words) in invalid_changes() {
        let answer = patch_spec(&env.client, kind, name, spec.clone()).await;
        refused(answer, &[words]).with_context(|| format!("{kind} {name}: {spec}"))?;
    }

    // Consumed budget stays consumed.
    let some = |epsilon: &str| json!({"consume": {"perBlock": {"basic-day": {"epsilon": epsilon, "delta": "1e-10"}}}});
    patch_spec(&env.client, "PrivacyBudgetClaim", "names", some("0.5")).await?;
    env.wait_for_block_budget("team", "basic-day", ("6", "3.5", "0.5"))
        .await?;
    for taken_back in [
        json!({"consume": null}),
        json!({"consume": {"perBlock": {"basic-day": null, "other": {"epsilon": "1", "delta": "0"}}}}),
        some("0.4"),
    ] {
        let answer = patch_spec(&env.client, "PrivacyBudgetClaim", "names", taken_back.clone()).await;
        refused(answer, &["taken back"]).with_context(|| taken_back.to_string())?;
    }
    patch_spec(
        &env.client,
        "PrivacyBudgetClaim",
        "names",
        json!({"release": {"all": true}}),
    )
    .await?;
    env.wait_for_block_budget("team", "basic-day", ("7.5", "2", "0.5"))
        .await?;
    refused(
        patch_spec(
            &env.client,
            "PrivacyBudgetClaim",
            "names",
            json!({"release": null}),
        )
        .await,
        &["taken back"],
    )?;
    let entries = env
        .api::<PrivacyLedgerEntry>("team")
        .list(&ListParams::default())
        .await?;
    let entry = entries.items.first().context("no entry")?.name_any();
    let answer = patch_spec(&env.client, "PrivacyLedgerEntry", &entry, json!({"writer": "me"})).await;
    refused(answer, &["never changes"])?;
    Ok(())
}
