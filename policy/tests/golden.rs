//! The example of the OSDI'21 paper (figure 4), worked out by hand, and its first theorem.
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_policy::{
    Arrival, Budget, Composition, DatasetRules, Demand, Engine, Event, Order, Orders, Phase, Policy,
    Revision, Unlocking, Weight,
};
use proptest::{collection::vec, prelude::*};

const BLOCKS: [&str; 2] = ["b1", "b2"];

fn engine(composition: Composition, arrivals: u32, capacity: &[i64]) -> Engine {
    let mut engine = Engine::new(DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Arrivals(arrivals),
        composition,
        revision: Revision::First,
    })
    .unwrap();
    for block in BLOCKS {
        let capacity = Budget::new(capacity.to_vec()).unwrap();
        let block = block.into();
        engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    }
    engine
}

/// A claim arrives that demands `units[0]` of the first block and `units[1]` of the second. Returns its
/// phase.
fn arrive(engine: &mut Engine, claim: &str, units: [&[i64]; 2]) -> Phase {
    let demands = BLOCKS.iter().zip(units).map(|(block, units)| Demand {
        blocks: vec![(*block).into()],
        budget: Budget::new(units.to_vec()).unwrap(),
    });
    let arrival = Arrival {
        claim: claim.into(),
        demands: demands.collect(),
        min_blocks: 2,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    };
    engine.apply(&Event::Arrive(arrival)).unwrap();
    phase(engine, claim)
}

fn phase(engine: &Engine, claim: &str) -> Phase {
    engine.claim(&claim.into()).unwrap().phase
}

fn orders(texts: &[&str]) -> Composition {
    let orders: Vec<Order> = texts.iter().map(|order| order.parse().unwrap()).collect();
    Composition::Renyi(Orders::new(orders).unwrap())
}

#[test]
fn figure_4_grants_p2_at_the_second_arrival_and_p1_at_the_third() {
    let mut engine = engine(Composition::Basic, 4, &[40, 0]);
    assert_eq!(arrive(&mut engine, "p1", [&[5, 0], &[15, 0]]), Phase::Waiting);
    assert_eq!(arrive(&mut engine, "p2", [&[10, 0], &[10, 0]]), Phase::Granted);
    assert_eq!(phase(&engine, "p1"), Phase::Waiting);
    assert_eq!(arrive(&mut engine, "p3", [&[15, 0], &[10, 0]]), Phase::Waiting);
    assert_eq!(phase(&engine, "p1"), Phase::Granted);
}

/// Worked out by hand. After the second arrival, (20, 40) of a block is unlocked. P2 leaves (5, 20), and P1
/// demands (30, 35) of b2. After the third arrival (15, 40) is available: P1 fits at the second order and
/// leaves -15 at the first. P3 has P1's shares and arrived later; it demands (30, 35) of b1, where (5, 30) is
/// available.
#[test]
fn figure_4_with_renyi_curves_overdraws_one_order() {
    let mut engine = engine(orders(&["2", "4"]), 4, &[40, 80]);
    assert_eq!(arrive(&mut engine, "p1", [&[10, 10], &[30, 35]]), Phase::Waiting);
    assert_eq!(arrive(&mut engine, "p2", [&[15, 20], &[15, 20]]), Phase::Granted);
    assert_eq!(phase(&engine, "p1"), Phase::Waiting);
    assert_eq!(arrive(&mut engine, "p3", [&[30, 35], &[10, 10]]), Phase::Waiting);
    assert_eq!(phase(&engine, "p1"), Phase::Granted);
    assert_eq!(engine.block(&"b1".into()).unwrap().available, [5, 30]);
    assert_eq!(engine.block(&"b2".into()).unwrap().available, [-15, 5]);
}

#[test]
fn an_order_without_capacity_never_lets_a_claim_fit() {
    let mut engine = engine(orders(&["1.5", "4"]), 1, &[0, 80]);
    // The demand is 0 at the order without capacity, and too much at the other.
    assert_eq!(arrive(&mut engine, "p1", [&[0, 81], &[0, 1]]), Phase::Denied);
    assert_eq!(arrive(&mut engine, "p2", [&[5, 50], &[5, 50]]), Phase::Granted);
    assert_eq!(arrive(&mut engine, "p3", [&[0, 50], &[0, 1]]), Phase::Waiting);
}

proptest! {
    /// Sharing incentive (theorem 1): a claim among the first N that demands at most a fair share is granted
    /// at once, whatever the others demand.
    #[test]
    fn fair_claims_among_the_first_n_are_granted_at_once(
        claims in vec(([0_i64..30, 0_i64..30], any::<bool>()), 1..20),
        renyi: bool,
    ) {
        let composition = if renyi { orders(&["2", "4"]) } else { Composition::Basic };
        let arrivals = u32::try_from(claims.len()).unwrap();
        let mut engine = engine(composition, arrivals, &[10 * i64::from(arrivals); 2]);
        for (at, (units, fair)) in claims.iter().enumerate() {
            let units = units.map(|units| if *fair { units % 10 + 1 } else { units + 1 });
            let phase = arrive(&mut engine, &format!("p{at}"), [&units, &units]);
            prop_assert!(phase == Phase::Granted || !fair);
        }
    }
}
