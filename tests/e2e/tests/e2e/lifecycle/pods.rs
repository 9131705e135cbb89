//! What becomes of a pod's budget: a pod that never had a node gives it back, one that had has spent it, and a pod
//! that is made again is a new demand.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use privatekube_api::{
    ANNOTATION_GRANT, ClaimPhase, ENV_GRANT, GATE, Grant, GrantedBlock, GrantedBudget, GrantedClaim,
};
use privatekube_cluster::OUTCOME_ANNOTATION;
use privatekube_e2e::{World, block, claim, dataset, inline_claim, pod};
use privatekube_policy::Phase;
use serde_json::json;

use super::{DELTA, has, phases, prepared};

#[tokio::test]
async fn pods_spend_their_budget_when_they_get_a_node_and_not_before() -> Result<()> {
    let world = World::start().await?;
    try_join!(
        without_a_node_it_comes_back(&world),
        a_retry_is_a_new_demand(&world),
        made_again_is_a_new_demand(&world),
        a_shared_claim_is_charged_once(&world),
        a_claim_may_come_later(&world),
        two_datasets_are_both_waited_for(&world),
        a_refused_pod_says_why(&world),
        a_pod_reads_its_grant(&world),
    )?;
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == name)?;
    condition.reason.as_deref()
}

/// Waits until the scheduler says that it does not place a pod, and this is its word for why.
async fn not_placed(world: &World, namespace: &str, name: &str, reason: &str) -> Result<Pod> {
    let holds = |pod: Option<&Pod>| pod.and_then(|pod| condition(pod, "PodScheduled")) == Some(reason);
    world
        .wait(namespace, name, reason, holds)
        .await?
        .context("no pod")
}

/// Granted, but no node is good for it; waiting; and one that ran.
async fn without_a_node_it_comes_back(world: &World) -> Result<()> {
    let namespace = "pod-without-node";
    prepared(world, namespace).await?;
    let nowhere = json!({"kubernetes.io/hostname": "nowhere"});
    let stuck = pod("stuck")
        .asks("taxi", "4", DELTA)
        .with("nodeSelector", nowhere);
    world.create(stuck.within(namespace)).await?;
    not_placed(world, namespace, "stuck", "Unschedulable").await?;
    world.block_shows(namespace, "b", ("6", "4", "0")).await?;
    for name in ["next", "gives-up"] {
        let pod = pod(name).asks("taxi", "8", DELTA);
        world.create(pod.within(namespace)).await?;
        world.event(namespace, name, "BudgetWaiting").await?;
    }
    world.delete::<Pod>(namespace, "gives-up").await?;
    world.event(namespace, "gives-up", "BudgetWithdrawn").await?;
    // What the stuck one gives back goes to the next.
    world.delete::<Pod>(namespace, "stuck").await?;
    world.pod_phase(namespace, "next", "Running").await?;
    world.event(namespace, "stuck", "BudgetReleased").await?;
    world.delete::<Pod>(namespace, "next").await?;
    let gone = |pod: Option<&Pod>| pod.is_none();
    world.wait(namespace, "next", "gone", gone).await?;
    // Two are left: what ran is spent.
    let last = pod("last").asks("taxi", "2", DELTA);
    world.create(last.within(namespace)).await?;
    world.pod_phase(namespace, "last", "Running").await?;
    world.block_shows(namespace, "b", ("0", "0", "10")).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("0", "0", "10"))?;
    phases(
        &books,
        &[
            ("stuck", Phase::Released),
            ("next", Phase::Consumed),
            ("gives-up", Phase::Withdrawn),
            ("last", Phase::Consumed),
        ],
    )
}

