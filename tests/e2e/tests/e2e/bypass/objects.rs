//! Attempts to bypass the budget by creating or changing ledger entries, statuses, blocks and claims.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use privatekube_api::{
    ClaimPhase, PrivacyBudgetClaim, PrivacyLedgerEntry, PrivateDataBlock, PrivateDataset, entry_name,
};
use privatekube_cluster::User;
use privatekube_e2e::{
    TestEnvironment, block, claim, create_as, dataset, eventually, pod, pod_claim_name, refused,
};
use privatekube_policy::Phase;
use serde_json::{Value, json};

use super::{DELTA, allocate_nine, prepare, users};

/// The message expected by a user: given the rule's message, returns that, or that the user has no right.
type ExpectedMessage<'a> = &'a dyn Fn(&'static str) -> &'static str;

/// Tries to create, edit and delete ledger entries. `next` is the next entry, as the extender would create
/// it.
async fn forge_entries(
    api: &Api<PrivacyLedgerEntry>,
    next: &PrivacyLedgerEntry,
    expected: ExpectedMessage<'_>,
    removes: bool,
) -> Result<()> {
    let name = entry_name("taxi", 1);
    refused(
        api.create(&PostParams::default(), next).await,
        &[expected("writes the ledger: ask for budget")],
    )?;
    for change in [
        json!({"spec": {"writer": "me", "events": []}}),
        json!({"metadata": {"labels": {"privatekube.dev/dataset": null}}}),
        json!({"metadata": {"labels": {"another": "label"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
    ] {
        let answer = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(change))
            .await;
        // Refused by the CRD's rule or by the admission policy.
        refused(answer, &[expected("never change")])?;
    }
    // The garbage collector would delete an entry whose owner doesn't exist.
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"});
    let with_owner = json!({"metadata": {"ownerReferences": [owner]}});
    let answer = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(with_owner))
        .await;
    refused(answer, &[expected("a ledger entry has no owner")])?;
    if removes {
        let kept = expected("ledger entries say what is spent and aren't deleted");
        let params = DeleteParams::default();
        refused(api.delete(&name, &params).await.map(drop), &[kept])?;
        let all = api.delete_collection(&params, &ListParams::default()).await;
        refused(all.map(drop), &[kept])?;
    }
    Ok(())
}

async fn forge_statuses(client: &Client, expected: ExpectedMessage<'_>) -> Result<()> {
    let status = Patch::Merge(json!({"status": {"phase": "Granted", "available": {"epsilon": "1000"}}}));
    let params = PatchParams::default();
    let view = expected("the status is a view of the ledger");
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(client.clone(), "team");
    refused(claims.patch_status("holder", &params, &status).await, &[view])?;
    let blocks: Api<PrivateDataBlock> = Api::namespaced(client.clone(), "team");
    refused(blocks.patch_status("b1", &params, &status).await, &[view])?;
    let datasets: Api<PrivateDataset> = Api::namespaced(client.clone(), "team");
    refused(datasets.patch_status("taxi", &params, &status).await, &[view])?;
    Ok(())
}

#[tokio::test]
async fn only_the_extender_writes_ledger_entries_and_statuses() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    allocate_nine(&env, "team").await?;
    let ledger = env.ledger("team", "taxi").await?;
    let entries: Api<PrivacyLedgerEntry> = env.api("team");
    let first = entries.get(&entry_name("taxi", 1)).await?;
    let sequence = ledger.entries.len() + 1;
    let mut next = PrivacyLedgerEntry::new(&entry_name("taxi", sequence as u64), first.spec.clone());
    next.metadata.labels.clone_from(&first.metadata.labels);
    next.spec.sequence = i64::try_from(sequence)?;

    let tenant = env.client_as(User::Tenant).await?;
    let of_tenant: Api<PrivacyLedgerEntry> = Api::namespaced(tenant.clone(), "team");
    let no_right: ExpectedMessage<'_> = &|_| "is forbidden: User \"tenant\" cannot";
    forge_entries(&of_tenant, &next, no_right, true).await?;
    forge_statuses(&tenant, no_right).await?;
    // A user who could create blocks could create budget.
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

    // The rules hold for a user with all rights, and for the administrator, whose requests are not authorized
    // at all and who may only delete entries.
    grant_all_rights(&env, User::Tenant).await?;
    let rule: ExpectedMessage<'_> = &|rule| rule;
    forge_entries(&of_tenant, &next, rule, true).await?;
    forge_statuses(&tenant, rule).await?;
    forge_entries(&entries, &next, rule, false).await?;
    forge_statuses(&env.client, rule).await?;
    ensure!(entries.get(&entry_name("taxi", 1)).await?.spec == first.spec);
    ensure!(env.ledger("team", "taxi").await?.entries == ledger.entries);
    Ok(())
}

/// Gives a user all rights, and waits until they are in effect.
async fn grant_all_rights(env: &TestEnvironment, user: User) -> Result<()> {
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "all-rights", "namespace": "team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name()}],
    });
    env.create(bound).await?;
    let client = env.client_as(user).await?;
    eventually("the rights count", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let block: PrivateDataBlock = serde_json::from_value(block("taxi", "probe").within("team"))?;
        let made = Api::<PrivateDataBlock>::namespaced(client.clone(), "team")
            .create(&dry, &block)
            .await;
        Ok(made.map(drop).map_err(|error| error.to_string()))
    })
    .await
}

