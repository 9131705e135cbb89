//! What one event costs while many claims wait: `cargo bench -p privatekube-policy`.
//!
//! 10,000 blocks; each waiting claim asks 1 to 10 of them, different from any other, for more than is unlocked. On top
//! of these, over and over: a claim that has to wait comes and is taken back; a small claim comes, is granted and
//! consumed; a small claim is granted and gives its budget back, which makes the engine look whom that helps (nobody).
//! Each line of the results is one event, and `waiting/...` says what a waiting claim takes in memory.

#![allow(clippy::expect_used, reason = "a benchmark that is set up wrong must end")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, Composition, Demand, Engine, Event, Orders, Policy, Setting, Unlocking,
    Weight,
};

const BLOCKS: u64 = 10_000;
const MOST_BLOCKS: u64 = 10;
/// A block's capacity at each coordinate. A claim's arrival unlocks 1 of it.
const CAPACITY: i64 = 1_000_000_000_000;
const ARRIVALS: u32 = 1_000_000_000;
/// What each block has unlocked when the measuring begins, and large claims ask at least ten times.
const UNLOCKED: i64 = 1_000_000_000;

/// SplitMix64: the same workload each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

struct World {
    engine: Engine,
    blocks: Vec<BlockId>,
    random: Random,
    made: u64,
    coordinates: usize,
}

fn budget(units: impl Iterator<Item = i64>) -> Budget {
    Budget::new(units.collect()).expect("no amount is negative")
}

impl World {
    fn new(composition: Composition, waiting: u64) -> Self {
        let coordinates = composition.coordinates();
        let setting = Setting {
            policy: Policy::Dpf,
            unlocking: Unlocking::Arrivals(ARRIVALS),
            composition,
        };
        let mut engine = Engine::new(setting).expect("the setting is usable");
        let blocks: Vec<BlockId> = (0..BLOCKS)
            .map(|at| BlockId::from(format!("block-{at}")))
            .collect();
        for block in &blocks {
            let capacity = budget((0..coordinates).map(|_| CAPACITY));
            engine
                .apply(&Event::AddBlock {
                    block: block.clone(),
                    capacity,
                })
                .expect("the block is new");
        }
        let mut world = Self {
            engine,
            blocks,
            random: Random(7),
            made: 0,
            coordinates,
        };
        for _ in 0..waiting {
            let claim = world.large();
            world.apply(&Event::Arrive(claim));
        }
        world
    }

    fn apply(&mut self, event: &Event) {
        black_box(self.engine.apply(event).expect("the event makes sense"));
    }

    fn arrival(&mut self, least: i64, most: u64) -> Arrival {
        let count = 1 + self.random.below(MOST_BLOCKS);
        let first = self.random.below(BLOCKS);
        let step = 1 + self.random.below(BLOCKS / MOST_BLOCKS - 1);
        let at = |nth: u64| usize::try_from((first + nth * step) % BLOCKS).unwrap_or(0);
        let blocks = (0..count).map(|nth| self.blocks[at(nth)].clone()).collect();
        let asked: Vec<i64> = (0..self.coordinates)
            .map(|_| least + i64::try_from(self.random.below(most)).unwrap_or(0))
            .collect();
        self.made += 1;
        Arrival {
            claim: format!("claim-{}", self.made).into(),
            demands: vec![Demand {
                blocks,
                budget: budget(asked.into_iter()),
            }],
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        }
    }

    /// Asks more than will ever be unlocked here.
    fn large(&mut self) -> Arrival {
        self.arrival(10 * UNLOCKED, 400_000_000_000)
    }

    /// Asks less than one arrival unlocks.
    fn small(&mut self) -> Arrival {
        self.arrival(1, 99)
    }
}

fn compositions() -> [(&'static str, Composition); 2] {
    [
        ("basic", Composition::Basic),
        ("renyi-12", Composition::Renyi(Orders::default())),
    ]
}

/// Times what `work` does with each of the arrivals that `make` makes, and nothing else.
fn timed(
    world: &mut World,
    times: u64,
    make: impl Fn(&mut World) -> Arrival,
    work: impl Fn(&mut World, Arrival),
) -> Duration {
    let arrivals: Vec<Arrival> = (0..times).map(|_| make(world)).collect();
    let began = Instant::now();
    for arrival in arrivals {
        work(world, arrival);
    }
    began.elapsed()
}

/// The memory that this process holds, in bytes.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * PAGE
}

fn events(criterion: &mut Criterion) {
    let sizes: Vec<u64> = match std::env::var("PRIVATEKUBE_BENCH_MOST_WAITING").map(|most| most.parse()) {
        Ok(Ok(most)) => [1_000, 10_000, 100_000, 1_000_000]
            .into_iter()
            .filter(|size| *size <= most)
            .collect(),
        _ => vec![1_000, 10_000, 100_000, 1_000_000],
    };
    for (name, composition) in compositions() {
        let mut group = criterion.benchmark_group(name);
        for waiting in &sizes {
            let before = resident();
            let mut world = World::new(composition.clone(), *waiting);
            let taken = resident().saturating_sub(before);
            println!(
                "{name}: {waiting} waiting take {} bytes each, blocks included",
                taken / waiting
            );
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
