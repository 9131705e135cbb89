//! A long queue of nearly equal claims on few blocks: `cargo bench -p privatekube-policy --bench queue`.
//!
//! The largest workload of the OSDI'21 paper (multi-block, Renyi): 234.5 claims a second for 300 seconds.
//! Three of four claims demand the cost of a Gaussian mechanism of epsilon 0.01, the fourth that of 0.1, each
//! times a factor of its own from 0.9999999 to 1, so that no two are equal. Three of four demand the newest
//! block, the fourth the ten newest. There are eleven blocks at the start, and one more every ten seconds.
//! Grants are consumed at once. Several thousand claims wait most of the time. Times are processor time.
//! Arguments choose the runs whose names contain one of them.

#[path = "world/clock.rs"]
mod clock;
#[path = "world/random.rs"]
mod random;

use std::collections::VecDeque;

use anyhow::Result;
use clock::on_processor;
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, Composition, DatasetRules, Demand, Engine, Event, Mechanism, Orders,
    Policy, Record, Revision, Span, Time, Unlocking, Weight,
};
use random::Random;

/// The orders of the paper's simulator.
const ORDERS: [&str; 15] = [
    "1.000001", "1.0001", "1.5", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048",
    "20480",
];
const CLAIMS: u64 = 70_350;
const BETWEEN_CLAIMS: f64 = 4264.781;
const BETWEEN_BLOCKS: u64 = 10_000_000;
const BLOCKS_AT_THE_START: usize = 11;
const BLOCKS: usize = 41;
const BLOCKS_OF_A_CLAIM: usize = 10;
const TICK: Span = Span::from_micros(2_132);

fn orders() -> Result<Orders> {
    let orders = ORDERS.map(str::parse).into_iter().collect::<Result<_, _>>()?;
    Ok(Orders::new(orders)?)
}

fn events(composition: &Composition) -> Result<Vec<(Time, Event)>> {
    let capacity = composition.capacity("1".parse()?, "1e-6".parse()?)?;
    let demand = |epsilon: &str| -> Result<Budget> {
        Ok(Mechanism::for_guarantee(epsilon.parse()?, "1e-9".parse()?)?.demand(composition)?)
    };
    let (mouse, elephant) = (demand("0.01")?, demand("0.1")?);
    let mut random = Random::new(7);
    let mut events = Vec::new();
    let mut blocks = VecDeque::new();
    let add_block = |blocks: &mut VecDeque<BlockId>, made: usize, at: Time, events: &mut Vec<_>| {
        let block = BlockId::from(format!("block-{made}"));
        let capacity = capacity.clone();
        blocks.push_front(block.clone());
        blocks.truncate(BLOCKS_OF_A_CLAIM);
        events.push((at, Event::AddBlock { block, capacity }));
    };
    for made in 0..BLOCKS_AT_THE_START {
        add_block(&mut blocks, made, Time::default(), &mut events);
    }
    let (mut made, mut now, mut next_block) = (BLOCKS_AT_THE_START, 0.0, BETWEEN_BLOCKS);
    for number in 0..CLAIMS {
        // Gaps between arrivals are exponential.
        now -= BETWEEN_CLAIMS * random.unit().ln();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in microseconds"
        )]
        let at = now as u64;
        while made < BLOCKS && next_block <= at {
            made += 1;
            add_block(&mut blocks, made, Time::from_micros(next_block), &mut events);
            next_block += BETWEEN_BLOCKS;
        }
        let asked = if random.below(4) == 0 { &elephant } else { &mouse };
        let less = i64::try_from(random.below(1_000_000))?;
        let units = asked.units().iter().map(|units| {
            let less = i128::from(*units) * i128::from(less) / 10_i128.pow(13);
            units - i64::try_from(less).unwrap_or(0)
        });
        let count = if random.below(4) == 0 {
            BLOCKS_OF_A_CLAIM
        } else {
            1
        };
        let arrival = Arrival {
            claim: format!("claim-{number}").into(),
            demands: vec![Demand {
                blocks: blocks.iter().take(count).cloned().collect(),
                budget: Budget::new(units.collect())?,
            }],
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        };
        events.push((Time::from_micros(at), Event::Arrive(arrival)));
    }
    Ok(events)
}

/// The outcome of a run.
#[derive(Default)]
struct Outcome {
    granted: u64,
    waiting: i64,
    most_waiting: i64,
    consumes: bool,
}

impl Outcome {
    /// Counts grants, and consumes them if the run does: then claims that can never fit are denied, and
    /// otherwise they wait for ever.
    fn follow(&mut self, engine: &mut Engine, records: Vec<Record>) -> Result<()> {
        for record in records {
            match record {
                Record::Granted { claim, .. } => {
                    self.granted += 1;
                    self.waiting -= 1;
                    if !self.consumes {
                        continue;
                    }
                    let amount = Amount::All;
                    let ended = engine.apply(&Event::Consume { claim, amount })?;
                    self.follow(engine, ended)?;
                }
                Record::Denied { .. } => self.waiting -= 1,
                _ => {}
            }
        }
        self.most_waiting = self.most_waiting.max(self.waiting);
        Ok(())
    }
}

fn run(name: &str, policy: Policy, unlocking: Unlocking, consumes: bool) -> Result<()> {
    let composition = Composition::Renyi(orders()?);
    let events = events(&composition)?;
    let mut engine = Engine::new(DatasetRules {
        policy,
        unlocking,
        composition,
        revision: Revision::CURRENT,
    })?;
    let mut outcome = Outcome {
        consumes,
        ..Outcome::default()
    };
    let began = on_processor();
    for (at, event) in &events {
        // Each step at its own time, since a grant is consumed at once.
        while let Some(step) = engine.next_step().filter(|step| step <= at) {
            let records = engine.advance(step);
            outcome.follow(&mut engine, records)?;
        }
        engine.advance(*at);
        if matches!(event, Event::Arrive(_)) {
            outcome.waiting += 1;
        }
        let records = engine.apply(event)?;
        outcome.follow(&mut engine, records)?;
    }
    let took = on_processor().saturating_sub(began).as_secs_f64();
    println!(
        "{name:26} {took:>8.3} s; {} of {CLAIMS} granted, {} waiting at most",
        outcome.granted, outcome.most_waiting
    );
    Ok(())
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let lifetime = |seconds| Unlocking::Lifetime {
        lifetime: Span::from_secs(seconds),
        tick: TICK,
    };
    let runs = [
        ("DPF, N = 7257", Policy::Dpf, Unlocking::Arrivals(7257)),
        ("DPF, N = 10885", Policy::Dpf, Unlocking::Arrivals(10885)),
        ("DPF, N = 30479", Policy::Dpf, Unlocking::Arrivals(30479)),
        ("DPF, T = 31 s", Policy::Dpf, lifetime(31)),
        ("DPF, T = 46 s", Policy::Dpf, lifetime(46)),
        ("DPF, T = 130 s", Policy::Dpf, lifetime(130)),
        (
            "FCFS, N = 10885",
            Policy::Fcfs { refusing: false },
            Unlocking::Arrivals(10885),
        ),
    ];
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let runs = if measures { &runs[..] } else { &runs[..1] };
    for consumes in [true, false] {
        for &(name, policy, unlocking) in runs {
            let name = format!("{name}, {}", if consumes { "consumed" } else { "kept" });
            if chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str())) {
                run(&name, policy, unlocking, consumes)?;
            }
        }
    }
    Ok(())
}
