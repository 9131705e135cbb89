//! A pod's budget: it is released if the pod never had a node, and consumed if it had. A pod that is created
//! again is a new claim.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use privatekube_api::{
    ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, BlockBudget, ClaimPhase, Dimension, ENV_GRANT, GATE,
    GRANT_FOLDER, GRANT_VERSION, Grant, GrantedBlock, GrantedBudget, GrantedClaim, RequestedBudget,
    VOLUME_GRANT,
};
use privatekube_cluster::OUTCOME_ANNOTATION;
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod, pod_claim_name};
use privatekube_policy::Phase;
use serde_json::json;

use super::{DELTA, check_block, check_phases, prepare};

#[tokio::test]
async fn pods_consume_their_budget_when_they_are_bound_and_not_before() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(
        a_pod_without_a_node_releases_its_budget(&env),
        a_jobs_retry_is_a_new_claim(&env),
        a_pod_created_again_is_a_new_claim(&env),
        a_shared_claim_is_charged_once(&env),
        a_pod_can_name_a_claim_that_does_not_exist_yet(&env),
        a_pod_with_claims_on_two_datasets_waits_for_both(&env),
        a_pod_without_a_grant_says_why(&env),
        a_pod_behind_another_gate_holds_its_budget(&env),
        a_pod_can_read_its_grant(&env),
    )?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == name)?;
    condition.reason.as_deref()
}

/// Waits until the pod's condition `PodScheduled` has this reason for not being true.
async fn wait_until_not_scheduled(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    reason: &str,
) -> Result<Pod> {
    let holds = |pod: Option<&Pod>| pod.and_then(|pod| condition(pod, "PodScheduled")) == Some(reason);
    env.wait(namespace, name, reason, holds).await?.context("no pod")
}

/// docs/annotations.md says so: budget is allocated while somebody else's gate keeps a pod, and consumed when it has a
/// node, or returned.
async fn a_pod_behind_another_gate_holds_its_budget(env: &TestEnvironment) -> Result<()> {
    let namespace = "other-gates";
    prepare(env, namespace).await?;
    let gates = json!([{"name": "example.com/later"}]);
    for (name, epsilon) in [("runs", "4"), ("deleted", "3")] {
        let behind_it = pod(name)
            .requests("taxi", epsilon, DELTA)
            .with("schedulingGates", gates.clone());
        env.create(behind_it.within(namespace)).await?;
    }
    env.wait_for_block_budget(namespace, "b", ("3", "7", "0")).await?;
    for name in ["runs", "deleted"] {
        let only_the_others = |pod: Option<&Pod>| {
            let gates = pod.and_then(|pod| pod.spec.as_ref()?.scheduling_gates.as_ref());
            gates.is_some_and(|gates| gates.len() == 1 && gates.iter().all(|gate| gate.name != GATE))
        };
        env.wait(namespace, name, "only the other gate is left", only_the_others)
            .await?;
    }
    env.delete::<Pod>(namespace, "deleted").await?;
    env.change::<Pod>(namespace, "runs", json!({"spec": {"schedulingGates": null}}))
        .await?;
    env.wait_for_pod_phase(namespace, "runs", "Running").await?;
    env.wait_for_block_budget(namespace, "b", ("6", "0", "4")).await
}

