//! Invalid claims, blocks and datasets.

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset};
use privatekube_e2e::{ClaimBuilder, TestEnvironment, block, claim, dataset, refused};
use serde_json::{Value, json};

use super::{DELTA, prepare};

const ONE_OF_THREE: &str = "give exactly one of: epsilon and delta, mechanism, renyi";
const ONE_OF_TWO: &str = "give exactly one of: epsilon and delta, renyi";
const DIMENSION: &str = "the name of a dimension is at most 63 letters";
const UNLOCKING: &str = "give exactly one of arrivals, lifetime and immediate";

/// Invalid objects, and what the message that refuses each must contain.
type Invalid = Vec<(Value, &'static [&'static str])>;

#[rustfmt::skip]
fn invalid_claims() -> Invalid {
    let on = |dataset: &str| claim(dataset, "wrong");
    let good = || on("basic").epsilon("0.5", DELTA);
    let budget = |budget: Value| on("basic").with("budget", budget);
    let curve = |points: Value| on("renyi").with("budget", json!({"renyi": points}));
    let all = |from: ClaimBuilder| from.within("team");
    vec![
        (all(budget(json!({"epsilon": 0.5, "delta": "1e-9"}))), &["spec.budget.epsilon"]),
        (all(budget(json!({"epsilon": "0.5", "delta": 1e-9}))), &["spec.budget.delta"]),
        (all(budget(json!({}))), &[ONE_OF_THREE]),
        (all(budget(json!({"epsilon": "1", "delta": "0", "mechanism": "laplace(scale=1)"}))), &[ONE_OF_THREE]),
        (all(budget(json!({"epsilon": "1"}))), &["spec.budget.delta", "is missing: epsilon goes with a delta"]),
        (all(budget(json!({"epsilon": -1, "delta": 0}))), &["spec.budget.epsilon", "zero or more"]),
        (all(budget(json!({"epsilon": "-1", "delta": 0}))), &["spec.budget.epsilon", "zero or more"]),
        (all(budget(json!({"epsilon": "inf", "delta": 0}))), &["spec.budget.epsilon"]),
        (all(budget(json!({"epsilon": 0, "delta": 0}))), &["spec.budget.epsilon", "asks for nothing"]),
        (all(budget(json!({"epsilon": "1e7", "delta": 0}))), &["spec.budget.epsilon", "at most 9000000"]),
        (all(budget(json!({"epsilon": i64::MAX, "delta": 0}))), &["spec.budget.epsilon", "too large"]),
        (all(budget(json!({"epsilon": "1e-13", "delta": 0}))), &["spec.budget.epsilon", "at most 12 decimals"]),
        (all(budget(json!({"epsilon": "1", "delta": "1.5"}))), &["spec.budget.delta", "at most 1"]),
        (all(budget(json!({"epsilon": "9".repeat(65), "delta": 0}))), &["spec.budget.epsilon"]),
        (all(budget(json!({"epsilon": null, "delta": null}))), &[ONE_OF_THREE]),
        (all(budget(json!({"mechanism": "noise(x=1)"}))), &["spec.budget.mechanism", "use gaussian(sigma=...)"]),
        (all(budget(json!({"mechanism": ""}))), &["spec.budget.mechanism"]),
        (all(budget(json!({"mechanism": "gaussian(sigma=2)"}))), &["spec.budget", "Basic composition"]),
        (all(budget(json!({"renyi": [{"order": 2, "epsilon": 1}]}))), &["spec.budget", "Basic"]),
        (all(curve(json!([]))), &["spec.budget.renyi"]),
        (all(curve(json!([{"order": 2, "epsilon": 1}]))), &["spec.budget", "no epsilon at orders 4, 8"]),
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
        (all(good().with("blocks", json!({}))), &["spec.blocks: doesn't say on which blocks", "{which: all}"]),
        (all(good().with("blocks", json!({"min": 1, "mx": 5}))), &["spec.blocks: doesn't say on which blocks"]),
        (all(good().with("blocks", Value::Null).with("selectr", json!("true"))), &["doesn't say on which blocks"]),
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
        (all(good().with("release", json!({"perBlock": {"b": {"epsilon": "1"}}}))), &["spec.release.perBlock", ".delta", "is missing: epsilon goes with a delta"]),
        (
            all(good().with("release", json!({"perBlock": {"b": {"epsilon": "x", "delta": 0}}}))),
            &["spec.release.perBlock", "write an integer, or a decimal in quotes"],
        ),
    ]
}

