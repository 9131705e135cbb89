//! A program reads its grant where the docs say, however many blocks it is on. The programs really run, with the
//! environment and the files that their pods have.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use privatekube_api::{ANNOTATION_GRANT, Grant, PrivacyBudgetClaim};
use privatekube_cluster::RUN_ANNOTATION;
use privatekube_e2e::{TestEnvironment, block, create_with_retries, dataset, pod, pod_claim_name};
use serde_json::json;

const BLOCKS: usize = 3000;
const MECHANISM: &str = "gaussian(sigma=2000)";

/// Says whether variable and file are the same, how long both are, and how many blocks the file lists; then the variable if
/// it is short.
const PROGRAM: &str = r#"
file="$FAKE_KUBELET_ROOT/var/run/privatekube/grant.json"
printf %s "$PRIVATEKUBE_GRANT" | cmp -s - "$file" && same=same || same=differ
echo "$same ${#PRIVATEKUBE_GRANT} $(wc -c < "$file") $(grep -o '"name":"day-' "$file" | wc -l)"
[ "${#PRIVATEKUBE_GRANT}" -gt 1000 ] || echo "$PRIVATEKUBE_GRANT"
"#;

/// What a program found.
struct Read {
    same: bool,
    variable_bytes: usize,
    file_bytes: usize,
    blocks: usize,
    variable: String,
}

/// What the program of a pod found that has ended.
fn read(pod: &Pod) -> Result<Read> {
    let status = pod.status.as_ref().context("no status")?;
    let container = status.container_statuses.iter().flatten().next();
    let state = container.and_then(|container| container.state.as_ref()?.terminated.as_ref());
    let message = state
        .and_then(|state| state.message.as_deref())
        .context("no message")?;
    let (first, variable) = message.split_once('\n').context("no line")?;
    let words: Vec<&str> = first.split_whitespace().collect();
    let [same, variable_bytes, file_bytes, blocks] = words[..] else {
        anyhow::bail!("the program says {message:?}");
    };
    Ok(Read {
        same: same == "same",
        variable_bytes: variable_bytes.parse()?,
        file_bytes: file_bytes.parse()?,
        blocks: blocks.parse()?,
        variable: variable.to_owned(),
    })
}

/// The pod with so many blocks, after its program has ended well; checks that its grant says how many blocks it has.
async fn run(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    blocks: usize,
) -> Result<(Pod, Read, Grant)> {
    let reader = pod(name)
        .annotation("dataset", "taxi")
        .annotation("mechanism", MECHANISM)
        .annotation("max-blocks", &blocks.to_string())
        .annotation(RUN_ANNOTATION, "true")
        .with(
            "containers",
            json!([{"name": "main", "image": "train:1", "command": ["sh", "-c", PROGRAM]}]),
        );
    env.create(reader.within(namespace)).await?;
    let reader = env.wait_for_pod_phase(namespace, name, "Succeeded").await?;
    let found = read(&reader)?;
    let grant: Grant = serde_json::from_str(reader.annotations().get(ANNOTATION_GRANT).context("no grant")?)?;
    let [granted] = grant.claims.as_slice() else {
        anyhow::bail!("{grant:?}");
    };
    ensure!(granted.block_count == blocks as u64, "{}", granted.block_count);
    let requested = serde_json::to_value(&granted.requested)?;
    ensure!(requested == json!({"mechanism": MECHANISM}), "{requested}");
    println!(
        "{blocks} blocks: variable {} bytes, file {} bytes",
        found.variable_bytes, found.file_bytes
    );
    Ok((reader, found, grant))
}

#[tokio::test]
async fn a_program_finds_its_grant_however_many_blocks_it_has() -> Result<()> {
    let env = TestEnvironment::start().await?;
    let namespace = "grants";
    env.namespace(namespace).await?;
    let rules = dataset("taxi").with("composition", json!("Renyi"));
    env.create(rules.within(namespace)).await?;
    let blocks = (0..BLOCKS).map(|day| {
        let name = format!("day-{day:05}");
        block("taxi", &name)
            .with("dataSource", json!(format!("s3://lake/taxi/raw/by-day/{name}")))
            .dimension("day", day)
            .dimension("city", "nyc")
            .within(namespace)
    });
    let client = &env.client;
    stream::iter(blocks)
        .map(Ok)
        .try_for_each_concurrent(16, |block| create_with_retries(client, block))
        .await?;

    for (name, blocks) in [("one", 1), ("year", 365)] {
        let (_, found, _) = run(&env, namespace, name, blocks).await?;
        ensure!(found.same, "{name}: variable and file differ");
        ensure!(found.blocks == blocks, "{name}: {} blocks", found.blocks);
    }

    let (_, found, _) = run(&env, namespace, "decade", 1000).await?;
    ensure!(!found.same && found.blocks == 1000, "{} blocks", found.blocks);
    let variable = r#"{"version":1,"file":"/var/run/privatekube/grant.json"}"#;
    ensure!(found.variable.trim() == variable, "{}", found.variable);

    let (reader, found, grant) = run(&env, namespace, "all", BLOCKS).await?;
    ensure!(found.same && found.blocks == 0, "{} blocks", found.blocks);
    let from = grant.claims.first().and_then(|claim| claim.blocks_from.clone());
    let from = from.context("the grant refers to nothing")?;
    ensure!(
        (from.namespace.as_str(), from.name == pod_claim_name(&reader)) == (namespace, true),
        "{from:?}"
    );
    let object = env
        .api::<PrivacyBudgetClaim>(&from.namespace)
        .get(&from.name)
        .await?;
    let listed = object.status.context("no status")?.blocks;
    ensure!(listed.len() == BLOCKS, "{} blocks", listed.len());
    ensure!(listed.iter().all(|block| block.data_source.is_some()));

    // The bound pods can be changed.
    let label = json!({"metadata": {"labels": {"checked": "true"}}});
    for name in ["one", "year", "decade", "all"] {
        env.change::<Pod>(namespace, name, label.clone()).await?;
    }
    Ok(())
}