/// Deletes a granted pod that fits on no node, a waiting pod, and a running pod.
async fn a_pod_without_a_node_releases_its_budget(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-without-node";
    prepare(env, namespace).await?;
    let nowhere = json!({"kubernetes.io/hostname": "nowhere"});
    let stuck = pod("stuck")
        .requests("taxi", "4", DELTA)
        .with("nodeSelector", nowhere);
    env.create(stuck.within(namespace)).await?;
    wait_until_not_scheduled(env, namespace, "stuck", "Unschedulable").await?;
    env.wait_for_block_budget(namespace, "b", ("6", "4", "0")).await?;
    for name in ["next", "gives-up"] {
        let pod = pod(name).requests("taxi", "8", DELTA);
        env.create(pod.within(namespace)).await?;
        env.wait_for_event(namespace, name, "BudgetWaiting").await?;
    }
    env.delete::<Pod>(namespace, "gives-up").await?;
    env.wait_for_event(namespace, "gives-up", "BudgetWithdrawn")
        .await?;
    // What the stuck pod releases is granted to the next one.
    env.delete::<Pod>(namespace, "stuck").await?;
    env.wait_for_pod_phase(namespace, "next", "Running").await?;
    env.wait_for_event(namespace, "stuck", "BudgetReleased").await?;
    env.delete::<Pod>(namespace, "next").await?;
    let gone = |pod: Option<&Pod>| pod.is_none();
    env.wait(namespace, "next", "gone", gone).await?;
    // Epsilon 2 is left: the budget of the pod that ran is consumed.
    let last = pod("last").requests("taxi", "2", DELTA);
    env.create(last.within(namespace)).await?;
    env.wait_for_pod_phase(namespace, "last", "Running").await?;
    env.wait_for_block_budget(namespace, "b", ("0", "0", "10"))
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("0", "0", "10"))?;
    check_phases(
        &ledger,
        &[
            ("stuck", Phase::Released),
            ("next", Phase::Consumed),
            ("gives-up", Phase::Withdrawn),
            ("last", Phase::Consumed),
        ],
    )
}

async fn a_jobs_retry_is_a_new_claim(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-retry";
    prepare(env, namespace).await?;
    let template = pod("try")
        .requests("taxi", "1", DELTA)
        .annotation(OUTCOME_ANNOTATION, "fail");
    env.create(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "try", "namespace": namespace},
        "spec": {"backoffLimit": 1, "template": template.template()},
    }))
    .await?;
    let failed = |job: Option<&Job>| {
        let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Failed" && condition.status == "True")
    };
    env.wait(namespace, "try", "failed", failed).await?;
    let pods = env.pods(namespace).await?;
    ensure!(pods.len() == 2, "{:?}", pods.keys());
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("8", "0", "2"))?;
    ensure!(ledger.phases().len() == 2, "{:?}", ledger.phases());
    for (name, pod) in &pods {
        ensure!(
            ledger.phase(name) == Some(Phase::Consumed),
            "{name}: {:?}",
            ledger.phases()
        );
        let claim = pod_claim_name(pod);
        env.wait_for_claim_phase(namespace, &claim, ClaimPhase::Consumed)
            .await?;
    }
    Ok(())
}

/// A StatefulSet creates pods again in this way.
async fn a_pod_created_again_is_a_new_claim(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-made-again";
    prepare(env, namespace).await?;
    let web = pod("web-0").requests("taxi", "3", DELTA).within(namespace);
    env.create(web.clone()).await?;
    let first = env.wait_for_pod_phase(namespace, "web-0", "Running").await?;
    env.delete::<Pod>(namespace, "web-0").await?;
    let gone = |pod: Option<&Pod>| pod.is_none();
    env.wait(namespace, "web-0", "gone", gone).await?;
    env.create(web).await?;
    let second = env.wait_for_pod_phase(namespace, "web-0", "Running").await?;
    ensure!(first.metadata.uid != second.metadata.uid);
    ensure!(grant_of(&first)?.claims[0].claim != grant_of(&second)?.claims[0].claim);
    env.wait_for_block_budget(namespace, "b", ("4", "0", "6")).await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("4", "0", "6"))?;
    check_phases(&ledger, &[("web-0", Phase::Consumed), ("web-0", Phase::Consumed)])
}

async fn a_shared_claim_is_charged_once(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-shared-claim";
    prepare(env, namespace).await?;
    env.create(claim("taxi", "shared").epsilon("3", DELTA).within(namespace))
        .await?;
    let mut grants = Vec::new();
    for name in ["one", "two"] {
        let pod = pod(name).annotation("claim", "shared");
        env.create(pod.within(namespace)).await?;
        let pod = env.wait_for_pod_phase(namespace, name, "Running").await?;
        grants.push(grant_of(&pod)?);
    }
    ensure!(grants[0] == grants[1], "{grants:?}");
    env.wait_for_claim_phase(namespace, "shared", ClaimPhase::Consumed)
        .await?;
    env.wait_for_block_budget(namespace, "b", ("7", "0", "3")).await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("7", "0", "3"))?;
    check_phases(&ledger, &[("shared", Phase::Consumed)])
}

