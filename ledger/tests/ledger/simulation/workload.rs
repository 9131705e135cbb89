//! Random rules and events, with few names, so that writers that know nothing of each other use the same
//! ones.

use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Orders,
    Phase, Policy, Revision, Span, Unlocking, Weight,
};

use super::{planted::Planted, rng::Rng};

pub(crate) fn rules(rng: &mut Rng, planted: Option<Planted>) -> DatasetRules {
    let lifetime = Unlocking::Lifetime {
        lifetime: Span::from_micros(60),
        tick: Span::from_micros(7),
    };
    let unlockings = match planted {
        // Only there the clock grants.
        Some(Planted::WritesOffLate) => [lifetime; 3],
        _ => [Unlocking::Immediate, Unlocking::Arrivals(3), lifetime],
    };
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

/// An event about the last four of so many blocks, or an older one.
pub(crate) fn event(rng: &mut Rng, blocks: u64) -> Event {
    let claim = ClaimId::from(format!("c{}", rng.below(60)));
    match rng.below(20) {
        0..=2 => Event::AddBlock {
            block: block(rng, blocks),
            capacity: budget(rng, 60),
        },
        3..=10 => Event::Arrive(Arrival {
            claim,
            demands: demands(rng, blocks),
            min_blocks: u32::try_from(rng.below(3)).unwrap() + 1,
            timeout: rng.chance(40).then(|| Span::from_micros(rng.below(60))),
            priority: i32::try_from(rng.below(3)).unwrap() - 1,
            weight: Weight::default(),
        }),
        11 => Event::Match {
            claim,
            demands: demands(rng, blocks),
        },
        12..=14 => Event::Consume {
            claim,
            amount: amount(rng, blocks),
        },
        15 | 16 => Event::Release {
            claim,
            amount: amount(rng, blocks),
        },
        17 => Event::Withdraw { claim },
        18 => Event::NeverRan { claim },
        _ if rng.chance(20) => Event::RetireBlock {
            block: block(rng, blocks),
        },
        _ => Event::Consume {
            claim,
            amount: Amount::All,
        },
    }
}

/// An event that forgets some claims that ended, if there are any. It is an entry of its own: a claim's name may come again, and
/// what the entry decides by the clock is of the claim before.
pub(crate) fn forget(rng: &mut Rng, engine: &Engine) -> Option<Event> {
    let ended =
        |claim: &&ClaimId| !matches!(engine.phase(claim), None | Some(Phase::Waiting | Phase::Granted));
    let claims = engine.claims().filter(ended).filter(|_| rng.chance(50));
    let claims: Vec<ClaimId> = claims.cloned().collect();
    let of = rng.chance(50).then(|| "data".to_owned());
    (!claims.is_empty()).then_some(Event::Forget { claims, of })
}

fn amount(rng: &mut Rng, blocks: u64) -> Amount {
    if rng.chance(60) {
        Amount::All
    } else {
        Amount::InAll(demands(rng, blocks))
    }
}

fn block(rng: &mut Rng, blocks: u64) -> BlockId {
    BlockId::from(format!("b{}", blocks - 1 - rng.below(4)))
}

fn demands(rng: &mut Rng, blocks: u64) -> Vec<Demand> {
    let named = (blocks.saturating_sub(5)..blocks).filter(|_| rng.chance(35));
    let blocks = named.map(|block| BlockId::from(format!("b{block}"))).collect();
    vec![Demand {
        blocks,
        budget: budget(rng, 30),
    }]
}

fn budget(rng: &mut Rng, most: u64) -> Budget {
    let mut unit = || i64::try_from(rng.below(most)).unwrap();
    Budget::new(vec![unit(), unit()]).unwrap()
}