#[tokio::test]
async fn a_claim_that_imitates_a_pods_claim_does_not_change_the_pods_budget() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    env.namespace("elsewhere").await?;
    let tenant = env.client_as(User::Tenant).await?;
    // Granted and not bound, so that there is something to release.
    let nowhere = json!({"example.org/nowhere": "true"});
    env.create(
        pod("train")
            .requests("taxi", "4", DELTA)
            .with("nodeSelector", nowhere)
            .within("team"),
    )
    .await?;
    env.wait_for_pod_claim_phase("team", "train", ClaimPhase::Granted)
        .await?;
    let train: Pod = env.api("team").get("train").await?;
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
    // Only the extender may create a claim that says whose pod's it is.
    let own = pod_claim_name(&train);
    for (namespace, name) in [("team", "train-imitation"), ("elsewhere", own.as_str())] {
        let mut forged = forge(
            claim("team/taxi", name).epsilon("1", DELTA).within(namespace),
            "release",
        );
        forged["spec"]["pod"] = json!({"name": "train", "uid": train.metadata.uid});
        for (_, client) in users(&env).await? {
            refused(
                create_as(&client, forged.clone()).await,
                &["spec.pod: is written by the system"],
            )?;
        }
    }
    // They are claims like any other, and consume and release only their own budget.
    env.wait_for_claim_phase("team", "train-release", ClaimPhase::Released)
        .await?;
    env.wait_for_claim_phase("team", "train-consume", ClaimPhase::Consumed)
        .await?;
    let ledger = env.ledger("team", "taxi").await?;
    ensure!(
        ledger.phase("train") == Some(Phase::Granted),
        "{:?}",
        ledger.phases()
    );
    ensure!(ledger.phases().len() >= 3, "{:?}", ledger.phases());
    env.wait_for_block_budget("team", "b1", ("5", "4", "1")).await?;

    // A pod's claim is consumed only by binding its pod. Consumed by hand, it would be released at the pod's
    // end.
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
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    env.create(block("taxi", "b2").within("team")).await?;
    let tenant = env.client_as(User::Tenant).await?;
    create_as(
        &tenant,
        claim("taxi", "shrunk").epsilon("5", DELTA).within("team"),
    )
    .await?;
    env.wait_for_claim_phase("team", "shrunk", ClaimPhase::Granted)
        .await?;
    let release = json!({"spec": {"release": {"perBlock": {
        "b1": {"epsilon": "4.75", "delta": "5e-10"},
        "b2": {"epsilon": "5", "delta": DELTA},
    }}}});
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(tenant.clone(), "team");
    claims
        .patch("shrunk", &PatchParams::default(), &Patch::Merge(release))
        .await?;
    env.wait_for_block_budget("team", "b1", ("9.75", "0.25", "0"))
        .await?;
    env.wait_for_block_budget("team", "b2", ("10", "0", "0")).await?;
    create_as(&tenant, pod("train").annotation("claim", "shrunk").within("team")).await?;
    let train = env.wait_for_pod_phase("team", "train", "Running").await?;
    env.wait_for_block_budget("team", "b1", ("9.75", "0", "0.25"))
        .await?;
    let grant = train
        .metadata
        .annotations
        .unwrap_or_default()
        .remove("privatekube.dev/grant");
    let grant: Value = serde_json::from_str(&grant.context("no grant")?)?;
    let budgets = json!([{"epsilon": "0.25", "delta": "0.0000000005", "blocks": [{"name": "b1"}]}]);
    ensure!(grant["claims"][0]["budgets"] == budgets, "{grant}");
    Ok(())
}

