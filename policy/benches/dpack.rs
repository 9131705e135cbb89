//! One pass of DPack over a long queue: `cargo bench -p privatekube-policy --bench dpack`.
//!
//! 10,000 claims wait for 100 blocks, of which nothing is unlocked; then the clock takes a step. Each claim
//! demands the cost of a Gaussian, a Laplace or a sampled Gaussian mechanism with parameters of its own, at
//! 12 Renyi orders, on 1 to 10 successive blocks. The time is that of the step: looking at all claims that
//! wait, and granting those that fit. Each run starts again with the same claims, and the fastest counts.
//! Then, while the others wait, small claims arrive, are granted and consumed. Arguments choose the runs
//! whose names contain one of them.

#[path = "world/random.rs"]
mod random;

use std::time::{Duration, Instant};

use anyhow::Result;
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Mechanism,
    Orders, Policy, Record, Revision, Span, Time, Unlocking, Weight,
};
use random::Random;

const BLOCKS: u64 = 100;
const CLAIMS: u64 = 10_000;
const MOST_BLOCKS: u64 = 10;
const TICK: Span = Span::from_micros(10_000_000);
const RUNS: usize = 3;

/// A number from `from` to `to` with a uniform logarithm.
fn between(random: &mut Random, from: f64, to: f64) -> f64 {
    from * (to / from).powf(random.unit())
}

/// A mechanism that demands roughly between a thousandth and a twentieth of a block at its best order.
fn mechanism(random: &mut Random) -> String {
    match random.below(3) {
        0 => format!("gaussian(sigma={})", between(random, 3.0, 20.0)),
        1 => format!("laplace(scale={})", between(random, 5.0, 100.0)),
        _ => format!(
            "dp-sgd(noise-multiplier={},sample-rate={},steps={})",
            between(random, 0.8, 2.0),
            between(random, 0.002, 0.01),
            200 + random.below(800)
        ),
    }
}

fn arrivals(composition: &Composition) -> Result<Vec<Arrival>> {
    let random = &mut Random::new(11);
    let arrival = |number: u64| {
        let budget = mechanism(random).parse::<Mechanism>()?.demand(composition)?;
        let count = 1 + random.below(MOST_BLOCKS);
        let first = random.below(BLOCKS - count + 1);
        Ok(Arrival {
            claim: format!("claim-{number}").into(),
            demands: vec![Demand {
                blocks: (first..first + count).map(block).collect(),
                budget,
            }],
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        })
    };
    (0..CLAIMS).map(arrival).collect()
}

fn block(number: u64) -> BlockId {
    format!("block-{number}").into()
}

/// An engine in which all claims wait for the first of `steps` steps of the clock.
fn waiting(policy: Policy, steps: u64, composition: &Composition, arrivals: &[Arrival]) -> Result<Engine> {
    let capacity: Budget = composition.capacity("10".parse()?, "1e-7".parse()?)?;
    let lifetime = Span::from_micros(TICK.micros() * steps);
    let mut engine = Engine::new(DatasetRules {
        policy,
        unlocking: Unlocking::Lifetime { lifetime, tick: TICK },
        composition: composition.clone(),
        revision: Revision::CURRENT,
    })?;
    // Just after a multiple of the tick, so that the first step is not taken at once.
    engine.advance(Time::from_micros(1));
    for number in 0..BLOCKS {
        let (block, capacity) = (block(number), capacity.clone());
        engine.apply(&Event::AddBlock { block, capacity })?;
    }
    for arrival in arrivals {
        engine.apply(&Event::Arrive(arrival.clone()))?;
    }
    Ok(engine)
}

fn measure(
    name: &str,
    policy: Policy,
    steps: u64,
    composition: &Composition,
    arrivals: &[Arrival],
) -> Result<()> {
    let engine = waiting(policy, steps, composition, arrivals)?;
    let mut fastest = Duration::MAX;
    let mut granted = 0;
    for _ in 0..RUNS {
        let mut engine = engine.clone();
        let began = Instant::now();
        let records = engine.advance(Time::from_micros(TICK.micros()));
        fastest = fastest.min(began.elapsed());
        granted = records
            .iter()
            .filter(|record| matches!(record, Record::Granted { .. }))
            .count();
    }
    println!(
        "{name:31} {granted:>6} granted in {:>8.1} ms",
        fastest.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Measures claims that arrive one by one, fit, and are consumed, while all the others wait.
fn measure_small(name: &str, policy: Policy, composition: &Composition, arrivals: &[Arrival]) -> Result<()> {
    const SMALL: u32 = 1000;
    let mut engine = waiting(policy, 30, composition, arrivals)?;
    engine.advance(Time::from_micros(TICK.micros()));
    let random = &mut Random::new(12);
    let budget = "laplace(scale=1e6)".parse::<Mechanism>()?.demand(composition)?;
    // Small claims arrive for the blocks of which something is still available.
    let free = (0..BLOCKS).filter(|number| {
        let state = engine.block(&block(*number));
        state.is_some_and(|state| state.available.iter().any(|unlocked| *unlocked > 0))
    });
    let free: Vec<u64> = free.collect();
    let events = (0..SMALL).flat_map(|number| {
        let at = usize::try_from(random.below(free.len() as u64)).unwrap_or(0);
        let claim = ClaimId::from(format!("small-{number}"));
        let arrival = Arrival {
            claim: claim.clone(),
            demands: vec![Demand {
                blocks: vec![block(free[at])],
                budget: budget.clone(),
            }],
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        };
        [
            Event::Arrive(arrival),
            Event::Consume {
                claim,
                amount: Amount::All,
            },
        ]
    });
    let events: Vec<Event> = events.collect();
    let began = Instant::now();
    for event in &events {
        engine.apply(event)?;
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(SMALL);
    println!("{name:31} {each:>8.1} us");
    Ok(())
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let composition = Composition::Renyi(Orders::default());
    let arrivals = arrivals(&composition)?;
    let dpack = |recompute_after| Policy::Dpack { recompute_after };
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    for &steps in if measures { &[30, 4, 1][..] } else { &[30] } {
        for (name, policy) in [
            ("dpf", Policy::Dpf),
            ("dpack once", dpack(u32::MAX)),
            ("dpack every 50", dpack(50)),
            ("dpack every grant", dpack(1)),
        ] {
            let name = format!("1/{steps} of all, {name}");
            if chosen.is_empty() || chosen.iter().any(|chosen| name.contains(chosen)) {
                measure(&name, policy, steps, &composition, &arrivals)?;
            }
        }
    }
    for (name, policy) in [
        ("small, dpf", Policy::Dpf),
        ("small, dpack every grant", dpack(1)),
    ] {
        if chosen.is_empty() || chosen.iter().any(|chosen| name.contains(chosen)) {
            measure_small(name, policy, &composition, &arrivals)?;
        }
    }
    Ok(())
}
