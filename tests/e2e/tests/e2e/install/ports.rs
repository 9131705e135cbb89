//! The extender's ports: health, metrics, and which clients are answered over TLS.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_e2e::{TestEnvironment, pod};
use serde_json::{Value, json};

use super::{DELTA, folder, prepare};

/// A client of one of the extender's TLS ports, which trusts `authority`. `own` names the client's
/// certificate and key in the folder of the extender's certificates.
async fn tls_client(
    env: &TestEnvironment,
    port: u16,
    authority: PathBuf,
    own: Option<&str>,
) -> Result<Client> {
    let tls = &env.cluster.description().tls_dir;
    let mut user = json!({});
    if let Some(own) = own {
        user["client-certificate"] = json!(tls.join(format!("{own}.crt")));
        user["client-key"] = json!(tls.join(format!("{own}.key")));
    }
    let server = json!({"server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority});
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Sends POST with a JSON body.
async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

#[tokio::test]
async fn the_extender_is_healthy_exposes_the_documented_metrics_and_answers_only_known_clients() -> Result<()>
{
    let env = TestEnvironment::start().await?;
    prepare(&env).await?;
    env.create(pod("train").requests("taxi", "1", DELTA).within("team"))
        .await?;
    env.wait_for_pod_phase("team", "train", "Running").await?;

    let deployment = fs::read_to_string(folder("manifests/deployment.yaml"))?;
    let probed = deployment
        .lines()
        .filter_map(|line| line.split_once("httpGet: {path: ")?.1.split_once(','));
    let probed: BTreeSet<&str> = probed
        .map(|(path, _)| path)
        .chain(["/healthz", "/readyz"])
        .collect();
    for path in probed {
        let (code, text) = env.health(path).await?;
        ensure!((code, text.as_str()) == (200, "ok\n"), "{path}: {code} {text}");
    }

    let (_, text) = env.health("/metrics").await?;
    let helped: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
        .filter(|(_, help)| help.ends_with('.') && help.len() > 5)
        .map(|(name, _)| name)
        .collect();
    let measured: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    ensure!(
        measured == helped,
        "without help: {:?}",
        measured.difference(&helped)
    );
    // Some metrics have no series until what they count happens.
    let page = fs::read_to_string(folder("docs/metrics.md"))?;
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let undocumented: Vec<&&str> = measured.difference(&documented).collect();
    ensure!(undocumented.is_empty(), "{undocumented:?}");
    let alerts = fs::read_to_string(folder("docs/operations.md"))?;
    let named = alerts
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("privatekube_") && !word.starts_with("privatekube_extender"));
    let unknown: Vec<&str> = named.filter(|name| !documented.contains(name)).collect();
    ensure!(unknown.is_empty(), "{unknown:?}");

    let ports = env.cluster.description().extender_ports;
    let (tls, dir) = (&env.cluster.description().tls_dir, &env.cluster.description().dir);
    let (ours, others) = (tls.join("ca.crt"), dir.join("certs/ca.crt"));
    ensure!(others.exists(), "{}", others.display());
    let pod = json!({"Pod": {"metadata": {"name": "x", "namespace": "team"}}, "NodeNames": ["n"]});
    let known = tls_client(&env, ports.scheduler, ours.clone(), Some("scheduler")).await?;
    let answer = post(&known, "/scheduler/filter", &pod).await?;
    ensure!(answer["NodeNames"] == json!([]), "{answer}");
    // The scheduler's port answers no client without a certificate, and none with a server's certificate.
    for own in [None, Some("server")] {
        let stranger = tls_client(&env, ports.scheduler, ours.clone(), own).await?;
        let answer = post(&stranger, "/scheduler/filter", &pod).await;
        ensure!(
            matches!(answer, Err(kube::Error::HyperError(_) | kube::Error::Service(_))),
            "{own:?}: {answer:?}"
        );
    }
    // Both ports have a certificate of the extender's authority, which a client of another authority doesn't
    // trust.
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let server = tls_client(&env, ports.webhook, ours, None).await?;
    let answer = post(&server, "/webhook/pods", &review).await?;
    ensure!(answer["response"]["allowed"] == json!(false), "{answer}");
    for port in [ports.webhook, ports.scheduler] {
        let deceived = tls_client(&env, port, others.clone(), Some("scheduler")).await?;
        let answer = post(&deceived, "/webhook/pods", &review).await;
        ensure!(
            matches!(answer, Err(kube::Error::Service(_) | kube::Error::HyperError(_))),
            "{answer:?}"
        );
    }
    Ok(())
}
