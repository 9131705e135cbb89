//! The limits on the claims of a namespace.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_api::ClaimPhase;
use privatekube_cluster::ExtenderOptions;
use privatekube_e2e::{TestEnvironment, claim, create_as, eventually, pod, refused};

use super::{DELTA, prepare};

#[tokio::test]
async fn what_a_namespace_claims_beyond_its_limits_is_refused_until_later() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    env.stop_extender().await?;
    let options = ExtenderOptions {
        arguments: ["--namespace-most-waiting=2", "--namespace-most-arrivals=4"]
            .map(Into::into)
            .into(),
        ..ExtenderOptions::default()
    };
    env.extender = Some(env.cluster.start_extender_with(&options).await?);
    // By itself, this client repeats what is answered with 429, for as long as it takes.
    let kubeconfig = Kubeconfig::read_from(env.cluster.kubeconfig())?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    // More than the one block of the dataset: these wait.
    let waits = |name: &str| {
        pod(name)
            .requests("basic", "1", DELTA)
            .annotation("min-blocks", "2")
            .within("team")
    };
    for name in ["first", "second"] {
        create_as(&client, waits(name)).await?;
        env.wait_for_pod_claim_phase("team", name, ClaimPhase::Waiting)
            .await?;
    }
    let refusal = refused(
        create_as(&client, waits("third")).await,
        &["PrivateKube: 2 claims of namespace team wait for budget of dataset team/basic"],
    )?;
    ensure!(refusal.code == 429, "{refusal:?}");

    // Claims on another dataset are counted apart. Dry runs don't count.
    let on_renyi = |name: &str| claim("renyi", name).epsilon("0.01", DELTA).within("team");
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let probe: Pod = serde_json::from_value(pod("probe").requests("renyi", "0.01", DELTA).within("team"))?;
    for number in 0..4 {
        env.api::<Pod>("team").create(&dry, &probe).await?;
        let name = format!("claim-{number}");
        create_as(&client, on_renyi(&name)).await?;
        env.wait_for_claim_phase("team", &name, ClaimPhase::Granted)
            .await?;
    }
    let refusal = refused(
        create_as(&client, on_renyi("one-more")).await,
        &[
            "PrivateKube: 4 claims of namespace team on dataset team/renyi",
            "try again in",
        ],
    )?;
    ensure!(refusal.code == 429, "{refusal:?}");

    // Once a claim has ended, another one may wait.
    env.delete::<Pod>("team", "first").await?;
    env.wait("team", "first", "gone", |pod: Option<&Pod>| pod.is_none())
        .await?;
    eventually("a third claim may wait", async || {
        Ok(create_as(&client, waits("third"))
            .await
            .map(drop)
            .map_err(|error| error.to_string()))
    })
    .await?;
    for limit in ["waiting", "arrivals"] {
        let series = format!("privatekube_claims_limited_total{{limit=\"{limit}\"}}");
        ensure!(env.extender_count(&series).await? >= 1, "{series}");
    }
    Ok(())
}