async fn a_retry_is_a_new_demand(world: &World) -> Result<()> {
    let namespace = "pod-retry";
    prepared(world, namespace).await?;
    let template = pod("try")
        .asks("taxi", "1", DELTA)
        .annotation(OUTCOME_ANNOTATION, "fail");
    world
        .create(json!({
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
    world.wait(namespace, "try", "failed", failed).await?;
    let pods = world.pods(namespace).await?;
    ensure!(pods.len() == 2, "{:?}", pods.keys());
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("8", "0", "2"))?;
    ensure!(books.phases().len() == 2, "{:?}", books.phases());
    for (name, pod) in &pods {
        ensure!(
            books.phase(name) == Some(Phase::Consumed),
            "{name}: {:?}",
            books.phases()
        );
        let claim = inline_claim(pod);
        world.claim_phase(namespace, &claim, ClaimPhase::Consumed).await?;
    }
    Ok(())
}

/// As a StatefulSet does.
async fn made_again_is_a_new_demand(world: &World) -> Result<()> {
    let namespace = "pod-made-again";
    prepared(world, namespace).await?;
    let web = pod("web-0").asks("taxi", "3", DELTA).within(namespace);
    world.create(web.clone()).await?;
    let first = world.pod_phase(namespace, "web-0", "Running").await?;
    world.delete::<Pod>(namespace, "web-0").await?;
    let gone = |pod: Option<&Pod>| pod.is_none();
    world.wait(namespace, "web-0", "gone", gone).await?;
    world.create(web).await?;
    let second = world.pod_phase(namespace, "web-0", "Running").await?;
    ensure!(first.metadata.uid != second.metadata.uid);
    ensure!(granted(&first)?.claims[0].claim != granted(&second)?.claims[0].claim);
    world.block_shows(namespace, "b", ("4", "0", "6")).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("4", "0", "6"))?;
    phases(&books, &[("web-0", Phase::Consumed), ("web-0", Phase::Consumed)])
}

async fn a_shared_claim_is_charged_once(world: &World) -> Result<()> {
    let namespace = "pod-shared-claim";
    prepared(world, namespace).await?;
    world
        .create(claim("taxi", "shared").epsilon("3", DELTA).within(namespace))
        .await?;
    let mut grants = Vec::new();
    for name in ["one", "two"] {
        let pod = pod(name).annotation("claim", "shared");
        world.create(pod.within(namespace)).await?;
        let pod = world.pod_phase(namespace, name, "Running").await?;
        grants.push(granted(&pod)?);
    }
    ensure!(grants[0] == grants[1], "{grants:?}");
    world
        .claim_phase(namespace, "shared", ClaimPhase::Consumed)
        .await?;
    world.block_shows(namespace, "b", ("7", "0", "3")).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("7", "0", "3"))?;
    phases(&books, &[("shared", Phase::Consumed)])
}

/// A pod may name a claim that nobody made yet, and one that was refused long ago.
async fn a_claim_may_come_later(world: &World) -> Result<()> {
    let namespace = "pod-claim-later";
    prepared(world, namespace).await?;
    world
        .create(pod("early").annotation("claim", "later").within(namespace))
        .await?;
    let text = format!("privacy budget claim {namespace}/later does not exist yet");
    world.told(namespace, "Pod", "early", &text).await?;
    not_placed(world, namespace, "early", "SchedulingGated").await?;
    world
        .create(claim("taxi", "later").epsilon("3", DELTA).within(namespace))
        .await?;
    world.pod_phase(namespace, "early", "Running").await?;
    let too_large = claim("taxi", "too-large").epsilon("20", DELTA);
    world.create(too_large.within(namespace)).await?;
    world
        .claim_phase(namespace, "too-large", ClaimPhase::Denied)
        .await?;
    world
        .create(pod("late").annotation("claim", "too-large").within(namespace))
        .await?;
    let why = "block b can never give the 20 epsilon asked: 7 is all that is not spent";
    let reason = world.told(namespace, "Pod", "late", why).await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("7", "0", "3"))?;
    phases(
        &books,
        &[("later", Phase::Consumed), ("too-large", Phase::Denied)],
    )
}

async fn two_datasets_are_both_waited_for(world: &World) -> Result<()> {
    let namespace = "pod-two-datasets";
    prepared(world, namespace).await?;
    world
        .create_all([
            dataset("bikes").arrivals(2).within(namespace),
            block("bikes", "bikes-b").budget("4", "1e-6").within(namespace),
            claim("taxi", "of-taxi").epsilon("1", DELTA).within(namespace),
            claim("bikes", "of-bikes").epsilon("3", DELTA).within(namespace),
            pod("both")
                .annotation("claim", "of-taxi, of-bikes")
                .within(namespace),
        ])
        .await?;
    world
        .told(
            namespace,
            "Pod",
            "both",
            "block bikes-b has 2 of the 3 epsilon asked",
        )
        .await?;
    // The one that is granted is kept, and not spent.
    world.block_shows(namespace, "b", ("9", "1", "0")).await?;
    not_placed(world, namespace, "both", "SchedulingGated").await?;
    // An arrival unlocks what the other lacks.
    let other = claim("bikes", "other").epsilon("1", DELTA);
    world.create(other.within(namespace)).await?;
    let both = world.pod_phase(namespace, "both", "Running").await?;
    let datasets: Vec<String> = granted(&both)?
        .claims
        .into_iter()
        .map(|claim| claim.dataset)
        .collect();
    ensure!(
        datasets == ["pod-two-datasets/taxi", "pod-two-datasets/bikes"],
        "{datasets:?}"
    );
    let taxi = world.books(namespace, "taxi").await?;
    has(&taxi, "b", ("9", "0", "1"))?;
    phases(&taxi, &[("of-taxi", Phase::Consumed)])?;
    let bikes = world.books(namespace, "bikes").await?;
    has(&bikes, "bikes-b", ("0", "1", "3"))?;
    phases(
        &bikes,
        &[("of-bikes", Phase::Consumed), ("other", Phase::Granted)],
    )
}

