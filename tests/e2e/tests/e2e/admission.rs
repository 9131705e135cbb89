//! What is wrong is refused when it is written, with what would be right; what is right is taken.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivacyLedgerEntry, PrivateDataBlock, PrivateDataset};
use privatekube_cluster::User;
use privatekube_e2e::{ClaimBuilder, World, block, claim, create_as, dataset, inline_claim, pod, refused};
use serde_json::{Value, json};

const DELTA: &str = "1e-9";
const ONE_OF_THREE: &str = "give exactly one of: epsilon and delta, mechanism, renyi";
const ONE_OF_TWO: &str = "give exactly one of: epsilon and delta, renyi";
const DIMENSION: &str = "the name of a dimension is at most 63 letters";
const UNLOCKING: &str = "give exactly one of arrivals, lifetime and immediate";

/// A namespace with two datasets, `basic` and `renyi`, each with a block of the same dimensions, and one without
/// blocks.
async fn prepared(world: &World, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    let day = |dataset: &str| {
        let block = block(dataset, &format!("{dataset}-day")).budget("10", "1e-6");
        block
            .dimension("startTime", 20_778)
            .dimension("city", "nyc")
            .within(namespace)
    };
    world
        .create_all([
            dataset("basic").within(namespace),
            dataset("renyi").renyi(&["2", "4", "8"]).within(namespace),
            day("basic"),
            day("renyi"),
        ])
        .await
}

/// A pod that asks for what is right, with annotations put in its place (or taken away).
fn asking(name: &str, dataset: &str, change: &[(&str, Option<&str>)]) -> Value {
    let mut pod = pod(name).asks(dataset, "0.5", DELTA).within("team");
    let annotations = &mut pod["metadata"]["annotations"];
    for (name, value) in change {
        annotations[format!("privatekube.dev/{name}")] = json!(value);
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|_, value| !value.is_null());
    }
    pod
}

type Change<T> = Vec<(&'static str, Option<T>)>;

/// One annotation that is wrong, and what is said of it after its name.
fn one(
    name: &'static str,
    value: impl Into<String>,
    says: &'static [&'static str],
) -> (Change<String>, Vec<String>) {
    let mut parts = vec![format!("privatekube.dev/{name}: ")];
    parts.extend(says.iter().map(|part| (*part).to_owned()));
    (vec![(name, Some(value.into()))], parts)
}

