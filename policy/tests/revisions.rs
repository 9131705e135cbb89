//! What the revisions of the rules change, in numbers: which arrivals unlock, and what becomes of what ended
//! claims had gathered.
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_policy::{
    Arrival, BlockId, Composition, DatasetRules, Demand, Engine, Event, Mechanism, Orders, Phase, Policy,
    Revision, Unlocking, Weight,
};

fn engine(policy: Policy, arrivals: u32, revision: Revision) -> Engine {
    let mut engine = Engine::new(DatasetRules {
        policy,
        unlocking: Unlocking::Arrivals(arrivals),
        composition: Composition::Basic,
        revision,
    })
    .unwrap();
    let capacity = Composition::Basic.capacity("10".parse().unwrap(), "0".parse().unwrap());
    engine
        .apply(&Event::AddBlock {
            block: "b".into(),
            capacity: capacity.unwrap(),
        })
        .unwrap();
    engine
}

fn arrive(engine: &mut Engine, name: &str, epsilon: &str) -> Phase {
    let budget = Composition::Basic.capacity(epsilon.parse().unwrap(), "0".parse().unwrap());
    let arrival = Arrival {
        claim: name.into(),
        demands: vec![Demand {
            blocks: vec!["b".into()],
            budget: budget.unwrap(),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    };
    engine.apply(&Event::Arrive(arrival)).unwrap();
    engine.phase(&name.into()).unwrap()
}

/// How much of the block's epsilon is unlocked.
fn unlocked(engine: &Engine) -> i128 {
    let block = engine.block(&BlockId::from("b")).unwrap();
    i128::from(block.capacity.units()[0]) - block.locked[0]
}

/// 98 claims on far more than the block, all denied, and a claim on half of it.
fn after_98_denials(policy: Policy, revision: Revision) -> (i128, Phase) {
    let mut engine = engine(policy, 100, revision);
    for number in 0..98 {
        assert_eq!(
            arrive(&mut engine, &format!("denied{number}"), "9000000"),
            Phase::Denied
        );
    }
    (unlocked(&engine), arrive(&mut engine, "half", "5"))
}

#[test]
fn claims_that_are_denied_when_they_arrive_unlock_nothing() {
    for policy in [
        Policy::Dpf,
        Policy::Fcfs { refusing: false },
        Policy::RoundRobin,
        Policy::Dpack { recompute_after: 1 },
        Policy::Blend {
            fairness: 500,
            recompute_after: 1,
        },
    ] {
        assert_eq!(
            after_98_denials(policy, Revision::CURRENT),
            (0, Phase::Waiting),
            "{policy:?}"
        );
        let (unlocked, half) = after_98_denials(policy, Revision::First);
        assert_eq!(
            (unlocked, half),
            (9_800_000_000_000, Phase::Granted),
            "{policy:?}"
        );
    }
    let refusing = Policy::Fcfs { refusing: true };
    assert_eq!(after_98_denials(refusing, Revision::CURRENT), (0, Phase::Denied));
}

/// Four claims on all of a round robin block, each withdrawn before the next arrives.
fn after_four_withdrawals(revision: Revision) -> Engine {
    let mut engine = engine(Policy::RoundRobin, 4, revision);
    for name in ["one", "two", "three", "four"] {
        arrive(&mut engine, name, "10");
        engine.apply(&Event::Withdraw { claim: name.into() }).unwrap();
    }
    engine
}

#[test]
fn what_ended_claims_had_gathered_is_divided_again() {
    let mut current = after_four_withdrawals(Revision::CURRENT);
    assert_eq!(
        current.block(&"b".into()).unwrap().available[0],
        10_000_000_000_000
    );
    assert_eq!(arrive(&mut current, "tiny", "0.000000000001"), Phase::Granted);
    assert_eq!(arrive(&mut current, "rest", "9.999999999999"), Phase::Granted);

    let mut first = after_four_withdrawals(Revision::First);
    assert_eq!(first.block(&"b".into()).unwrap().available[0], 10_000_000_000_000);
    assert_eq!(arrive(&mut first, "tiny", "0.000000000001"), Phase::Denied);
}

/// The share of a block of epsilon 10 and delta 1e-7 that a mechanism is.
fn share_of(mechanism: &str, revision: Revision) -> f64 {
    let composition = Composition::Renyi(Orders::default());
    let mechanism: Mechanism = mechanism.parse().unwrap();
    let demand = mechanism.demand(&composition).unwrap();
    let capacity = composition
        .capacity("10".parse().unwrap(), "1e-7".parse().unwrap())
        .unwrap();
    let rules = DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition,
        revision,
    };
    let (amount, of) = rules
        .share_rule()
        .share(demand.units(), capacity.units().iter().copied())
        .unwrap();
    #[allow(clippy::cast_precision_loss, reason = "three digits are compared")]
    let share = amount as f64 / of as f64;
    share
}

#[test]
fn a_claim_that_fits_at_one_order_is_not_ranked_by_another_at_which_it_never_can() {
    let training = "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)";
    let share = share_of(training, Revision::Second);
    assert!(share > 1000.0, "{share}");
    let share = share_of(training, Revision::CURRENT);
    assert!((0.01..1.0).contains(&share), "{share}");
    // A block carries as many as the inverse of the share says.
    let carried = |mechanism| (1.0 / share_of(mechanism, Revision::CURRENT)).floor();
    assert!(carried("gaussian(sigma=10)") > carried("gaussian(sigma=5)"));
}
