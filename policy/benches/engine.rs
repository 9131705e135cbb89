//! The cost of one event while many claims wait: `cargo bench -p privatekube-policy`.
//!
//! There are 10,000 blocks; each waiting claim demands more than is unlocked on 1 to 10 of them, and no two
//! are equal. Meanwhile, over and over: a claim that has to wait arrives and is withdrawn; a small claim
//! arrives, is granted and consumed; a small claim is granted and released, after which the engine looks for
//! claims that fit now (none do). Each measurement is two events, in processor time. The bench `memory`
//! measures the memory of a waiting claim. `PRIVATEKUBE_BENCH_MOST_WAITING=100000` leaves larger numbers of
//! waiting claims out.

#[path = "world/clock.rs"]
mod clock;
mod world;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use privatekube_policy::{Amount, Arrival, Event};

use clock::on_processor;
use world::{World, compositions};

/// The time that `work` takes for all arrivals, without the time that `make` takes to create them.
fn timed(
    world: &mut World,
    times: u64,
    make: impl Fn(&mut World) -> Arrival,
    work: impl Fn(&mut World, Arrival),
) -> Duration {
    let arrivals: Vec<Arrival> = (0..times).map(|_| make(world)).collect();
    let began = on_processor();
    for arrival in arrivals {
        work(world, arrival);
    }
    on_processor().saturating_sub(began)
}

fn events(criterion: &mut Criterion) {
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let most = std::env::var("PRIVATEKUBE_BENCH_MOST_WAITING").map(|most| most.parse());
    let most = match most {
        Ok(Ok(most)) => most,
        _ if measures => u64::MAX,
        _ => 1_000,
    };
    let sizes = [1_000, 10_000, 100_000, 1_000_000].into_iter();
    let sizes: Vec<u64> = sizes.filter(|size| *size <= most).collect();
    for (name, composition) in compositions() {
        let mut group = criterion.benchmark_group(name);
        for waiting in &sizes {
            let mut world = World::new(composition.clone(), *waiting);
            group.throughput(Throughput::Elements(2));
            group.bench_function(BenchmarkId::new("wait+withdraw", waiting), |bencher| {
                bencher.iter_custom(|times| {
                    timed(&mut world, times, World::large, |world, arrival| {
                        let claim = arrival.claim.clone();
                        world.apply(&Event::Arrive(arrival));
                        world.apply(&Event::Withdraw { claim });
                    })
                });
            });
            group.bench_function(BenchmarkId::new("grant+consume", waiting), |bencher| {
                bencher.iter_custom(|times| {
                    timed(&mut world, times, World::small, |world, arrival| {
                        let claim = arrival.claim.clone();
                        world.apply(&Event::Arrive(arrival));
                        world.apply(&Event::Consume {
                            claim,
                            amount: Amount::All,
                        });
                    })
                });
            });
            group.bench_function(BenchmarkId::new("grant+release", waiting), |bencher| {
                bencher.iter_custom(|times| {
                    timed(&mut world, times, World::small, |world, arrival| {
                        let claim = arrival.claim.clone();
                        world.apply(&Event::Arrive(arrival));
                        world.apply(&Event::Release {
                            claim,
                            amount: Amount::All,
                        });
                    })
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = engine;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = events
}
criterion_main!(engine);