/// A pod may name a claim that doesn't exist yet, and one that was denied before.
async fn a_pod_can_name_a_claim_that_does_not_exist_yet(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-claim-later";
    prepare(env, namespace).await?;
    env.create(pod("early").annotation("claim", "later").within(namespace))
        .await?;
    let text = format!("privacy budget claim {namespace}/later does not exist yet");
    env.wait_for_event_containing(namespace, "Pod", "early", &text)
        .await?;
    wait_until_not_scheduled(env, namespace, "early", "SchedulingGated").await?;
    env.create(claim("taxi", "later").epsilon("3", DELTA).within(namespace))
        .await?;
    env.wait_for_pod_phase(namespace, "early", "Running").await?;
    let too_large = claim("taxi", "too-large").epsilon("20", DELTA);
    env.create(too_large.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "too-large", ClaimPhase::Denied)
        .await?;
    env.create(pod("late").annotation("claim", "too-large").within(namespace))
        .await?;
    let why = "block b can never give the 20 epsilon asked: 7 is all that is not spent";
    let reason = env
        .wait_for_event_containing(namespace, "Pod", "late", why)
        .await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("7", "0", "3"))?;
    check_phases(
        &ledger,
        &[("later", Phase::Consumed), ("too-large", Phase::Denied)],
    )
}

async fn a_pod_with_claims_on_two_datasets_waits_for_both(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-two-datasets";
    prepare(env, namespace).await?;
    env.create_all([
        dataset("bikes").arrivals(2).within(namespace),
        block("bikes", "bikes-b").budget("4", "1e-6").within(namespace),
        claim("taxi", "of-taxi").epsilon("1", DELTA).within(namespace),
        claim("bikes", "of-bikes").epsilon("3", DELTA).within(namespace),
        pod("both")
            .annotation("claim", "of-taxi, of-bikes")
            .within(namespace),
    ])
    .await?;
    env.wait_for_event_containing(
        namespace,
        "Pod",
        "both",
        "block bikes-b has 2 of the 3 epsilon asked",
    )
    .await?;
    // The granted claim stays allocated, and isn't consumed.
    env.wait_for_block_budget(namespace, "b", ("9", "1", "0")).await?;
    wait_until_not_scheduled(env, namespace, "both", "SchedulingGated").await?;
    // An arrival unlocks what the other claim lacks.
    let other = claim("bikes", "other").epsilon("1", DELTA);
    env.create(other.within(namespace)).await?;
    let both = env.wait_for_pod_phase(namespace, "both", "Running").await?;
    let datasets: Vec<String> = grant_of(&both)?
        .claims
        .into_iter()
        .map(|claim| claim.dataset)
        .collect();
    ensure!(
        datasets == ["pod-two-datasets/taxi", "pod-two-datasets/bikes"],
        "{datasets:?}"
    );
    let taxi = env.ledger(namespace, "taxi").await?;
    check_block(&taxi, "b", ("9", "0", "1"))?;
    check_phases(&taxi, &[("of-taxi", Phase::Consumed)])?;
    let bikes = env.ledger(namespace, "bikes").await?;
    check_block(&bikes, "bikes-b", ("0", "1", "3"))?;
    check_phases(
        &bikes,
        &[("of-bikes", Phase::Consumed), ("other", Phase::Granted)],
    )
}

async fn a_pod_without_a_grant_says_why(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-refused";
    prepare(env, namespace).await?;
    let greedy = pod("greedy").requests("taxi", "10.5", DELTA);
    env.create(greedy.within(namespace)).await?;
    let why = "block b can never give the 10.5 epsilon asked: 10 is all that is not spent";
    let reason = env
        .wait_for_event_containing(namespace, "Pod", "greedy", why)
        .await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    let impatient = pod("impatient")
        .requests("taxi", "10", DELTA)
        .annotation("min-blocks", "2")
        .annotation("timeout", "300ms");
    env.create(impatient.within(namespace)).await?;
    let reason = env
        .wait_for_event_containing(namespace, "Pod", "impatient", "timeout of 300ms")
        .await?;
    ensure!(reason == "BudgetExpired", "{reason}");
    for name in ["greedy", "impatient"] {
        wait_until_not_scheduled(env, namespace, name, "SchedulingGated").await?;
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("10", "0", "0"))?;
    check_phases(
        &ledger,
        &[("greedy", Phase::Denied), ("impatient", Phase::Expired)],
    )
}

