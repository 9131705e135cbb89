//! How long a scrape of the metrics takes, and what keeping them costs:
//! `cargo test --release -p privatekube-extender --lib -- --ignored --nocapture scrape`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use privatekube_api::{Subject, SubjectKind};
use privatekube_fake_api_server::FakeApiServer;
use privatekube_policy::{
    Arrival, BlockId, Budget, Composition, DatasetRules, Demand, Engine, Event, Orders, Policy, Record,
    Revision, Time, Unlocking, Weight,
};
use privatekube_view::{CommittedState, DatasetObjects, Fairness, Publisher, Step};

use crate::{
    bookkeeper::metrics::DatasetMeter,
    testing::{block, handles, key},
};

const BLOCKS: u64 = 10_000;
const CLAIMS: u64 = 100_000;
/// One claim in ten waits.
const NAMESPACES: u64 = 200;

fn arrival(number: u64, composition: &Composition) -> Event {
    let subject = Subject {
        kind: SubjectKind::Claim,
        namespace: format!("team-{}", number % NAMESPACES),
        name: format!("train-{number}"),
        uid: number.to_string(),
    };
    // Most are small; each tenth demands nearly a whole block, and no two the same.
    let units = if number.is_multiple_of(10) {
        900_000_000_000
    } else {
        1_000_000
    };
    let units = units + i64::try_from(number).unwrap();
    let first = number * 7 % (BLOCKS - 10);
    Event::Arrive(Arrival {
        claim: subject.id(),
        demands: vec![Demand {
            blocks: (first..first + 10).map(name).collect(),
            budget: Budget::new(vec![units; composition.coordinates()]).unwrap(),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

fn name(block: u64) -> BlockId {
    format!("taxi-{block:05}").into()
}

/// The measures of fairness after a replay, in pieces of the size that is used: the meter's own are smaller in tests.
fn in_pieces(engine: &Engine) -> Fairness {
    let mut fairness = Fairness::after_replay(engine);
    let mut pieces: Vec<Duration> = Vec::new();
    while fairness.is_catching_up() {
        let began = Instant::now();
        fairness.catch_up(engine, 2000);
        pieces.push(began.elapsed());
    }
    println!(
        "  claims are looked at in {} pieces, {:?} in all, the longest {:?}",
        pieces.len(),
        pieces.iter().sum::<Duration>(),
        pieces.iter().max()
    );
    fairness
}

#[tokio::test]
#[ignore = "it measures, and takes long"]
async fn scrape() {
    for composition in [Composition::Basic, Composition::Renyi(Orders::default())] {
        let (mut handles, _) = handles(&FakeApiServer::default());
        handles.measured.most_blocks = 1000;
        let mut engine = Engine::new(DatasetRules {
            policy: Policy::Dpf,
            unlocking: Unlocking::Arrivals(1_000_000),
            composition: composition.clone(),
            revision: Revision::CURRENT,
        })
        .unwrap();
        let mut objects = DatasetObjects::default();
        for number in 0..BLOCKS {
            let block_name = name(number);
            objects.add_block(block(block_name.as_str(), block_name.as_str(), Some("1")));
            let (epsilon, delta) = ("1".parse().unwrap(), "1e-7".parse().unwrap());
            let capacity = composition.capacity(epsilon, delta).unwrap();
            engine
                .apply(&Event::AddBlock {
                    block: block_name,
                    capacity,
                })
                .unwrap();
        }
        for number in 0..CLAIMS {
            engine.advance(Time::from_micros(number));
            engine.apply(&arrival(number, &composition)).unwrap();
        }
        let mut publisher = Publisher::new(key(), Arc::clone(&handles.view));
        let state = CommittedState {
            engine: &engine,
            sequence: 1,
        };
        let _ = publisher.publish_all(state, &objects, engine.now(), |_| true);
        let mut meter = DatasetMeter::new(handles.clone(), key(), false);
        let began = Instant::now();
        meter.opened(state, engine.now(), Duration::ZERO);
        meter.all_blocks(&objects);
        meter.phases(&publisher);
        println!(
            "{composition:?}\n  decisions wait for {:?} after a replay",
            began.elapsed()
        );
        let mut fairness = in_pieces(&engine);
        while meter.is_catching_up() {
            meter.catch_up(&engine);
        }
        let mut took: Vec<Duration> = Vec::new();
        let mut text = String::new();
        for _ in 0..21 {
            let began = Instant::now();
            text = handles.metrics.text().unwrap();
            took.push(began.elapsed());
        }
        took.sort();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        println!(
            "  a scrape takes {:?} (the middle of 21; the longest {:?}): {series} series, {} bytes",
            took[10],
            took[20],
            text.len()
        );
        while fairness.is_behind() {
            fairness.look(&engine);
        }
        let began = Instant::now();
        let measured = fairness.measured();
        println!(
            "  the numbers of the dataset take {:?}: {measured:?}",
            began.elapsed()
        );
        let mut took = Vec::new();
        for number in CLAIMS..CLAIMS + 1000 {
            let event = arrival(number, &composition);
            let Event::Arrive(Arrival { claim, .. }) = &event else {
                return;
            };
            let records: Vec<Record> = engine.apply(&event).unwrap();
            let step = Step {
                claim: Some(claim),
                records: &records,
            };
            let began = Instant::now();
            fairness.follow(&engine, [step].into_iter());
            took.push(began.elapsed());
        }
        took.sort();
        println!(
            "  following an arrival on 10 blocks takes {:?} (the middle of 1000)",
            took[500]
        );
    }
}
