//! The unlocking that an explanation predicts comes true, and time passes at no cost while no claim waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use privatekube_policy::{
    Arrival, Budget, Composition, DatasetRules, Demand, Engine, Event, Phase, Policy, Revision, Span, Time,
    Unlocking, Unlocks, Weight,
};
use proptest::prelude::*;

fn engine(unlocking: Unlocking, capacity: i64) -> Engine {
    let mut engine = Engine::new(DatasetRules {
        policy: Policy::Dpf,
        unlocking,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    })
    .unwrap();
    let capacity = Budget::new(vec![capacity, 0]).unwrap();
    let block = "b".into();
    engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    engine
}

fn arrive(engine: &mut Engine, claim: &str, epsilon: i64) -> Phase {
    let arrival = Arrival {
        claim: claim.into(),
        demands: vec![Demand {
            blocks: vec!["b".into()],
            budget: Budget::new(vec![epsilon, 0]).unwrap(),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    };
    engine.apply(&Event::Arrive(arrival)).unwrap();
    engine.claim(&claim.into()).unwrap().phase
}

/// A claim on the whole block arrives, which unlocks, and is withdrawn.
fn arrive_and_withdraw(engine: &mut Engine, number: u64, capacity: i64) {
    let claim = format!("withdrawn{number}");
    arrive(engine, &claim, capacity);
    let claim = claim.as_str().into();
    engine.apply(&Event::Withdraw { claim }).unwrap();
}

fn unlocks(engine: &Engine) -> Unlocks {
    engine.explain(&"waits".into()).unwrap().lacks[0].unlocks
}

fn is_granted(engine: &Engine) -> bool {
    engine.claim(&"waits".into()).unwrap().phase == Phase::Granted
}

proptest! {
    #[test]
    fn as_many_arrivals_are_needed_as_the_explanation_says(
        (capacity, asked) in (1_i64..1000).prop_flat_map(|capacity| (Just(capacity), 1..=capacity)),
        arrivals in 1_u32..40,
        held in 1_i64..1000,
    ) {
        let mut engine = engine(Unlocking::Arrivals(arrivals), capacity);
        // The other claim keeps its grant, which is at most a fair share and so granted at once.
        if let Some(held) = held.checked_rem(capacity / i64::from(arrivals)).filter(|held| *held > 0) {
            prop_assert_eq!(arrive(&mut engine, "holds", held), Phase::Granted);
        }
        if arrive(&mut engine, "waits", asked) == Phase::Waiting {
            match unlocks(&engine) {
                Unlocks::Arrivals(more) => {
                    for at in 1..=more {
                        prop_assert!(!is_granted(&engine));
                        prop_assert_eq!(unlocks(&engine), Unlocks::Arrivals(more + 1 - at));
                        arrive_and_withdraw(&mut engine, at, capacity);
                    }
                    prop_assert!(is_granted(&engine));
                }
                Unlocks::OnlyReturned => {
                    for at in 0..arrivals {
                        arrive_and_withdraw(&mut engine, u64::from(at), capacity);
                    }
                    prop_assert!(!is_granted(&engine));
                    engine.apply(&Event::Withdraw { claim: "holds".into() }).unwrap();
                    prop_assert!(is_granted(&engine));
                }
                Unlocks::At(_) => prop_assert!(false, "no clock unlocks here"),
            }
        }
    }

    #[test]
    fn the_clock_grants_when_the_explanation_says(
        (capacity, asked) in (1_i64..1000).prop_flat_map(|capacity| (Just(capacity), 1..=capacity)),
        lifetime in 0_u64..10_000,
        tick in 1_u64..2000,
    ) {
        let (lifetime, tick) = (Span::from_micros(lifetime), Span::from_micros(tick));
        let mut engine = engine(Unlocking::Lifetime { lifetime, tick }, capacity);
        if arrive(&mut engine, "waits", asked) == Phase::Waiting {
            let Unlocks::At(at) = unlocks(&engine) else { panic!("the clock unlocks everything") };
            prop_assert_eq!(engine.next_step(), Some(at));
            prop_assert_eq!(engine.advance(Time::from_micros(at.micros() - 1)), []);
            prop_assert_eq!(engine.advance(Time::from_micros(u64::MAX)).len(), 1);
            prop_assert_eq!(engine.claim(&"waits".into()).unwrap().decided, Some(at));
        }
    }
}

#[test]
fn a_year_of_microseconds_passes_at_once() {
    let year = Span::from_secs(365 * 24 * 3600);
    let tick = Span::from_micros(1);
    let mut engine = engine(Unlocking::Lifetime { lifetime: year, tick }, i64::MAX);
    assert_eq!(arrive(&mut engine, "waits", i64::MAX), Phase::Waiting);
    let end = Time::default().after(year);
    assert_eq!(engine.next_unlock(), Some(Time::from_micros(1)));
    assert_eq!(engine.next_step(), Some(end));
    assert_eq!(engine.advance(Time::from_micros(end.micros() - 1)), []);
    assert_eq!(engine.advance(end).len(), 1);
    assert_eq!((engine.next_step(), engine.next_unlock()), (None, None));
}

#[test]
fn the_end_of_time_is_not_passed() {
    let mut engine = Engine::new(DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_micros(u64::MAX),
            tick: Span::from_micros(7),
        },
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    })
    .unwrap();
    engine.advance(Time::from_micros(u64::MAX - 1));
    let capacity = Budget::new(vec![i64::MAX, i64::MAX]).unwrap();
    let block = "b".into();
    engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    arrive(&mut engine, "waits", i64::MAX);
    engine.advance(Time::from_micros(u64::MAX));
    assert!(is_granted(&engine));
}
