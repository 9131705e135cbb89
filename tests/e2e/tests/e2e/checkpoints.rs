//! Checkpoints of a ledger: a start reads them, old entries are deleted, nobody else writes one, and nothing of what was
//! consumed is lost.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use privatekube_api::{DatasetKey, PrivacyLedgerCheckpoint, PrivacyLedgerEntry, entry_name};
use privatekube_cluster::{ExtenderOptions, User};
use privatekube_e2e::{TestEnvironment, block, create_as, dataset, eventually, pod};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Replay, Store};
use privatekube_policy::BlockId;
use serde_json::{Value, json};

use crate::workload::DATA;

const DATASET: &str = "taxi";
const BLOCK: &str = "first";

/// An extender that publishes a checkpoint every few entries, and deletes entries that are a second old.
async fn start_extender(env: &mut TestEnvironment) -> Result<()> {
    let options = ExtenderOptions {
        arguments: ["--checkpoint-every=4", "--keep-entries=1s"]
            .map(Into::into)
            .to_vec(),
        ..ExtenderOptions::default()
    };
    env.extender = Some(env.cluster.start_extender_with(&options).await?);
    Ok(())
}

/// Makes pods that request epsilon 1 each, one after the other, and waits until each has a node.
async fn run_pods(env: &TestEnvironment, names: &[&str]) -> Result<()> {
    for name in names {
        env.create(pod(name).requests(DATASET, "1", "0").within(DATA))
            .await?;
        let bound = |pod: Option<&Pod>| {
            let spec = pod.and_then(|pod| pod.spec.as_ref());
            spec.is_some_and(|spec| spec.node_name.is_some())
        };
        env.wait(DATA, name, "on a node", bound).await?;
    }
    Ok(())
}

fn store(env: &TestEnvironment) -> KubernetesStore {
    let key = DatasetKey {
        namespace: DATA.to_owned(),
        name: DATASET.to_owned(),
    };
    KubernetesStore::new(env.client.clone(), key)
}

/// What is consumed of the block, in hundredths of its capacity.
fn consumed(replay: &Replay) -> Result<i128> {
    let engine = replay.engine().context("no entries")?;
    let block = engine.block(&BlockId::from(BLOCK)).context("no block")?;
    Ok(block.consumed[0] * 100 / i128::from(block.capacity.units()[0]))
}

#[tokio::test]
async fn a_compacted_ledger_keeps_what_was_consumed_over_kills() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    env.stop_extender().await?;
    env.cluster
        .kubectl([
            "apply",
            "-f",
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../manifests/retention/rights.yaml"
            ),
        ])
        .await?;
    start_extender(&mut env).await?;
    env.namespace(DATA).await?;
    env.create_all([dataset(DATASET).within(DATA), block(DATASET, BLOCK).within(DATA)])
        .await?;
    run_pods(&env, &["a", "b", "c"]).await?;

    // A checkpoint is published, and the first entries go.
    let store = store(&env);
    let entries: Api<PrivacyLedgerEntry> = env.api(DATA);
    let first_is_gone = async || {
        let first = entries.get_opt(&entry_name(DATASET, 1)).await?;
        Ok(first.map_or(Ok(()), |_| Err("the first entry is still there".to_owned())))
    };
    eventually("the first entry is deleted", first_is_gone).await?;
    let checkpoint = store.checkpoint().await?.context("no checkpoint")?;
    ensure!(checkpoint.head.sequence >= 4, "{checkpoint:?}");
    ensure!(
        store.read(checkpoint.head.sequence).await?.is_some(),
        "its entry is gone"
    );

    // A killed extender starts from it.
    env.kill_extender().await?;
    start_extender(&mut env).await?;
    run_pods(&env, &["d", "e", "f"]).await?;
    let replay = Replay::read(&store).await?;
    ensure!(
        replay.base().is_some(),
        "the ledger was read from its first entry"
    );
    ensure!(consumed(&replay)? == 60, "{}", consumed(&replay)?);

    // Pods that are gone are forgotten, and what they consumed stays consumed.
    for name in ["a", "b", "c"] {
        env.delete::<Pod>(DATA, name).await?;
    }
    run_pods(&env, &["g", "h", "i"]).await?;
    let replay = Replay::read(&store).await?;
    ensure!(consumed(&replay)? == 90, "{}", consumed(&replay)?);
    // 9 of 10 are consumed: 2 can never be granted.
    env.create(pod("late").requests(DATASET, "2", "0").within(DATA))
        .await?;
    let denied = async || {
        let replay = Replay::read(&store).await?;
        let engine = replay.engine().context("no entries")?;
        let is_denied = engine.claims().any(|claim| {
            claim.as_str().contains("/late/")
                && engine.phase(claim) == Some(privatekube_policy::Phase::Denied)
        });
        Ok(if is_denied {
            Ok(())
        } else {
            Err("it isn't denied".to_owned())
        })
    };
    eventually("the pod that demands too much is denied", denied).await
}

#[tokio::test]
async fn only_the_extender_writes_checkpoints_and_none_goes_back() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    env.stop_extender().await?;
    start_extender(&mut env).await?;
    env.namespace(DATA).await?;
    env.create_all([dataset(DATASET).within(DATA), block(DATASET, BLOCK).within(DATA)])
        .await?;
    run_pods(&env, &["a", "b"]).await?;
    let store = store(&env);
    let published = async || {
        Ok(store
            .checkpoint()
            .await?
            .map(drop)
            .ok_or_else(|| "there is none".to_owned()))
    };
    eventually("a checkpoint is published", published).await?;
    // It stays as it is from here on.
    env.stop_extender().await?;

    let forged = json!({
        "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivacyLedgerCheckpoint",
        "metadata": {"namespace": DATA, "name": "other"},
        "spec": {"dataset": "other", "version": 1, "sequence": 9, "hash": "0", "digest": "0", "pieces": 1,
            "time": "2026-01-01T00:00:00.000000Z", "timeMicros": 0},
    });
    let refusal = env.refusal(forged.clone()).await?;
    ensure!(
        refusal.contains("only the service account privatekube-extender"),
        "{refusal}"
    );
    let change: Result<PrivacyLedgerCheckpoint, _> = env
        .change(DATA, DATASET, json!({"spec": {"sequence": 1_000_000}}))
        .await;
    let refusal = change.err().context("it was changed")?.to_string();
    ensure!(
        refusal.contains("only the service account privatekube-extender"),
        "{refusal}"
    );

    // Not even the extender replaces it by an earlier one, or writes one of another namespace of this name.
    let extender = env.client_as(User::Extender).await?;
    let api: Api<PrivacyLedgerCheckpoint> = Api::namespaced(extender.clone(), DATA);
    let mut earlier = api.get(DATASET).await?;
    earlier.spec.sequence -= 1;
    let refusal = api.replace(DATASET, &PostParams::default(), &earlier).await;
    let refusal = refusal.err().context("it went back")?.to_string();
    ensure!(
        refusal.contains("an earlier checkpoint never replaces a later one"),
        "{refusal}"
    );
    let mut elsewhere: Value = forged;
    elsewhere["spec"]["namespaceUid"] = json!("another");
    let refusal = create_as(&extender, elsewhere)
        .await
        .err()
        .context("it was created")?
        .to_string();
    ensure!(
        refusal.contains("for another namespace of this name"),
        "{refusal}"
    );
    Ok(())
}