async fn a_refused_pod_says_why(world: &World) -> Result<()> {
    let namespace = "pod-refused";
    prepared(world, namespace).await?;
    let greedy = pod("greedy").asks("taxi", "10.5", DELTA);
    world.create(greedy.within(namespace)).await?;
    let why = "block b can never give the 10.5 epsilon asked: 10 is all that is not spent";
    let reason = world.told(namespace, "Pod", "greedy", why).await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    let impatient = pod("impatient")
        .asks("taxi", "10", DELTA)
        .annotation("min-blocks", "2")
        .annotation("timeout", "300ms");
    world.create(impatient.within(namespace)).await?;
    let reason = world
        .told(namespace, "Pod", "impatient", "timeout of 300ms")
        .await?;
    ensure!(reason == "BudgetExpired", "{reason}");
    for name in ["greedy", "impatient"] {
        not_placed(world, namespace, name, "SchedulingGated").await?;
    }
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("10", "0", "0"))?;
    phases(
        &books,
        &[("greedy", Phase::Denied), ("impatient", Phase::Expired)],
    )
}

fn granted(pod: &Pod) -> Result<Grant> {
    let annotations = pod.metadata.annotations.as_ref();
    let grant = annotations.and_then(|annotations| annotations.get(ANNOTATION_GRANT));
    Ok(serde_json::from_str(grant.context("the pod has no grant")?)?)
}

async fn a_pod_reads_its_grant(world: &World) -> Result<()> {
    let namespace = "pod-grant";
    world.namespace(namespace).await?;
    let day = |name: &str, day: u32| {
        block("taxi", name)
            .with("dataSource", json!(format!("s3://lake/taxi/{name}")))
            .dimension("day", day)
    };
    let days = [day("monday", 1), day("tuesday", 2), day("sunday", 7)];
    world.create(dataset("taxi").within(namespace)).await?;
    world
        .create_all(days.map(|block| block.within(namespace)))
        .await?;
    let containers = json!([{"name": "main", "image": "train:1"}, {"name": "side", "image": "log:1"}]);
    let reader = pod("reader")
        .asks("taxi", "0.5", DELTA)
        .annotation("blocks", "block.day < 6")
        .with("containers", containers)
        .with("initContainers", json!([{"name": "init", "image": "fetch:1"}]));
    world.create(reader.within(namespace)).await?;
    let reader = world.pod_phase(namespace, "reader", "Running").await?;
    let blocks = ["monday", "tuesday"].map(|name| GrantedBlock {
        name: name.to_owned(),
        data_source: Some(format!("s3://lake/taxi/{name}")),
        budget: GrantedBudget::Guarantee {
            epsilon: "0.5".to_owned(),
            delta: "0.000000001".to_owned(),
        },
    });
    let expected = Grant {
        claims: vec![GrantedClaim {
            claim: format!("{namespace}/{}", inline_claim(&reader)),
            dataset: format!("{namespace}/taxi"),
            blocks: blocks.to_vec(),
        }],
    };
    let grant = granted(&reader)?;
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
        let expected = format!("metadata.annotations['{ANNOTATION_GRANT}']");
        ensure!(path == Some(&expected), "{}: {path:?}", container.name);
    }
    let books = world.books(namespace, "taxi").await?;
    for (name, expected) in [("monday", ("9.5", "0", "0.5")), ("sunday", ("10", "0", "0"))] {
        has(&books, name, expected)?;
    }
    Ok(())
}
