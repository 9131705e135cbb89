//! The output of `kubectl explain` and `kubectl get`.

use anyhow::{Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::ListParams};
use privatekube_e2e::TestEnvironment;
use serde_json::Value;

use super::{KINDS, prepare};

/// Collects the paths of all fields of a schema that have no description.
fn fields_without_description(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(|text| text.len() < 5) {
            found.push(path.clone());
        }
        fields_without_description(property, &path, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            fields_without_description(&schema[inner], path, found);
        }
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() -> Result<()> {
    let env = TestEnvironment::start().await?;
    let crds = Api::<CustomResourceDefinition>::all(env.client.clone());
    let mut found = Vec::new();
    for crd in crds.list(&ListParams::default()).await? {
        let kind = crd.spec.names.kind.clone();
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            fields_without_description(&serde_json::to_value(schema)?, &kind, &mut found);
        }
    }
    // The API server adds this field, without a description.
    found.retain(|path| !path.ends_with(".metadata"));
    ensure!(found.is_empty(), "{found:?}");
    // This refreshes kubectl's cache of kinds, which `explain` uses for some minutes.
    env.cluster
        .kubectl(["api-resources", "--api-group=privatekube.dev"])
        .await?;
    for (field, words) in [
        ("pbc", "A demand for privacy budget"),
        (
            "pbc.spec.budget.epsilon",
            "Epsilon, above 0, an integer or a decimal in quotes",
        ),
        ("pbc.spec.consume.perBlock.delta", "Delta, a probability"),
        ("pb.status.available.renyi.epsilon", "Epsilon at that order"),
        ("pb.spec.dimensions", "What the portion is"),
        ("pds.spec.claimants.from", "Whose claims are accepted"),
        ("pds.spec.unlocking.arrivals", "Each claim that arrives"),
        ("ple.spec.previous", "The hash of the entry before"),
    ] {
        let message = env
            .cluster
            .kubectl(["explain", field])
            .await?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        ensure!(message.contains(words), "{field}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_get_prints_the_documented_columns_and_accepts_short_names() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env).await?;
    env.cluster
        .kubectl(["wait", "--for=condition=Granted", "pbc/count", "-n", "team"])
        .await?;
    let rows = [
        (
            "pds",
            "NAME POLICY COMPOSITION READY BLOCKS WAITING GRANTED LASTBLOCK AGE",
            "LEDGER MESSAGE",
            "taxi DPF Basic True 1 0 1 ",
        ),
        (
            "pb",
            "NAME READY DATASET GUARANTEE TOTAL AVAILABLE ALLOCATED CONSUMED AGE",
            "LOCKED ORDER DATASOURCE LEDGER MESSAGE",
            "b1 True taxi (10,1e-6) 10 7.5 2.5 0 ",
        ),
        (
            "pbc",
            "NAME DATASET STATUS BLOCKS SHARE REASON AGE",
            "WEIGHT MESSAGE",
            "count taxi Granted 1 0.25 Granted ",
        ),
        (
            "ple",
            "NAME DATASET SEQUENCE WRITER AGE",
            "TIME HASH",
            "taxi-0000000001 taxi 1 extender/",
        ),
    ];
    for (kind, header, wide, row) in rows {
        for (format, header) in [("", header.to_owned()), ("-owide", format!("{header} {wide}"))] {
            let command = ["get", kind, "-n", "team", format];
            let shown = env
                .cluster
                .kubectl(command.iter().filter(|word| !word.is_empty()))
                .await?;
            let mut lines = shown
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            ensure!(lines.next().as_ref() == Some(&header), "{header}:\n{shown}");
            ensure!(
                lines.next().is_some_and(|line| line.starts_with(row)),
                "{row}:\n{shown}"
            );
        }
    }
    let all = env
        .cluster
        .kubectl(["get", "privatekube", "-n", "team", "-o", "name"])
        .await?;
    for name in [
        "privatedataset",
        "privatedatablock",
        "privacybudgetclaim",
        "privacyledgerentry",
    ] {
        ensure!(all.contains(&format!("{name}.privatekube.dev/")), "{all}");
    }
    let resources = env
        .cluster
        .kubectl(["api-resources", "--api-group=privatekube.dev", "--no-headers"])
        .await?;
    ensure!(
        KINDS
            .iter()
            .all(|kind| resources.split_whitespace().any(|word| word == *kind)),
        "{resources}"
    );
    Ok(())
}
