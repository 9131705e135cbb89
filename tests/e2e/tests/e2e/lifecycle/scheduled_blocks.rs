//! Blocks that come by themselves, and blocks that are retired when their time is over.

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use kube::{Api, api::ListParams};
use privatekube_api::{ClaimPhase, Grant, PrivateDataBlock, PrivateDataset};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use serde_json::json;

use super::DELTA;

#[tokio::test]
async fn blocks_come_by_themselves_and_are_retired() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    a_block_is_retired_when_its_time_is_over(&env).await?;
    a_day_has_one_block_whatever_restarts(&mut env).await?;
    full_buckets_of_users_have_blocks_that_have_paid_for_the_count(&env).await
}

/// The names of the blocks of a namespace.
async fn names(env: &TestEnvironment, namespace: &str) -> Result<Vec<String>> {
    let api: Api<PrivateDataBlock> = Api::namespaced(env.client.clone(), namespace);
    let blocks = api.list(&ListParams::default()).await?;
    Ok(blocks
        .into_iter()
        .filter_map(|block| block.metadata.name)
        .collect())
}

async fn wait_for_last_block(env: &TestEnvironment, namespace: &str, name: &str) -> Result<()> {
    env.wait(
        namespace,
        "taxi",
        &format!("{name} is the last block"),
        |dataset: Option<&PrivateDataset>| {
            let last = dataset
                .and_then(|dataset| dataset.status.as_ref())
                .and_then(|status| status.last_block.as_ref());
            last.is_some_and(|last| last.name == name)
        },
    )
    .await
    .map(drop)
}

async fn a_day_has_one_block_whatever_restarts(env: &mut TestEnvironment) -> Result<()> {
    let namespace = "daily";
    env.namespace(namespace).await?;
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |days: i64| Ok::<_, anyhow::Error>(format!("taxi-{}", today.checked_add(days.days())?));
    let from = today.checked_sub(2.days())?.to_string();
    let daily = json!({"daily": {
        "from": from, "ahead": "24h", "lifetime": "30d",
        "dataSource": "s3://lake/{dataset}/{date}", "dimensions": {"day": "{epoch-day}"},
    }});
    let guarantee = json!({"epsilon": "10", "delta": "1e-6"});
    let taxi = dataset("taxi")
        .with("blocks", daily)
        .with("guarantee", guarantee)
        .with("privacyUnit", json!("UserTime"));
    env.create(taxi.within(namespace)).await?;
    wait_for_last_block(env, namespace, &day(1)?).await?;
    let expected = [day(-2)?, day(-1)?, day(0)?, day(1)?];
    ensure!(
        names(env, namespace).await? == expected,
        "{:?}",
        names(env, namespace).await?
    );
    let table = env.cluster.kubectl(["get", "pds", "-n", namespace]).await?;
    ensure!(table.contains("LASTBLOCK") && table.contains(&day(1)?), "{table}");

    // A pod is granted such a block, and told what its budget protects.
    let newest = pod("train")
        .requests("taxi", "1", DELTA)
        .annotation("max-blocks", "1");
    env.create(newest.within(namespace)).await?;
    let pod = env.wait_for_pod_phase(namespace, "train", "Running").await?;
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let grant: Grant = serde_json::from_str(&annotations["privatekube.dev/grant"])?;
    let granted = &grant.claims[0];
    ensure!(
        granted.privacy_unit == Some(privatekube_api::PrivacyUnit::UserTime),
        "{granted:?}"
    );
    let block = &granted.budgets[0].blocks[0];
    ensure!(
        block.data_source.as_deref() == Some(&*format!("s3://lake/taxi/{}", today.tomorrow()?)),
        "{block:?}"
    );

    // Deleted by somebody who doesn't want it, and not made again by another process.
    env.delete::<PrivateDataBlock>(namespace, &day(-1)?).await?;
    env.stop_extender().await?;
    env.start_extender().await?;
    let later = claim("taxi", "later").epsilon("1", DELTA);
    env.create(later.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "later", ClaimPhase::Granted)
        .await?;
    ensure!(names(env, namespace).await? == [day(-2)?, day(0)?, day(1)?]);
    Ok(())
}

async fn full_buckets_of_users_have_blocks_that_have_paid_for_the_count(env: &TestEnvironment) -> Result<()> {
    let namespace = "users";
    env.namespace(namespace).await?;
    let users = |count: u64| {
        json!({"users": {
            "bucketSize": 1000, "count": count,
            "counted": {"budget": {"epsilon": "1", "delta": "0"}, "reason": "the count of users"},
        }})
    };
    let guarantee = json!({"epsilon": "10", "delta": "1e-6"});
    let taxi = dataset("taxi")
        .with("blocks", users(999))
        .with("guarantee", guarantee);
    env.create(taxi.within(namespace)).await?;
    env.change::<PrivateDataset>(namespace, "taxi", json!({"spec": {"blocks": users(2500)}}))
        .await?;
    wait_for_last_block(env, namespace, "taxi-users-1").await?;
    ensure!(names(env, namespace).await? == ["taxi-users-0", "taxi-users-1"]);
    env.wait(
        namespace,
        "taxi-users-0",
        "it has what counting left",
        |block: Option<&PrivateDataBlock>| {
            let table = block
                .and_then(|block| block.status.as_ref())
                .and_then(|status| status.table.as_ref());
            table.is_some_and(|table| {
                table.total.as_deref() == Some("9") && table.guarantee.as_deref() == Some("(10,1e-6)")
            })
        },
    )
    .await?;
    let refused = env
        .change::<PrivateDataset>(namespace, "taxi", json!({"spec": {"blocks": users(2000)}}))
        .await;
    let refused = refused.err().context("the count went back")?.to_string();
    ensure!(refused.contains("the count of users may only grow"), "{refused}");
    Ok(())
}

async fn a_block_is_retired_when_its_time_is_over(env: &TestEnvironment) -> Result<()> {
    let namespace = "retired";
    env.namespace(namespace).await?;
    // After the claims below have arrived, whatever the machine does.
    let retires = Timestamp::now().checked_add(15.seconds())?;
    let old = block("taxi", "old").with("retires", json!(format!("{retires:.0}")));
    env.create_all([dataset("taxi").within(namespace), old.within(namespace)])
        .await?;
    for (name, epsilon, phase) in [
        ("holds", "6", ClaimPhase::Granted),
        ("waits", "5", ClaimPhase::Waiting),
    ] {
        env.create(claim("taxi", name).epsilon(epsilon, DELTA).within(namespace))
            .await?;
        env.wait_for_claim_phase(namespace, name, phase).await?;
    }
    let denied = env
        .wait_for_claim_phase(namespace, "waits", ClaimPhase::Denied)
        .await?;
    let status = denied.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("BlockGone"), "{status:?}");
    env.wait(
        namespace,
        "old",
        "it says that it is retired",
        |block: Option<&PrivateDataBlock>| {
            let conditions = block
                .into_iter()
                .flat_map(|block| &block.status)
                .flat_map(|status| &status.conditions);
            conditions
                .into_iter()
                .any(|ready| ready.reason == "Retired" && ready.status == "False")
        },
    )
    .await?;
    env.wait_for_claim_phase(namespace, "holds", ClaimPhase::Granted)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    ensure!(ledger.block("old").is_some_and(|block| block.retired));
    Ok(())
}
