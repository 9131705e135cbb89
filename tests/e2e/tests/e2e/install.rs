//! What is installed: applied again it changes nothing, it says what it is, it may do what it needs and no more, and
//! it listens to whom it should.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
        },
        authorization::v1::{
            ResourceAttributes, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
            SubjectAccessReviewSpec,
        },
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_api::ClaimPhase;
use privatekube_cluster::{ExtenderOptions, Part, User};
use privatekube_e2e::{World, block, claim, dataset, eventually, manifests, pod};
use serde_json::{Value, json};

const DELTA: &str = "1e-9";
const KINDS: [&str; 4] = ["pds", "pb", "pbc", "ple"];

/// A folder of the project.
fn folder(path: &str) -> PathBuf {
    manifests().join("../..").join(path)
}

/// A namespace with a dataset, a block and a granted claim, so that there is something to see.
async fn prepared(world: &World) -> Result<()> {
    world.namespace("team").await?;
    let data = block("taxi", "b1")
        .with("dataSource", json!("s3://lake/taxi"))
        .within("team");
    world.create_all([dataset("taxi").within("team"), data]).await?;
    world
        .create(claim("taxi", "count").epsilon("2.5", DELTA).within("team"))
        .await?;
    world.claim_phase("team", "count", ClaimPhase::Granted).await?;
    world.block_shows("team", "b1", ("7.5", "2.5", "0")).await
}

/// Where the API server finds each of the webhooks.
async fn webhooks(client: &Client) -> Result<Vec<WebhookClientConfig>> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone())
        .get("privatekube-extender")
        .await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone())
        .get("privatekube-extender")
        .await?;
    let mutating = mutating
        .webhooks
        .into_iter()
        .flatten()
        .map(|webhook| webhook.client_config);
    Ok(mutating
        .chain(
            validating
                .webhooks
                .into_iter()
                .flatten()
                .map(|webhook| webhook.client_config),
        )
        .collect())
}

/// Each installed object and its version.
async fn versions(world: &World) -> Result<String> {
    let kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,namespace,\
        validatingadmissionpolicy,validatingadmissionpolicybinding,\
        mutatingwebhookconfiguration,validatingwebhookconfiguration";
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion";
    let label = "--selector=app.kubernetes.io/part-of=privatekube";
    world
        .cluster
        .kubectl(["get", kinds, "--all-namespaces", label, "-o", columns])
        .await
}

#[tokio::test]
async fn applied_again_the_manifests_change_nothing_and_the_extender_keeps_its_webhooks() -> Result<()> {
    let mut world = World::start().await?;
    let base = manifests();
    let base = base.to_str().context("a path")?;
    // As in a cluster that the extender runs in.
    world.stop_extender().await?;
    world.cluster.install(&manifests()).await?;
    let options = ExtenderOptions {
        by_service: true,
        ..ExtenderOptions::default()
    };
    world.extender = Some(world.cluster.start_extender_with(&options).await?);
    let authority = fs::read(world.cluster.description().tls_dir.join("ca.crt"))?;
    let right = |config: &WebhookClientConfig| {
        config.service.is_some()
            && config
                .ca_bundle
                .as_ref()
                .is_some_and(|bundle| bundle.0 == authority)
    };
    let configs = webhooks(&world.client).await?;
    ensure!(configs.len() == 5 && configs.iter().all(right), "{configs:?}");

    let before = versions(&world).await?;
    ensure!(before.lines().count() > 20, "{before}");
    world
        .cluster
        .kubectl(["apply", "--server-side", "-k", base])
        .await?;
    let after = versions(&world).await?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    // And so for those who apply in the older way.
    for _ in 0..2 {
        world.cluster.kubectl(["apply", "-k", base]).await?;
        ensure!(webhooks(&world.client).await?.iter().all(right));
    }
    // The whole of it is understood, the Deployment too.
    let all = folder("manifests");
    let all = all.to_str().context("a path")?;
    let told = world.cluster.kubectl([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-k",
        all,
    ]);
    let told = told.await?;
    for part in [
        "deployment.apps/privatekube-extender",
        "service/privatekube-extender",
    ] {
        ensure!(told.contains(part), "{told}");
    }
    let example = folder("examples/second-scheduler");
    let example = example.to_str().context("a path")?;
    world
        .cluster
        .kubectl([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-k",
            example,
        ])
        .await?;

    // Whoever takes the authority away finds it there again.
    let empty = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let patch: json_patch::Patch = serde_json::from_value(empty)?;
    let api: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let params = PatchParams::default();
    let patched = api
        .patch("privatekube-extender", &params, &Patch::<Value>::Json(patch))
        .await?;
    let first = patched
        .webhooks
        .into_iter()
        .flatten()
        .next()
        .context("no webhook")?;
    ensure!(!right(&first.client_config));
    eventually("the extender writes its authority again", async || {
        Ok(webhooks(&world.client).await?.iter().all(right).then_some(()))
    })
    .await
}