fn grant_of(pod: &Pod) -> Result<Grant> {
    let annotations = pod.metadata.annotations.as_ref();
    let grant = annotations.and_then(|annotations| annotations.get(ANNOTATION_GRANT));
    Ok(serde_json::from_str(grant.context("the pod has no grant")?)?)
}

async fn a_pod_can_read_its_grant(env: &TestEnvironment) -> Result<()> {
    let namespace = "pod-grant";
    env.namespace(namespace).await?;
    let day = |name: &str, day: u32| {
        block("taxi", name)
            .with("dataSource", json!(format!("s3://lake/taxi/{name}")))
            .dimension("day", day)
    };
    let days = [day("monday", 1), day("tuesday", 2), day("sunday", 7)];
    env.create(dataset("taxi").within(namespace)).await?;
    env.create_all(days.map(|block| block.within(namespace))).await?;
    let containers = json!([{"name": "main", "image": "train:1"}, {"name": "side", "image": "log:1"}]);
    let reader = pod("reader")
        .requests("taxi", "0.5", DELTA)
        .annotation("blocks", "block.day < 6")
        .with("containers", containers)
        .with("initContainers", json!([{"name": "init", "image": "fetch:1"}]));
    env.create(reader.within(namespace)).await?;
    let reader = env.wait_for_pod_phase(namespace, "reader", "Running").await?;
    let blocks = [("monday", 1), ("tuesday", 2)].map(|(name, day)| GrantedBlock {
        name: name.to_owned(),
        data_source: Some(format!("s3://lake/taxi/{name}")),
        dimensions: [("day".to_owned(), Dimension::Number(day))].into(),
    });
    let (epsilon, delta) = ("0.5".to_owned(), "0.000000001".to_owned());
    let expected = Grant {
        version: GRANT_VERSION,
        claims: vec![GrantedClaim {
            claim: format!("{namespace}/{}", pod_claim_name(&reader)),
            dataset: format!("{namespace}/taxi"),
            privacy_unit: None,
            requested: Some(RequestedBudget::Guarantee {
                epsilon: epsilon.clone(),
                delta: DELTA.to_owned(),
            }),
            block_count: 2,
            budgets: vec![BlockBudget {
                budget: GrantedBudget::Guarantee { epsilon, delta },
                blocks: blocks.to_vec(),
            }],
            blocks_from: None,
        }],
        file: None,
    };
    let grant = grant_of(&reader)?;
    ensure!(grant == expected, "{grant:#?}");
    let spec = reader.spec.as_ref().context("no spec")?;
    ensure!(
        spec.scheduling_gates
            .iter()
            .flatten()
            .all(|gate| gate.name != GATE)
    );
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    for container in containers {
        let variables = container.env.iter().flatten();
        let mut variables = variables.filter(|variable| variable.name == ENV_GRANT);
        let path = variables.next().and_then(|variable| {
            Some(
                variable
                    .value_from
                    .as_ref()?
                    .field_ref
                    .as_ref()?
                    .field_path
                    .as_str(),
            )
        });
        let expected = format!("metadata.annotations['{ANNOTATION_GRANT_VARIABLE}']");
        ensure!(path == Some(&expected), "{}: {path:?}", container.name);
        let mut mounts = container.volume_mounts.iter().flatten();
        let mount = mounts.rfind(|mount| mount.name == VOLUME_GRANT);
        let folder = mount.map(|mount| mount.mount_path.as_str());
        ensure!(folder == Some(GRANT_FOLDER), "{}: {folder:?}", container.name);
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    for (name, expected) in [("monday", ("9.5", "0", "0.5")), ("sunday", ("10", "0", "0"))] {
        check_block(&ledger, name, expected)?;
    }
    Ok(())
}