/// Several annotations that are wrong together, and what is said of them.
fn several(change: &[(&'static str, Option<&str>)], says: &[&str]) -> (Change<String>, Vec<String>) {
    let change = change
        .iter()
        .map(|(name, value)| (*name, value.map(str::to_owned)))
        .collect();
    (change, says.iter().map(|part| (*part).to_owned()).collect())
}

/// A mechanism in place of epsilon and delta, and what is said of it.
fn mechanism(text: &str, says: &[&str]) -> (Change<String>, Vec<String>) {
    let (change, mut parts) = several(
        &[("epsilon", None), ("delta", None), ("mechanism", Some(text))],
        says,
    );
    parts.push("privatekube.dev/mechanism: ".to_owned());
    (change, parts)
}

#[rustfmt::skip]
fn wrong_amounts() -> Vec<(Change<String>, Vec<String>)> {
    vec![
        several(&[("delta", None)], &["privatekube.dev/delta: is missing", "goes with a delta, like 1e-9"]),
        several(&[("epsilon", None)], &["privatekube.dev/epsilon: is missing", "goes with an epsilon, like 0.5"]),
        several(
            &[("epsilon", None), ("delta", None)],
            &["privatekube.dev/epsilon: is missing", "say how much", "privatekube.dev/mechanism"],
        ),
        several(&[("epsilon", Some("x")), ("delta", Some("y"))], &["/epsilon: \"x\" is", "/delta: \"y\" is"]),
        one("epsilon", "", &["is not a number: write a decimal like 0.5"]),
        one("epsilon", "a lot", &["\"a lot\" is not a number"]),
        one("epsilon", "0,5", &["\"0,5\" is not a number"]),
        one("epsilon", "0x10", &["is not a number"]),
        one("epsilon", "1e", &["is not a number"]),
        one("epsilon", "½", &["is not a number"]),
        one("epsilon", "0.5\u{0}", &["is not a number"]),
        one("epsilon", "-1", &["\"-1\" is negative: it must be zero or more"]),
        one("epsilon", "0", &["asks for nothing: epsilon must be above 0"]),
        one("epsilon", "0.000", &["asks for nothing"]),
        one("epsilon", "1e-13", &["has too many digits: at most 12 decimals are exact"]),
        one("epsilon", "inf", &["is not finite: write a decimal like 0.5"]),
        one("epsilon", "-Infinity", &["is not finite"]),
        one("epsilon", "NaN", &["is not finite"]),
        one("epsilon", "9000000.1", &["is too large: at most 9000000"]),
        one("epsilon", "1e999999", &["is too large"]),
        one("epsilon", "9".repeat(100_000), &["has 100000 characters: at most 2000 are accepted"]),
        one("epsilon", "0".repeat(65), &["has 65 characters: at most 64 are accepted"]),
        one("timeout", "1m".repeat(17), &["has 34 characters: at most 32 are accepted"]),
        one("dataset", "x".repeat(2001), &["has 2001 characters: at most 2000"]),
        one("delta", "", &["is not a number"]),
        one("delta", "-1e-9", &["is negative"]),
        one("delta", "1.1", &["is too large: at most 1"]),
        one("delta", "1e-19", &["has too many digits: at most 18 decimals are exact"]),
        one("delta", "nan", &["is not finite"]),
        one("mechanism", "laplace(scale=10)", &["doesn't go with", "leave out one of the two"]),
        mechanism("", &["write a mechanism like gaussian(sigma=2.1)"]),
        mechanism("magic(x=1)", &["is not a known mechanism: use gaussian(sigma=...)"]),
        mechanism("laplace()", &["laplace needs scale: write laplace(scale="]),
        mechanism("laplace(scale=10", &["write a mechanism like"]),
        mechanism("laplace(scale=ten)", &["scale is \"ten\": it must be"]),
        mechanism("laplace(scale=0)", &["scale is \"0\": it must be"]),
        mechanism("laplace(scale=-3)", &["scale is \"-3\": it must be"]),
        mechanism("laplace(scale=inf)", &["scale is \"inf\": it must be"]),
        mechanism("laplace(sigma=1)", &["laplace has no parameter \"sigma\": write laplace(scale="]),
        mechanism("laplace(scale=1,scale=2)", &["scale of laplace is given twice"]),
        mechanism("dp-sgd(noise-multiplier=1.1,sample-rate=2,steps=10)", &["sample-rate is \"2\": it must be"]),
        mechanism("dp-sgd(noise-multiplier=1.1,sample-rate=0.1,steps=0)", &["steps is \"0\": it must be"]),
        // The dataset sums epsilons and deltas.
        mechanism("gaussian(sigma=2)", &["gaussian has no epsilon and delta of its own", "Basic composition"]),
        mechanism("guarantee(epsilon=0,delta=0)", &["epsilon"]),
    ]
}

#[rustfmt::skip]
fn wrong_blocks() -> Vec<(Change<String>, Vec<String>)> {
    let deep = |levels: usize| format!("{}block.startTime > 0{}", "(".repeat(levels), ")".repeat(levels));
    vec![
        one("dataset", "", &["is empty: write the dataset's name, or namespace/name"]),
        one("dataset", "Basic", &["\"Basic\" is not a dataset: write its name", "like taxi or data/taxi"]),
        one("dataset", "a/b/c", &["is not a dataset"]),
        one("dataset", "x".repeat(64), &["is not a dataset", "at most 63"]),
        one("dataset", "nowhere", &["\"nowhere\" is unknown", "no PrivateDataset of that name in namespace team"]),
        one("dataset", "default/basic", &["\"basic\" is unknown", "in namespace default"]),
        several(&[("dataset", None)], &["privatekube.dev/dataset: is missing: write the dataset's name"]),
        one("blocks", "", &["is empty: write a CEL expression like block.city == \"nyc\""]),
        one("blocks", "block.city = 'nyc'", &["is not a CEL expression: at column 12"]),
        one("blocks", "block.city == 'nyc", &["is not a CEL expression"]),
        one("blocks", "city == 'nyc'", &["city is not known: only block is"]),
        one("blocks", "block.town == 'nyc'", &["no block has the dimension town: there are city, startTime"]),
        one("blocks", "block.startTime", &["is a dimension, not true or false"]),
        one("blocks", "block.startTime + 1", &["not true or false: write a condition"]),
        one("blocks", "'nyc'", &["not true or false"]),
        one("blocks", "block", &["block can only be read field by field"]),
        one("blocks", "block.city > 3", &["has no answer"]),
        one("blocks", "block.city.matches('n.*')", &["matches is not a function: known are contains"]),
        one("blocks", "[1].all(a, [2].all(b, true))", &["can't be nested in each other"]),
        one("blocks", deep(10_000), &["at most 2000 are accepted"]),
        one("blocks", deep(900), &["is nested too deeply: at most"]),
        one("blocks", format!("{}true{}", "!(".repeat(600), ")".repeat(600)), &["is nested too deeply"]),
        one("blocks", format!("{}1 == 1", "-".repeat(2000)), &["at most 2000 are accepted"]),
        one("blocks", "[".repeat(1900), &[]),
        one("blocks", "block.city == \"".repeat(100), &["is not a CEL expression"]),
        one("min-blocks", "0", &["is not a number of blocks: write an integer between 1 and 100000"]),
        one("min-blocks", "-1", &["is not a number of blocks"]),
        one("min-blocks", "1.5", &["is not a number of blocks"]),
        one("min-blocks", "", &["is not a number of blocks"]),
        one("max-blocks", "all", &["is not a number of blocks"]),
        one("max-blocks", "100001", &["is not a number of blocks"]),
        several(
            &[("min-blocks", Some("3")), ("max-blocks", Some("2"))],
            &["privatekube.dev/min-blocks: 3 is above the 2 of privatekube.dev/max-blocks: write 2 or less"],
        ),
    ]
}

#[rustfmt::skip]
fn wrong_others() -> Vec<(Change<String>, Vec<String>)> {
    let claims = |names: &str| {
        let change = [("dataset", None), ("epsilon", None), ("delta", None), ("claim", Some(names))];
        several(&change, &["privatekube.dev/claim: "])
    };
    let many: Vec<String> = (0..33).map(|number| format!("c{number}")).collect();
    vec![
        one("timeout", "", &["is not a duration: write numbers with units ms, s, m, h or d"]),
        one("timeout", "10", &["is not a duration"]),
        one("timeout", "-1h", &["is not a duration"]),
        one("timeout", "1w", &["is not a duration"]),
        one("timeout", "0s", &["is no time at all: write a longer duration"]),
        one("timeout", "999999999999999999999d", &["is too long"]),
        one("priority", "high", &["is not a priority: write an integer between -1000 and 1000"]),
        one("priority", "1.5", &["is not a priority"]),
        one("priority", "1001", &["is out of range: write an integer between -1000 and 1000"]),
        one("priority", "-1001", &["is out of range"]),
        one(
            "epsilonn",
            "1",
            &["is not known: did you mean privatekube.dev/epsilon? known are privatekube.dev/dataset"],
        ),
        one("Max-Blocks", "1", &["is not known: did you mean privatekube.dev/max-blocks?"]),
        one("weather", "fine", &["is not known: known are privatekube.dev/dataset"]),
        one("grant", "{\"claims\":[]}", &["is written by the system when the budget is granted: leave it out"]),
        several(
            &[("claim", Some("mine"))],
            &["privatekube.dev/epsilon: doesn't go with privatekube.dev/claim", "privatekube.dev/dataset: doesn't"],
        ),
        claims(""),
        claims("Mine"),
        claims("team/mine"),
        claims("mine,,yours"),
        claims("mine, mine"),
        claims(&many.join(",")),
    ]
}

#[tokio::test]
async fn a_pod_with_a_wrong_annotation_is_refused_by_its_name_and_leaves_nothing_behind() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let tenant = world.client_as(User::Tenant).await?;
    for (change, words) in [wrong_amounts(), wrong_blocks(), wrong_others()].concat() {
        let change: Vec<(&str, Option<&str>)> = change
            .iter()
            .map(|(name, value)| (*name, value.as_deref()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = || format!("{:.200}", format!("{change:?}"));
        let refusal = refused(
            create_as(&tenant, asking("wrong", "basic", &change)).await,
            &words,
        );
        let refusal = refusal.with_context(said)?;
        ensure!(refusal.code == 400, "{}: {refusal:?}", said());
        ensure!(refusal.message.len() < 4000, "{}: {refusal:?}", said());
    }
    let annotated = asking("wrong", "renyi", &[("epsilon", Some("1e999"))]);
    refused(
        create_as(&tenant, annotated).await,
        &["privatekube.dev/epsilon: "],
    )?;
    ensure!(world.pods("team").await?.is_empty());
    ensure!(
        world
            .api::<PrivacyBudgetClaim>("team")
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );
    // The extender has lived through all of it, and goes on.
    ensure!(
        world
            .extender
            .as_ref()
            .is_some_and(|extender| !extender.has_ended())
    );
    create_as(&tenant, asking("right", "basic", &[])).await?;
    world.pod_phase("team", "right", "Running").await?;
    world
        .block_shows("team", "basic-day", ("9.5", "0", "0.5"))
        .await?;
    Ok(())
}

/// Annotations that are right, in every way in which they can be written.
#[rustfmt::skip]
fn right() -> Vec<(&'static str, Change<&'static str>)> {
    let zeros = "00000000000000000000000000000000000000000000000000000000000000.5";
    let minutes = "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m";
    let instead = |mechanism| vec![("epsilon", None), ("delta", None), ("mechanism", Some(mechanism))];
    vec![
        ("basic", vec![]),
        ("team/basic", vec![("epsilon", Some("1e-9"))]),
        ("basic", vec![("epsilon", Some(" 5E-1 ")), ("delta", Some("\t1e-18"))]),
        ("basic", vec![("epsilon", Some("+.25")), ("delta", Some("0"))]),
        ("basic", vec![("epsilon", Some("000.5")), ("delta", Some("-0.0"))]),
        ("basic", vec![("epsilon", Some(zeros))]),
        ("basic", vec![("blocks", Some(" block.city == 'nyc' && block.startTime >= 1 "))]),
        ("basic", vec![("blocks", Some("has(block.city) || block.startTime in [1, 2]"))]),
        ("basic", vec![("min-blocks", Some(" 1 ")), ("max-blocks", Some("7"))]),
        ("basic", vec![("timeout", Some("1h30m")), ("priority", Some(" -7 "))]),
        ("basic", vec![("timeout", Some(minutes))]),
        ("basic", vec![("timeout", Some(" 2h "))]),
        ("basic", instead("laplace(scale=10)")),
        ("basic", instead(" 3*laplace( scale = 10 ) + laplace(scale=5) ")),
        ("renyi", vec![]),
        ("renyi", instead("gaussian(sigma=20)")),
        ("renyi", instead("dp-sgd(noise-multiplier=4,sample-rate=0.01,steps=100)")),
    ]
}

#[tokio::test]
async fn a_pod_with_right_annotations_runs_and_its_claim_says_what_it_asks() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let tenant = world.client_as(User::Tenant).await?;
    let mut taken = Vec::new();
    for (number, (dataset, change)) in right().into_iter().enumerate() {
        let name = format!("right-{number}");
        let pod = asking(&name, dataset, &change);
        create_as(&tenant, pod.clone())
            .await
            .with_context(|| pod["metadata"].to_string())?;
        taken.push((name, pod));
    }
    for (name, asked) in taken {
        let said = || asked["metadata"].to_string();
        let pod = world
            .pod_phase("team", &name, "Running")
            .await
            .with_context(said)?;
        let own = world
            .claim_phase("team", &inline_claim(&pod), ClaimPhase::Consumed)
            .await
            .with_context(said)?;
        let text = |name: &str| asked["metadata"]["annotations"][format!("privatekube.dev/{name}")].as_str();
        ensure!(Some(own.spec.dataset.as_str()) == text("dataset"), "{}", said());
        ensure!(
            own.spec.selector.as_deref() == text("blocks").map(str::trim),
            "{}",
            said()
        );
    }
    Ok(())
}

/// Objects of a kind that are wrong, and what is said of each.
type Wrong = Vec<(Value, &'static [&'static str])>;

#[rustfmt::skip]
fn wrong_claims() -> Wrong {
    let on = |dataset: &str| claim(dataset, "wrong");
    let good = || on("basic").epsilon("0.5", DELTA);
    let asks = |budget: Value| on("basic").with("budget", budget);
    let curve = |points: Value| on("renyi").with("budget", json!({"renyi": points}));
    let all = |from: ClaimBuilder| from.within("team");
    vec![
        (all(asks(json!({"epsilon": 0.5, "delta": "1e-9"}))), &["spec.budget.epsilon"]),
        (all(asks(json!({"epsilon": "0.5", "delta": 1e-9}))), &["spec.budget.delta"]),
        (all(asks(json!({}))), &[ONE_OF_THREE]),
        (all(asks(json!({"epsilon": "1", "delta": "0", "mechanism": "laplace(scale=1)"}))), &[ONE_OF_THREE]),
        (all(asks(json!({"epsilon": "1"}))), &["epsilon and delta go together"]),
        (all(asks(json!({"epsilon": -1, "delta": 0}))), &["spec.budget.epsilon", "zero or more"]),
        (all(asks(json!({"epsilon": "-1", "delta": 0}))), &["spec.budget.epsilon", "zero or more"]),
        (all(asks(json!({"epsilon": "inf", "delta": 0}))), &["spec.budget.epsilon"]),
        (all(asks(json!({"epsilon": 0, "delta": 0}))), &["spec.budget.epsilon", "asks for nothing"]),
        (all(asks(json!({"epsilon": "1e7", "delta": 0}))), &["spec.budget.epsilon", "at most 9000000"]),
        (all(asks(json!({"epsilon": i64::MAX, "delta": 0}))), &["spec.budget.epsilon", "too large"]),
        (all(asks(json!({"epsilon": "1e-13", "delta": 0}))), &["spec.budget.epsilon", "at most 12 decimals"]),
        (all(asks(json!({"epsilon": "1", "delta": "1.5"}))), &["spec.budget.delta", "at most 1"]),
        (all(asks(json!({"epsilon": "9".repeat(65), "delta": 0}))), &["spec.budget.epsilon"]),
        (all(asks(json!({"epsilon": null, "delta": null}))), &[ONE_OF_THREE]),
        (all(asks(json!({"mechanism": "noise(x=1)"}))), &["spec.budget.mechanism", "use gaussian(sigma=...)"]),
        (all(asks(json!({"mechanism": ""}))), &["spec.budget.mechanism"]),
        (all(asks(json!({"mechanism": "gaussian(sigma=2)"}))), &["spec.budget", "Basic composition"]),
        (all(asks(json!({"renyi": [{"order": 2, "epsilon": 1}]}))), &["spec.budget", "Basic"]),
        (all(curve(json!([]))), &["spec.budget.renyi"]),
        (all(curve(json!([{"order": 2, "epsilon": 1}]))), &["spec.budget", "no epsilon at order 4"]),
        (
            all(curve(json!([{"order": 2, "epsilon": 1}, {"order": 3, "epsilon": 1}]))),
            &["spec.budget", "order 3 is not one of the dataset's orders: 2, 4, 8"],
        ),
        (
            all(curve(json!([{"order": 2, "epsilon": 1}, {"order": "2.0", "epsilon": 1}]))),
            &["spec.budget.renyi[1].order: 2 is given twice"],
        ),
        (all(curve(json!([{"order": 1, "epsilon": 1}]))), &["spec.budget.renyi[0].order", "above 1"]),
        (all(curve(json!([{"order": 2.5, "epsilon": 1}]))), &["spec.budget.renyi[0].order"]),
        (
            all(curve(json!([{"order": 2, "epsilon": 0}, {"order": 4, "epsilon": 0}, {"order": 8, "epsilon": 0}]))),
            &["spec.budget.renyi", "asks for nothing"],
        ),
        (all(on("basic")), &["give exactly one of budget", "perBlock"]),
        (all(good().on("basic-day", "1", DELTA)), &["give exactly one of budget", "perBlock"]),
        (all(on("basic").with("perBlock", json!({}))), &["spec.perBlock"]),
        (
            all(on("basic").on("basic-day", "1", DELTA).with("selector", json!("true"))),
            &["perBlock names its blocks: leave out selector and blocks"],
        ),
        (all(on("basic").on("basic-day", "0", DELTA)), &["spec.perBlock[basic-day].epsilon", "asks for nothing"]),
        (all(on("basic").on("Day", "1", DELTA)), &["spec.perBlock[Day]", "is not a name"]),
        (all(on("basic").on(&"x".repeat(254), "1", DELTA)), &["spec.perBlock[xxx", "at most 253"]),
        (all(good().with("blocks", json!({"min": 3, "max": 2}))), &["spec.blocks.min", "above max"]),
        (all(good().with("blocks", json!({"min": 0}))), &["spec.blocks.min", "greater than or equal to 1"]),
        (all(good().with("blocks", json!({"max": 0}))), &["spec.blocks.max", "greater than or equal to 1"]),
        (all(good().with("blocks", json!({"max": 1.5}))), &["spec.blocks.max"]),
        (all(good().with("blocks", json!({"max": 100_001}))), &["spec.blocks.max", "100000"]),
        (
            all(good().with("blocks", json!({"max": 2, "which": "all"}))),
            &["which: all takes every block: leave out max"],
        ),
        (all(good().with("blocks", json!({"which": "oldest"}))), &["spec.blocks.which", "\"newest\", \"all\""]),
        (all(good().with("selector", json!(""))), &["spec.selector"]),
        (all(good().with("selector", json!("city == 1"))), &["spec.selector", "only block is"]),
        (all(good().with("selector", json!("block.town == 1"))), &["spec.selector", "dimension town"]),
        (all(good().with("selector", json!(format!("true{}", " ".repeat(2000))))), &["spec.selector", "2000"]),
        (all(on("nowhere").epsilon("1", DELTA)), &["spec.dataset: \"nowhere\" is unknown"]),
        (all(on("Basic").epsilon("1", DELTA)), &["spec.dataset", "write the dataset's name"]),
        (all(on("").epsilon("1", DELTA)), &["spec.dataset"]),
        (all(good().with("timeout", json!("1w"))), &["spec.timeout", "like 90s or 1h30m"]),
        (all(good().with("timeout", json!("0s"))), &["spec.timeout", "no time at all"]),
        (all(good().with("timeout", json!(90))), &["spec.timeout"]),
        (all(good().with("priority", json!(1001))), &["spec.priority", "1000"]),
        (all(good().with("consume", json!({}))), &["give exactly one of: all, perBlock"]),
        (all(good().with("consume", json!({"all": false}))), &["spec.consume.all", "only true is accepted"]),
        (all(good().with("release", json!({"perBlock": {"b": {"epsilon": "1"}}}))), &["go together"]),
        (
            all(good().with("release", json!({"perBlock": {"b": {"epsilon": "x", "delta": 0}}}))),
            &["spec.release.perBlock", "write an integer, or a decimal in quotes"],
        ),
    ]
}

#[rustfmt::skip]
fn wrong_blocks_of_data() -> Wrong {
    let of = |budget: Value| block("basic", "wrong").with("initialBudget", budget).within("team");
    let of_renyi = |budget: Value| block("renyi", "wrong").with("initialBudget", budget).within("team");
    let dimension = |name: &str| block("basic", "wrong").dimension(name, 1).within("team");
    let mut unnamed = block("basic", "wrong").within("team");
    unnamed["spec"]["dataset"] = json!("x".repeat(64));
    let mut stateless = block("basic", "wrong").within("team");
    stateless["spec"]["initialBudget"] = Value::Null;
    let many = (0..33).fold(block("basic", "wrong"), |block, number| block.dimension(&format!("d{number}"), 1));
    vec![
        (of(json!({"epsilon": 0.5, "delta": 0})), &["spec.initialBudget.epsilon"]),
        (of(json!({})), &[ONE_OF_TWO]),
        (of(json!({"epsilon": 1})), &["epsilon and delta go together"]),
        (of(json!({"epsilon": 1, "delta": 0, "renyi": [{"order": 2, "epsilon": 1}]})), &[ONE_OF_TWO]),
        (of(json!({"epsilon": "-1", "delta": 0})), &["spec.initialBudget.epsilon", "zero or more"]),
        (of(json!({"epsilon": 0, "delta": 0})), &["spec.initialBudget: allows nothing: epsilon must be above 0"]),
        (of(json!({"epsilon": "1e7", "delta": 0})), &["spec.initialBudget.epsilon", "at most 9000000"]),
        (of(json!({"epsilon": 1, "delta": 2})), &["spec.initialBudget.delta", "at most 1"]),
        (of(json!({"renyi": [{"order": 2, "epsilon": 1}]})), &["spec.initialBudget", "Basic"]),
        (of_renyi(json!({"epsilon": 10, "delta": 0})), &["spec.initialBudget", "needs a delta above 0"]),
        (of_renyi(json!({"epsilon": "0.1", "delta": "1e-9"})), &["allows nothing at any Renyi order", "ln(1/delta)"]),
        (of_renyi(json!({"renyi": [{"order": 3, "epsilon": 1}]})), &["order 3 is not one of the dataset's orders"]),
        (of_renyi(json!({"renyi": [{"order": 2, "epsilon": 0}]})), &["allows nothing at any Renyi order"]),
        (
            of_renyi(json!({"renyi": [{"order": 2, "epsilon": 1}, {"order": 2, "epsilon": 1}]})),
            &["spec.initialBudget.renyi[1].order: 2 is given twice"],
        ),
        (of_renyi(json!({"renyi": []})), &["spec.initialBudget.renyi"]),
        (stateless, &["spec.initialBudget: is missing, and dataset \"basic\" states no guarantee"]),
        (unnamed, &["spec.dataset"]),
        (dimension("1st"), &[DIMENSION]),
        (dimension("start-time"), &[DIMENSION]),
        (dimension("for"), &[DIMENSION]),
        (dimension(""), &[DIMENSION]),
        (dimension(&"x".repeat(64)), &[DIMENSION]),
        (block("basic", "wrong").dimension("x", 0.5).within("team"), &["spec.dimensions.x"]),
        (block("basic", "wrong").dimension("x", true).within("team"), &["spec.dimensions.x"]),
        (block("basic", "wrong").dimension("x", "y".repeat(254)).within("team"), &["spec.dimensions.x"]),
        (many.within("team"), &["spec.dimensions", "32"]),
        (block("basic", "wrong").with("dataSource", json!("s".repeat(2049))).within("team"), &["spec.dataSource"]),
    ]
}

#[rustfmt::skip]
fn wrong_datasets() -> Wrong {
    let with = |field: &str, value: Value| dataset("wrong").with(field, value).within("team");
    let unlocking = |value: Value| with("unlocking", value);
    let renyi = |field: &str, value: Value| dataset("wrong").renyi(&["2", "4"]).with(field, value).within("team");
    vec![
        (unlocking(json!({})), &[UNLOCKING]),
        (unlocking(json!({"arrivals": 10, "immediate": true})), &[UNLOCKING]),
        (unlocking(json!({"immediate": false})), &["only true is accepted"]),
        (unlocking(json!({"arrivals": 0})), &["spec.unlocking.arrivals", "greater than or equal to 1"]),
        (unlocking(json!({"arrivals": 1.5})), &["spec.unlocking.arrivals"]),
        (unlocking(json!({"arrivals": -1})), &["spec.unlocking.arrivals"]),
        (unlocking(json!({"arrivals": 10, "tick": "1s"})), &["tick goes with lifetime only"]),
        (unlocking(json!({"lifetime": "0s"})), &["spec.unlocking.lifetime", "no time at all"]),
        (unlocking(json!({"lifetime": "1 month"})), &["spec.unlocking.lifetime", "like 90s or 1h30m"]),
        (unlocking(Value::Null), &["spec.unlocking"]),
        (with("policy", json!("Cheapest")), &["spec.policy", "\"DPF\""]),
        (with("composition", json!("Zero")), &["spec.composition", "\"Renyi\", \"Basic\""]),
        (with("orders", json!(["2"])), &["orders are of Renyi composition"]),
        (renyi("orders", json!([])), &["spec.orders"]),
        (renyi("orders", json!(["2", "2.0"])), &["spec.orders", "2 is given twice"]),
        (renyi("orders", json!([1])), &["spec.orders[0]", "above 1"]),
        (renyi("orders", json!([1.5])), &["spec.orders[0]"]),
        (renyi("orders", json!(["1.00000001"])), &["spec.orders[0]", "at most 6 decimals"]),
        (renyi("orders", (2..35).collect()), &["spec.orders", "32"]),
        (with("guarantee", json!({"epsilon": 10})), &["spec.guarantee.delta"]),
        (with("guarantee", json!({"epsilon": 0.5, "delta": 0})), &["spec.guarantee.epsilon"]),
        (with("guarantee", json!({"epsilon": 0, "delta": 0})), &["spec.guarantee: allows nothing"]),
        (with("guarantee", json!({"epsilon": "1e9", "delta": 0})), &["spec.guarantee.epsilon", "at most 9000000"]),
        (renyi("guarantee", json!({"epsilon": "0.1", "delta": "1e-9"})), &["spec.guarantee: allows nothing"]),
        (renyi("guarantee", json!({"epsilon": 10, "delta": 0})), &["spec.guarantee", "delta"]),
        (with("timeout", json!("soon")), &["spec.timeout", "like 90s or 1h30m"]),
        (with("timeout", json!("0m")), &["spec.timeout", "no time at all"]),
        (dataset(&"x".repeat(64)).within("team"), &["at most 63 lower-case letters"]),
        (dataset("a.b").within("team"), &["at most 63 lower-case letters, digits and '-'"]),
    ]
}

#[tokio::test]
async fn a_wrong_claim_block_or_dataset_is_refused_by_its_field_and_leaves_nothing_behind() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    for (object, words) in [wrong_claims(), wrong_blocks_of_data(), wrong_datasets()].concat() {
        let said = || format!("{:.300}", format!("{}: {}", object["kind"], object["spec"]));
        refused(world.create(object.clone()).await, words).with_context(said)?;
    }
    let all = ListParams::default();
    ensure!(
        world
            .api::<PrivacyBudgetClaim>("team")
            .list(&all)
            .await?
            .items
            .is_empty()
    );
    ensure!(
        world
            .api::<PrivateDataBlock>("team")
            .list(&all)
            .await?
            .items
            .len()
            == 2
    );
    ensure!(world.api::<PrivateDataset>("team").list(&all).await?.items.len() == 2);
    ensure!(
        world
            .extender
            .as_ref()
            .is_some_and(|extender| !extender.has_ended())
    );
    world
        .create(claim("basic", "right").epsilon("1", DELTA).within("team"))
        .await?;
    world.claim_phase("team", "right", ClaimPhase::Granted).await?;
    Ok(())
}