/// Whoever may run pods in some namespace can claim on a dataset only if its owner says so, and learns nothing of it before.
#[tokio::test]
async fn a_dataset_is_closed_to_other_namespaces_until_its_owner_opens_it() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "victim").await?;
    env.namespace("elsewhere").await?;
    let tenant = env.client_as(User::Tenant).await?;
    let all = |dataset: &str| {
        claim(dataset, "all")
            .epsilon("9.9", DELTA)
            .with("selector", json!("block.town == 1"))
            .with("consume", json!({"all": true}))
            .within("elsewhere")
    };
    for dataset in ["victim/taxi", "victim/nowhere", "nowhere/taxi"] {
        let why =
            format!("spec.dataset: dataset {dataset} isn't open to namespace elsewhere, or doesn't exist: ");
        refused(create_as(&tenant, all(dataset)).await, &[&why])?;
        let pod = pod("train").requests(dataset, "1", DELTA).within("elsewhere");
        refused(
            create_as(&tenant, pod).await,
            &[&why.replace("spec.", "privatekube.dev/")],
        )?;
    }

    // Its owner opens it to namespaces with a label, up to a priority.
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}});
    let claimants = json!({"from": "Selected", "namespaceSelector": selector, "maxPriority": 2});
    env.change::<PrivateDataset>("victim", "taxi", json!({"spec": {"claimants": claimants}}))
        .await?;
    let with_priority = |name: &str, priority: i32| {
        claim("victim/taxi", name)
            .epsilon("1", DELTA)
            .with("priority", json!(priority))
            .within("elsewhere")
    };
    refused(
        create_as(&tenant, with_priority("high", 3)).await,
        &["spec.priority: priority 3 is above 2"],
    )?;
    create_as(&tenant, with_priority("granted", 2)).await?;
    env.wait_for_claim_phase("elsewhere", "granted", ClaimPhase::Granted)
        .await?;

    // Closed again, it keeps what it granted, and refuses the dataset's own namespace, too, if that isn't selected.
    let claimants = json!({"from": "Selected", "namespaces": ["nobody"], "namespaceSelector": null});
    env.change::<PrivateDataset>("victim", "taxi", json!({"spec": {"claimants": claimants}}))
        .await?;
    refused(
        create_as(&tenant, with_priority("late", 0)).await,
        &["isn't open to namespace elsewhere"],
    )?;
    refused(
        create_as(&tenant, claim("taxi", "own").epsilon("1", DELTA).within("victim")).await,
        &["isn't open to namespace victim"],
    )?;
    env.change::<PrivacyBudgetClaim>(
        "elsewhere",
        "granted",
        json!({"spec": {"consume": {"all": true}}}),
    )
    .await?;
    env.wait_for_claim_phase("elsewhere", "granted", ClaimPhase::Consumed)
        .await?;
    env.wait_for_block_budget("victim", "b1", ("9", "0", "1")).await?;
    Ok(())
}