/// Every property of a schema says what it is; where one doesn't, its path.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(|text| text.len() < 5) {
            found.push(path.clone());
        }
        undescribed(property, &path, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            undescribed(&schema[inner], path, found);
        }
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() -> Result<()> {
    let world = World::start().await?;
    let crds = Api::<CustomResourceDefinition>::all(world.client.clone());
    let mut found = Vec::new();
    for crd in crds.list(&ListParams::default()).await? {
        let kind = crd.spec.names.kind.clone();
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            undescribed(&serde_json::to_value(schema)?, &kind, &mut found);
        }
    }
    // Every Kubernetes object has them, and no text for them.
    found.retain(|path| !path.ends_with(".metadata"));
    ensure!(found.is_empty(), "{found:?}");
    // It looks anew which kinds there are, where explain believes what it saw some minutes ago.
    world
        .cluster
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
        ("pds.spec.unlocking.arrivals", "Each claim that arrives"),
        ("ple.spec.previous", "The hash of the entry before"),
    ] {
        let told = world
            .cluster
            .kubectl(["explain", field])
            .await?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        ensure!(told.contains(words), "{field}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_shows_the_columns_that_are_documented_by_short_names_too() -> Result<()> {
    let world = World::start().await?;
    prepared(&world).await?;
    world
        .cluster
        .kubectl(["wait", "--for=condition=Granted", "pbc/count", "-n", "team"])
        .await?;
    let rows = [
        (
            "pds",
            "NAME POLICY COMPOSITION READY BLOCKS WAITING GRANTED AGE",
            "LEDGER",
            "taxi DPF Basic True 1 0 1 ",
        ),
        (
            "pb",
            "NAME DATASET TOTAL AVAILABLE ALLOCATED CONSUMED AGE",
            "LOCKED ORDER DATASOURCE LEDGER",
            "b1 taxi 10 7.5 2.5 0 ",
        ),
        (
            "pbc",
            "NAME DATASET STATUS BLOCKS SHARE REASON AGE",
            "WEIGHT MESSAGE",
            "count taxi Granted 1 0.2500 Granted ",
        ),
        (
            "ple",
            "NAME DATASET SEQUENCE TIME WRITER AGE",
            "HASH",
            "taxi-0000000001 taxi 1 20",
        ),
    ];
    for (kind, header, wide, row) in rows {
        for (format, header) in [("", header.to_owned()), ("-owide", format!("{header} {wide}"))] {
            let command = ["get", kind, "-n", "team", format];
            let shown = world
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
    let all = world
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
    let resources = world
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

/// All that a user may do in a namespace with resources, as lines of `verb group/resource[names]`.
async fn rights(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let spec = SelfSubjectRulesReviewSpec {
        namespace: Some(namespace.to_owned()),
    };
    let review = SelfSubjectRulesReview {
        spec,
        ..SelfSubjectRulesReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    let rules = answer.status.context("no status")?.resource_rules;
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names = rule.resource_names.unwrap_or_default().join(",");
        for group in rule.api_groups.iter().flatten() {
            // What everybody may ask about themselves.
            if ["authorization.k8s.io", "authentication.k8s.io"].contains(&group.as_str()) {
                continue;
            }
            for resource in rule.resources.iter().flatten() {
                rights.extend(
                    rule.verbs
                        .iter()
                        .map(|verb| format!("{verb} {group}/{resource}[{names}]")),
                );
            }
        }
    }
    Ok(rights)
}

fn lines(rules: &[(&[&str], &str)]) -> BTreeSet<String> {
    let rules = rules.iter();
    rules
        .flat_map(|(verbs, what)| verbs.iter().map(move |verb| format!("{verb} {what}")))
        .collect()
}

/// Whether somebody may do something in the namespace `team`.
async fn may(world: &World, user: &str, verb: &str, group: &str, resource: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = ResourceAttributes {
        namespace: Some("team".to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(world.client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(answer.status.context("no status")?.allowed)
}

#[tokio::test]
async fn the_extender_may_do_what_it_needs_and_no_more() -> Result<()> {
    let world = World::start().await?;
    world.namespace("team").await?;
    let extender = world.client_as(User::Extender).await?;
    let mut expected = lines(&[
        (&["get", "list", "watch", "patch", "delete"], "/pods[]"),
        (&["create"], "/pods/binding[]"),
        (&["create", "patch"], "/events[]"),
        (&["create", "patch"], "events.k8s.io/events[]"),
        (&["get", "list", "watch"], "privatekube.dev/privatedatasets[]"),
        (&["get", "list", "watch"], "privatekube.dev/privatedatablocks[]"),
        (
            &["get", "list", "watch", "create", "delete"],
            "privatekube.dev/privacybudgetclaims[]",
        ),
        (
            &["get", "patch", "update"],
            "privatekube.dev/privatedatasets/status[]",
        ),
        (
            &["get", "patch", "update"],
            "privatekube.dev/privatedatablocks/status[]",
        ),
        (
            &["get", "patch", "update"],
            "privatekube.dev/privacybudgetclaims/status[]",
        ),
        // Its ledgers go with their namespaces.
        (&["get"], "/namespaces[]"),
        // Appended to, never changed and never removed from: not even by its writer.
        (
            &["get", "list", "watch", "create"],
            "privatekube.dev/privacyledgerentries[]",
        ),
        (
            &["get", "list", "watch", "patch"],
            "admissionregistration.k8s.io/mutatingwebhookconfigurations[privatekube-extender]",
        ),
        (
            &["get", "list", "watch", "patch"],
            "admissionregistration.k8s.io/validatingwebhookconfigurations[privatekube-extender]",
        ),
    ]);
    let found = rights(&extender, "team").await?;
    ensure!(found == expected, "{:?}", found.symmetric_difference(&expected));
    let leases: &[&str] = &["get", "list", "watch", "create", "update", "patch"];
    expected.extend(lines(&[(leases, "coordination.k8s.io/leases[]")]));
    let found = rights(&extender, "privatekube-system").await?;
    ensure!(found == expected, "{:?}", found.symmetric_difference(&expected));
    ensure!(!may(&world, User::Extender.name(), "get", "", "secrets").await?);
    Ok(())
}

#[tokio::test]
async fn people_may_do_what_their_roles_say() -> Result<()> {
    let world = World::start().await?;
    world.namespace("team").await?;
    for (user, role) in [
        ("viewer", "view"),
        ("owner", "privatekube-data-owner"),
        ("chief", "admin"),
    ] {
        world.create_all([bound(user, role)]).await?;
    }
    let group = "privatekube.dev";
    let tenant = User::Tenant.name();
    eventually("the cluster's roles are put together", async || {
        let all = [
            ("viewer", "get", "privacyledgerentries"),
            (tenant, "create", "privacybudgetclaims"),
        ];
        for (user, verb, resource) in all {
            if !may(&world, user, verb, group, resource).await? {
                return Ok(None);
            }
        }
        Ok(may(&world, "chief", "delete", group, "privacybudgetclaims")
            .await?
            .then_some(()))
    })
    .await?;
    let resources = [
        "privatedatasets",
        "privatedatablocks",
        "privacybudgetclaims",
        "privacyledgerentries",
    ];
    for resource in resources {
        for (user, writes) in [
            ("viewer", false),
            (tenant, resource == "privacybudgetclaims"),
            ("chief", resource == "privacybudgetclaims"),
            ("owner", resource.starts_with("privatedata")),
        ] {
            for verb in ["get", "list", "watch"] {
                ensure!(
                    may(&world, user, verb, group, resource).await?,
                    "{user} may not {verb} {resource}"
                );
            }
            for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                let allowed = may(&world, user, verb, group, resource).await?;
                ensure!(allowed == writes, "{user} {verb} {resource}: {allowed}");
            }
            let status = format!("{resource}/status");
            ensure!(
                !may(&world, user, "patch", group, &status).await?,
                "{user} may patch {status}"
            );
        }
        ensure!(!may(&world, "nobody", "get", group, resource).await?);
    }
    Ok(())
}

/// Gives a user a role in the namespace `team`.
fn bound(user: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": "team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

/// A client of a TLS port of ours: which authority it believes, and which certificate it has, as files of the
/// extender's folder.
async fn tls_client(world: &World, port: u16, authority: PathBuf, own: Option<&str>) -> Result<Client> {
    let tls = &world.cluster.description().tls_dir;
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

/// POST of JSON.
async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

#[tokio::test]
async fn the_extender_is_healthy_measures_what_is_documented_and_answers_only_whom_it_knows() -> Result<()> {
    let world = World::start().await?;
    prepared(&world).await?;
    world
        .create(pod("train").asks("taxi", "1", DELTA).within("team"))
        .await?;
    world.pod_phase("team", "train", "Running").await?;

    let deployment = fs::read_to_string(folder("manifests/deployment.yaml"))?;
    let probed = deployment
        .lines()
        .filter_map(|line| line.split_once("httpGet: {path: ")?.1.split_once(','));
    let probed: BTreeSet<&str> = probed
        .map(|(path, _)| path)
        .chain(["/healthz", "/readyz"])
        .collect();
    for path in probed {
        let (code, text) = world.health(path).await?;
        ensure!((code, text.as_str()) == (200, "ok\n"), "{path}: {code} {text}");
    }

    let (_, text) = world.health("/metrics").await?;
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
    let page = fs::read_to_string(folder("docs/operations.md"))?;
    let documented: BTreeSet<&str> = page
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("privatekube_") && !word.starts_with("privatekube_extender"))
        .collect();
    ensure!(
        documented == measured,
        "{:?}",
        documented.symmetric_difference(&measured)
    );

    let ports = world.cluster.description().extender_ports;
    let (tls, dir) = (
        &world.cluster.description().tls_dir,
        &world.cluster.description().dir,
    );
    let (ours, others) = (tls.join("ca.crt"), dir.join("certs/ca.crt"));
    ensure!(others.exists(), "{}", others.display());
    let pod = json!({"Pod": {"metadata": {"name": "x", "namespace": "team"}}, "NodeNames": ["n"]});
    let known = tls_client(&world, ports.scheduler, ours.clone(), Some("scheduler")).await?;
    let answer = post(&known, "/scheduler/filter", &pod).await?;
    ensure!(answer["NodeNames"] == json!([]), "{answer}");
    // Not without a certificate, not with one that is for something else.
    for own in [None, Some("server")] {
        let stranger = tls_client(&world, ports.scheduler, ours.clone(), own).await?;
        let answer = post(&stranger, "/scheduler/filter", &pod).await;
        ensure!(
            matches!(answer, Err(kube::Error::HyperError(_) | kube::Error::Service(_))),
            "{own:?}: {answer:?}"
        );
    }
    // Both ports show a certificate of our authority, and of no other.
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let server = tls_client(&world, ports.webhook, ours, None).await?;
    let answer = post(&server, "/webhook/pods", &review).await?;
    ensure!(answer["response"]["allowed"] == json!(false), "{answer}");
    for port in [ports.webhook, ports.scheduler] {
        let deceived = tls_client(&world, port, others.clone(), Some("scheduler")).await?;
        let answer = post(&deceived, "/webhook/pods", &review).await;
        ensure!(
            matches!(answer, Err(kube::Error::Service(_) | kube::Error::HyperError(_))),
            "{answer:?}"
        );
    }
    Ok(())
}

/// A scheduler's configuration as far as it is ours, and without what differs from machine to machine.
fn substance(config: &Value) -> Result<Value> {
    let Some([extender]) = config["extenders"].as_array().map(Vec::as_slice) else {
        bail!("not one extender: {config}")
    };
    let mut extender = extender.clone();
    let path = extender["urlPrefix"]
        .as_str()
        .and_then(|url| url.splitn(4, '/').nth(3))
        .map(str::to_owned);
    let scheme = extender["urlPrefix"]
        .as_str()
        .and_then(|url| url.split(':').next())
        .map(str::to_owned);
    extender["urlPrefix"] = json!([scheme, path]);
    for file in ["caFile", "certFile", "keyFile"] {
        let name = extender["tlsConfig"][file]
            .as_str()
            .and_then(|path| path.rsplit('/').next())
            .map(str::to_owned);
        extender["tlsConfig"][file] = json!(name);
    }
    Ok(extender)
}

#[tokio::test]
async fn the_documented_scheduler_configurations_are_what_the_tested_scheduler_runs_with() -> Result<()> {
    let world = World::start().await?;
    let tested = world
        .cluster
        .description()
        .dir
        .join(format!("{}-config.json", Part::KubeScheduler));
    let tested: Value = serde_json::from_slice(&fs::read(tested)?)?;
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(folder(
        "manifests/scheduler/kube-scheduler-config.yaml",
    ))?)?;
    let example = folder("examples/second-scheduler");
    let example = world
        .cluster
        .kubectl(["kustomize", example.to_str().context("a path")?])
        .await?;
    let mut second = None;
    for document in serde_saphyr::from_multiple::<Value>(&example)? {
        if let Some(text) = document["data"]["scheduler.yaml"].as_str() {
            second = Some(serde_saphyr::from_str::<Value>(text)?);
        }
    }
    let expected = substance(&tested)?;
    for (what, config) in [
        ("manifests", manifest),
        ("examples", second.context("no configuration")?),
    ] {
        ensure!(
            config["apiVersion"] == tested["apiVersion"] && config["kind"] == tested["kind"],
            "{what}"
        );
        let found = substance(&config)?;
        ensure!(found == expected, "{what}: {found}\ntested: {expected}");
    }
    ensure!(expected["ignorable"] == json!(false) && expected["tlsConfig"]["caFile"] == json!("ca.crt"));
    Ok(())
}