/// Writes to the spec of an object.
async fn write(client: &Client, kind: &str, name: &str, spec: Value) -> Result<DynamicObject, kube::Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("privatekube.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "team", &resource);
    api.patch(
        name,
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": spec})),
    )
    .await
}

/// Changes of an object's spec that are never taken, and what is said of each.
#[rustfmt::skip]
fn never_changes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
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
        ("PrivateDataset", "basic", json!({"composition": "Renyi"}), "composition never changes"),
        ("PrivateDataset", "renyi", json!({"orders": ["2", "4"]}), "orders never change"),
        ("PrivateDataset", "renyi", json!({"orders": null}), "orders never change"),
        ("PrivateDataset", "renyi", json!({"composition": "Basic", "orders": null}), "composition never changes"),
    ]
}

/// Changes of what may change, but not so.
#[rustfmt::skip]
fn wrongly_changed() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("PrivateDataset", "basic", json!({"guarantee": {"epsilon": "1e9", "delta": 0}}), "spec.guarantee.epsilon"),
        ("PrivateDataset", "renyi", json!({"guarantee": {"epsilon": 10, "delta": 0}}), "spec.guarantee"),
        ("PrivateDataset", "basic", json!({"timeout": "0s"}), "spec.timeout"),
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
async fn what_was_asked_promised_or_ruled_never_changes_and_what_may_change_is_checked() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let asks = claim("basic", "asks")
        .epsilon("2", DELTA)
        .with("selector", json!("block.city == 'nyc'"))
        .with("blocks", json!({"min": 1}))
        .with("timeout", json!("1h"));
    let names = claim("basic", "names").on("basic-day", "2", DELTA);
    world
        .create_all([asks.within("team"), names.within("team")])
        .await?;
    world.claim_phase("team", "names", ClaimPhase::Granted).await?;
    for (kind, name, spec, words) in never_changes() {
        let answer = write(&world.client, kind, name, spec.clone()).await;
        refused(answer, &[words]).with_context(|| format!("{kind} {name}: {spec}"))?;
    }

    // What may change is looked at as it was when it was made.
    for (kind, name, spec, words) in wrongly_changed() {
        let answer = write(&world.client, kind, name, spec.clone()).await;
        refused(answer, &[words]).with_context(|| format!("{kind} {name}: {spec}"))?;
    }

    // What is consumed stays consumed.
    let some = |epsilon: &str| json!({"consume": {"perBlock": {"basic-day": {"epsilon": epsilon, "delta": "1e-10"}}}});
    write(&world.client, "PrivacyBudgetClaim", "names", some("0.5")).await?;
    world
        .block_shows("team", "basic-day", ("6", "3.5", "0.5"))
        .await?;
    for taken_back in [
        json!({"consume": null}),
        json!({"consume": {"perBlock": {"basic-day": null, "other": {"epsilon": "1", "delta": "0"}}}}),
        some("0.4"),
    ] {
        let answer = write(&world.client, "PrivacyBudgetClaim", "names", taken_back.clone()).await;
        refused(answer, &["taken back"]).with_context(|| taken_back.to_string())?;
    }
    write(
        &world.client,
        "PrivacyBudgetClaim",
        "names",
        json!({"release": {"all": true}}),
    )
    .await?;
    world
        .block_shows("team", "basic-day", ("7.5", "2", "0.5"))
        .await?;
    refused(
        write(
            &world.client,
            "PrivacyBudgetClaim",
            "names",
            json!({"release": null}),
        )
        .await,
        &["taken back"],
    )?;
    let entries = world
        .api::<PrivacyLedgerEntry>("team")
        .list(&ListParams::default())
        .await?;
    let entry = entries.items.first().context("no entry")?.name_any();
    let answer = write(
        &world.client,
        "PrivacyLedgerEntry",
        &entry,
        json!({"writer": "me"}),
    )
    .await;
    refused(answer, &["never changes"])?;
    Ok(())
}

