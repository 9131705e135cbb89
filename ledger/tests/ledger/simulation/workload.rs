//! Random rules and events, with few names, so that writers that know nothing of each other use the same
//! ones.

use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Event, Orders, Policy,
    Revision, Span, Unlocking, Weight,
};

use super::rng::Rng;

const BLOCKS: [&str; 4] = ["b0", "b1", "b2", "b3"];

pub(crate) fn rules(rng: &mut Rng) -> DatasetRules {
    let unlockings = [
        Unlocking::Immediate,
        Unlocking::Arrivals(3),
        Unlocking::Lifetime {
            lifetime: Span::from_micros(60),
            tick: Span::from_micros(7),
        },
    ];
    let orders = ["2", "8"].map(|order| order.parse().unwrap());
    let compositions = [
        Composition::Basic,
        Composition::Renyi(Orders::new(orders.to_vec()).unwrap()),
    ];
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: *rng.pick(&unlockings),
        composition: rng.pick(&compositions).clone(),
        revision: Revision::CURRENT,
    }
}

pub(crate) fn event(rng: &mut Rng) -> Event {
    let claim = ClaimId::from(format!("c{}", rng.below(60)));
    match rng.below(20) {
        0..=2 => Event::AddBlock {
            block: (*rng.pick(&BLOCKS)).into(),
            capacity: budget(rng, 60),
        },
        3..=10 => Event::Arrive(Arrival {
            claim,
            demands: demands(rng),
            min_blocks: u32::try_from(rng.below(3)).unwrap() + 1,
            timeout: rng.chance(40).then(|| Span::from_micros(rng.below(60))),
            priority: i32::try_from(rng.below(3)).unwrap() - 1,
            weight: Weight::default(),
        }),
        11 => Event::Match {
            claim,
            demands: demands(rng),
        },
        12..=14 => Event::Consume {
            claim,
            amount: amount(rng),
        },
        15 | 16 => Event::Release {
            claim,
            amount: amount(rng),
        },
        17 => Event::Withdraw { claim },
        18 => Event::NeverRan { claim },
        _ if rng.chance(20) => Event::RetireBlock {
            block: (*rng.pick(&BLOCKS)).into(),
        },
        _ if rng.chance(2) => Event::WriteOff {
            after: rng.below(100),
            unknown_blocks: vec![(*rng.pick(&BLOCKS)).into()],
            reason: "lost".to_owned(),
        },
        _ => Event::Consume {
            claim,
            amount: Amount::All,
        },
    }
}

fn amount(rng: &mut Rng) -> Amount {
    if rng.chance(60) {
        Amount::All
    } else {
        Amount::InAll(demands(rng))
    }
}

fn demands(rng: &mut Rng) -> Vec<Demand> {
    let blocks = BLOCKS
        .iter()
        .filter(|_| rng.chance(40))
        .map(|block| BlockId::from(*block));
    let blocks = blocks.collect();
    vec![Demand {
        blocks,
        budget: budget(rng, 30),
    }]
}

fn budget(rng: &mut Rng, most: u64) -> Budget {
    let mut unit = || i64::try_from(rng.below(most)).unwrap();
    Budget::new(vec![unit(), unit()]).unwrap()
}
