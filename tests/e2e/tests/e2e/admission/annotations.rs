//! Pods with invalid and with valid annotations.

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, create_as, pod, pod_claim_name, refused};
use serde_json::{Value, json};

use super::{DELTA, prepare};

/// A pod with a valid request, some of whose annotations are replaced (or removed: None).
fn requesting_pod(name: &str, dataset: &str, change: &[(&str, Option<&str>)]) -> Value {
    let mut pod = pod(name).requests(dataset, "0.5", DELTA).within("team");
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

/// An invalid annotation, and what the message must contain besides its name.
fn one(
    name: &'static str,
    value: impl Into<String>,
    expected: &'static [&'static str],
) -> (Change<String>, Vec<String>) {
    let mut parts = vec![format!("privatekube.dev/{name}: ")];
    parts.extend(expected.iter().map(|part| (*part).to_owned()));
    (vec![(name, Some(value.into()))], parts)
}

/// Annotations that are invalid together, and what the message must contain.
fn several(change: &[(&'static str, Option<&str>)], expected: &[&str]) -> (Change<String>, Vec<String>) {
    let change = change
        .iter()
        .map(|(name, value)| (*name, value.map(str::to_owned)))
        .collect();
    (change, expected.iter().map(|part| (*part).to_owned()).collect())
}

/// An invalid mechanism in place of epsilon and delta, and what the message must contain.
fn with_mechanism(text: &str, expected: &[&str]) -> (Change<String>, Vec<String>) {
    let (change, mut parts) = several(
        &[("epsilon", None), ("delta", None), ("mechanism", Some(text))],
        expected,
    );
    parts.push("privatekube.dev/mechanism: ".to_owned());
    (change, parts)
}

#[rustfmt::skip]
fn invalid_amounts() -> Vec<(Change<String>, Vec<String>)> {
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
        with_mechanism("", &["write a mechanism like gaussian(sigma=2.1)"]),
        with_mechanism("magic(x=1)", &["is not a known mechanism: use gaussian(sigma=...)"]),
        with_mechanism("laplace()", &["laplace needs scale: write laplace(scale="]),
        with_mechanism("laplace(scale=10", &["write a mechanism like"]),
        with_mechanism("laplace(scale=ten)", &["scale is \"ten\": it must be"]),
        with_mechanism("laplace(scale=0)", &["scale is \"0\": it must be"]),
        with_mechanism("laplace(scale=-3)", &["scale is \"-3\": it must be"]),
        with_mechanism("laplace(scale=inf)", &["scale is \"inf\": it must be"]),
        with_mechanism("laplace(sigma=1)", &["laplace has no parameter \"sigma\", needs scale: write laplace(scale="]),
        with_mechanism("laplace(scale=1,scale=2)", &["laplace has scale twice"]),
        with_mechanism("dp-sgd(noise-multiplier=1.1,sample-rate=2,steps=10)", &["sample-rate is \"2\": it must be"]),
        with_mechanism("dp-sgd(noise-multiplier=1.1,sample-rate=0.1,steps=10)", &["a sample-rate is right for a fixed number"]),
        with_mechanism("dp-sgd(noise-multiplier=1.1,sample-rate=0.1,steps=0)", &["steps is \"0\": it must be"]),
        // The dataset sums epsilons and deltas.
        with_mechanism("gaussian(sigma=2)", &["gaussian has no epsilon and delta of its own", "Basic composition"]),
        with_mechanism("guarantee(epsilon=0,delta=0)", &["epsilon"]),
    ]
}

#[rustfmt::skip]
fn invalid_block_selections() -> Vec<(Change<String>, Vec<String>)> {
    let deep = |levels: usize| format!("{}block.startTime > 0{}", "(".repeat(levels), ")".repeat(levels));
    vec![
        one("dataset", "", &["is empty: write the dataset's name, or namespace/name"]),
        one("dataset", "Basic", &["\"Basic\" is not a dataset: write its name", "like taxi or data/taxi"]),
        one("dataset", "a/b/c", &["is not a dataset"]),
        one("dataset", "x".repeat(64), &["is not a dataset", "at most 63"]),
        one("dataset", "nowhere", &["\"nowhere\" is unknown", "no PrivateDataset of that name in namespace team"]),
        one("dataset", "default/basic", &["dataset default/basic isn't open to namespace team, or doesn't exist"]),
        several(&[("dataset", None)], &["privatekube.dev/dataset: is missing: write the dataset's name"]),
        several(&[("blocks", None)], &["privatekube.dev/blocks: is missing: say on which blocks", "write all"]),
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
        one("blocks", "[1].all(a, a == 1)", &["all, exists, exists_one, filter and map are not accepted"]),
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
fn other_invalid_annotations() -> Vec<(Change<String>, Vec<String>)> {
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
        one("Epsilon", "1", &["is not known: did you mean privatekube.dev/epsilon?"]),
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
async fn a_pod_with_an_invalid_annotation_is_refused_naming_it_and_creates_nothing() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let tenant = env.client_as(User::Tenant).await?;
    for (change, words) in [
        invalid_amounts(),
        invalid_block_selections(),
        other_invalid_annotations(),
    ]
    .concat()
    {
        let change: Vec<(&str, Option<&str>)> = change
            .iter()
            .map(|(name, value)| (*name, value.as_deref()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let context = || format!("{:.200}", format!("{change:?}"));
        let refusal = refused(
            create_as(&tenant, requesting_pod("wrong", "basic", &change)).await,
            &words,
        );
        let refusal = refusal.with_context(context)?;
        ensure!(refusal.code == 400, "{}: {refusal:?}", context());
        ensure!(refusal.message.len() < 4000, "{}: {refusal:?}", context());
    }
    let annotated = requesting_pod("wrong", "renyi", &[("epsilon", Some("1e999"))]);
    refused(
        create_as(&tenant, annotated).await,
        &["privatekube.dev/epsilon: "],
    )?;
    ensure!(env.pods("team").await?.is_empty());
    ensure!(
        env.api::<PrivacyBudgetClaim>("team")
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );
    // The extender still runs.
    ensure!(
        env.extender
            .as_ref()
            .is_some_and(|extender| !extender.has_ended())
    );
    create_as(&tenant, requesting_pod("right", "basic", &[])).await?;
    env.wait_for_pod_phase("team", "right", "Running").await?;
    env.wait_for_block_budget("team", "basic-day", ("9.5", "0", "0.5"))
        .await?;
    Ok(())
}

/// Valid annotations, in all ways in which they can be written, with the dataset.
#[rustfmt::skip]
fn valid_annotations() -> Vec<(&'static str, Change<&'static str>)> {
    let zeros = "00000000000000000000000000000000000000000000000000000000000000.5";
    let minutes = "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m";
    let instead = |with_mechanism| vec![("epsilon", None), ("delta", None), ("mechanism", Some(with_mechanism))];
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
        ("renyi", [instead("dp-sgd(noise-multiplier=4,sample-rate=0.01,steps=100)"), vec![("max-blocks", Some("1"))]].concat()),
    ]
}

#[tokio::test]
async fn a_pod_with_valid_annotations_runs_and_its_claim_has_the_same_request() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let tenant = env.client_as(User::Tenant).await?;
    let mut accepted = Vec::new();
    for (number, (dataset, change)) in valid_annotations().into_iter().enumerate() {
        let name = format!("right-{number}");
        let pod = requesting_pod(&name, dataset, &change);
        create_as(&tenant, pod.clone())
            .await
            .with_context(|| pod["metadata"].to_string())?;
        accepted.push((name, pod));
    }
    for (name, requested) in accepted {
        let context = || requested["metadata"].to_string();
        let pod = env
            .wait_for_pod_phase("team", &name, "Running")
            .await
            .with_context(context)?;
        let own = env
            .wait_for_claim_phase("team", &pod_claim_name(&pod), ClaimPhase::Consumed)
            .await
            .with_context(context)?;
        let text =
            |name: &str| requested["metadata"]["annotations"][format!("privatekube.dev/{name}")].as_str();
        ensure!(
            Some(own.spec.dataset.as_str()) == text("dataset"),
            "{}",
            context()
        );
        ensure!(
            own.spec.selector.as_deref() == text("blocks").map(str::trim).filter(|text| *text != "all"),
            "{}",
            context()
        );
    }
    Ok(())
}