#[rustfmt::skip]
fn invalid_blocks() -> Invalid {
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
        (of(json!({"epsilon": 1})), &["spec.initialBudget.delta", "is missing: epsilon goes with a delta"]),
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
fn invalid_datasets() -> Invalid {
    let with = |field: &str, value: Value| dataset("wrong").with(field, value).within("team");
    let unlocking = |value: Value| with("unlocking", value);
    let of_policy = |policy: &str| dataset("wrong").with("policy", json!(policy));
    let policy_with = |policy: &str, field: &str, value: Value| of_policy(policy).with(field, value).within("team");
    let weigh = |namespace: &str, weight: u32| json!([{"namespace": namespace, "weight": weight}]);
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
        (
            with("policy", json!("Cheapest")),
            &["spec.policy", "\"DPF\", \"FCFS\", \"RoundRobin\", \"DPack\", \"Blend\""],
        ),
        (with("policy", json!("dpack")), &["spec.policy", "\"DPack\""]),
        (with("fcfs", json!({"refusing": true})), &["spec.fcfs", "goes with policy FCFS, and policy is DPF: leave it"]),
        (with("dpack", json!({})), &["spec.dpack", "goes with policy DPack, and policy is DPF"]),
        (with("blend", json!({"fairness": 1})), &["spec.blend", "goes with policy Blend, and policy is DPF"]),
        (policy_with("FCFS", "dpack", json!({})), &["spec.dpack", "goes with policy DPack, and policy is FCFS"]),
        (policy_with("FCFS", "fcfs", json!({"refusing": "yes"})), &["spec.fcfs.refusing", "boolean"]),
        (policy_with("FCFS", "weights", weigh("a", 2)), &["spec.weights", "with policy DPF, DPack and Blend", "is FCFS"]),
        (policy_with("RoundRobin", "weights", weigh("a", 2)), &["spec.weights", "leave them out"]),
        (policy_with("RoundRobin", "composition", json!("Renyi")), &["spec.composition", "needs composition: Basic"]),
        (
            policy_with("RoundRobin", "unlocking", json!({"lifetime": "720h", "tick": "1ms"})),
            &["spec.unlocking.tick: makes 2592000000 ticks of the lifetime", "takes at most 1000000"],
        ),
        (policy_with("DPack", "dpack", json!({"recomputeAfter": 0})), &["spec.dpack.recomputeAfter", "or equal to 1"]),
        (policy_with("DPack", "dpack", json!({"recomputeAfter": "1"})), &["spec.dpack.recomputeAfter", "integer"]),
        (with("policy", json!("Blend")), &["spec.blend", "policy Blend needs the part that goes by DPF"]),
        (policy_with("Blend", "blend", json!({"recomputeAfter": 1})), &["spec.blend.fairness", "Required value"]),
        (policy_with("Blend", "blend", json!({"fairness": 0.5})), &["spec.blend.fairness"]),
        (policy_with("Blend", "blend", json!({"fairness": "1.5"})), &["spec.blend.fairness: \"1.5\" is above 1"]),
        (policy_with("Blend", "blend", json!({"fairness": "1e-4"})), &["spec.blend.fairness", "at most 3 decimals"]),
        (with("weights", weigh("a", 0)), &["spec.weights[0].weight", "or equal to 1"]),
        (with("weights", weigh("a", 1_000_001)), &["spec.weights[0].weight", "or equal to 1000000"]),
        (with("weights", weigh("Team", 1)), &["spec.weights[0].namespace", "write a namespace's name"]),
        (with("weights", json!([{"namespace": "a"}])), &["spec.weights[0].weight", "Required value"]),
        (
            with("weights", json!([{"namespace": "a", "weight": 1}, {"namespace": "a", "weight": 2}])),
            &["spec.weights[1]", "Duplicate value"],
        ),
        (with("claimants", json!({"from": "Everyone"})), &["spec.claimants.from", "\"Same\", \"All\", \"Selected\""]),
        (with("claimants", json!({"namespaces": ["a"]})), &["spec.claimants.from", "go with from: Selected"]),
        (with("claimants", json!({"from": "Selected"})), &["spec.claimants.from", "Selected needs namespaces"]),
        (with("claimants", json!({"from": "Selected", "namespaces": ["Team"]})), &["spec.claimants.namespaces"]),
        (
            with("claimants", json!({"from": "Selected", "namespaceSelector": {}})),
            &["spec.claimants.namespaceSelector", "selects nothing"],
        ),
        (
            with(
                "claimants",
                json!({"from": "Selected", "namespaceSelector": {"matchLabels": {"a b": "c"}}}),
            ),
            &["spec.claimants.namespaceSelector.matchLabels", "is not a label"],
        ),
        (with("claimants", json!({"maxPriority": 1001})), &["spec.claimants.maxPriority", "1000"]),
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
async fn an_invalid_claim_block_or_dataset_is_refused_naming_the_field_and_creates_nothing() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    for (object, words) in [invalid_claims(), invalid_blocks(), invalid_datasets()].concat() {
        let context = || format!("{:.300}", format!("{}: {}", object["kind"], object["spec"]));
        refused(env.create(object.clone()).await, words).with_context(context)?;
    }
    let all = ListParams::default();
    ensure!(
        env.api::<PrivacyBudgetClaim>("team")
            .list(&all)
            .await?
            .items
            .is_empty()
    );
    ensure!(env.api::<PrivateDataBlock>("team").list(&all).await?.items.len() == 2);
    ensure!(env.api::<PrivateDataset>("team").list(&all).await?.items.len() == 2);
    ensure!(
        env.extender
            .as_ref()
            .is_some_and(|extender| !extender.has_ended())
    );
    env.create(claim("basic", "right").epsilon("1", DELTA).within("team"))
        .await?;
    env.wait_for_claim_phase("team", "right", ClaimPhase::Granted)
        .await?;
    Ok(())
}