#[tokio::test]
async fn a_template_with_a_wrong_annotation_says_so_on_what_makes_the_pods() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let wrong = pod("t").asks("basic", "much", DELTA);
    let right = pod("t").asks("basic", "0.25", DELTA);
    let job = |name: &str, template: Value| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "team"},
            "spec": {"template": template},
        })
    };
    let labels = json!({"app": "served"});
    let mut template = wrong.with("restartPolicy", json!("Always")).template();
    template["metadata"]["labels"] = labels.clone();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served", "namespace": "team"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    let wrong = pod("t").asks("basic", "much", DELTA);
    world
        .create_all([
            deployment,
            job("wrong", wrong.template()),
            job("right", right.template()),
        ])
        .await?;
    let words = ["privatekube.dev/epsilon: \"much\" is not a number", "like 0.5"];
    let told = world.event("team", "wrong", "FailedCreate").await?;
    ensure!(words.iter().all(|part| told.contains(part)), "{told}");
    world
        .wait(
            "team",
            "served",
            "failing to make its pods",
            |deployment: Option<&Deployment>| {
                let conditions =
                    deployment.and_then(|deployment| deployment.status.as_ref()?.conditions.as_ref());
                conditions.into_iter().flatten().any(|condition| {
                    condition.type_ == "ReplicaFailure"
                        && condition
                            .message
                            .as_ref()
                            .is_some_and(|told| told.contains(words[0]))
                })
            },
        )
        .await?;
    let sets = world
        .api::<ReplicaSet>("team")
        .list(&ListParams::default())
        .await?;
    let set = sets.items.first().context("no ReplicaSet")?.name_any();
    let told = world.event("team", &set, "FailedCreate").await?;
    ensure!(words.iter().all(|part| told.contains(part)), "{told}");
    // The right one's pod has a name that nobody wrote, and its budget is accounted for all the same.
    world
        .block_shows("team", "basic-day", ("9.75", "0", "0.25"))
        .await?;
    let pods = world.api::<Pod>("team").list(&ListParams::default()).await?;
    ensure!(
        pods.items.len() == 1 && pods.items[0].name_any().starts_with("right-"),
        "{pods:?}"
    );
    Ok(())
}
