//! The theorems of the OSDI'21 paper about DPF (section 4.3), and properties of every policy.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, Composition, DatasetRules, Demand, Engine, Event, Orders, Phase,
    Policy, Record, Revision, Time, Unlocking, Weight,
};
use proptest::{collection::vec, prelude::*};

const BLOCKS: usize = 3;
/// A capacity that is divisible by every number of arrivals used here.
const CAPACITY: i64 = 840;

/// A claim's demand on each block at both coordinates; none on a block where both are 0.
type Demands = [[i64; 2]; BLOCKS];

fn composition(renyi: bool) -> Composition {
    if renyi {
        let orders = ["2", "4"].map(|order| order.parse().unwrap());
        Composition::Renyi(Orders::new(orders.to_vec()).unwrap())
    } else {
        Composition::Basic
    }
}

fn block(at: usize) -> BlockId {
    format!("b{at}").into()
}

fn engine(policy: Policy, renyi: bool, arrivals: u32) -> Engine {
    engine_of(policy, renyi, arrivals, Revision::CURRENT)
}

fn engine_of(policy: Policy, renyi: bool, arrivals: u32, revision: Revision) -> Engine {
    let mut engine = Engine::new(DatasetRules {
        policy,
        unlocking: Unlocking::Arrivals(arrivals),
        composition: composition(renyi),
        revision,
    })
    .unwrap();
    for at in 0..BLOCKS {
        let capacity = Budget::new(vec![CAPACITY; 2]).unwrap();
        engine
            .apply(&Event::AddBlock {
                block: block(at),
                capacity,
            })
            .unwrap();
    }
    engine
}

fn arrival(number: usize, demand: &Demands) -> Event {
    let demanded = demand.iter().enumerate().filter(|(_, units)| **units != [0, 0]);
    let demands = demanded.map(|(at, units)| Demand {
        blocks: vec![block(at)],
        budget: Budget::new(units.to_vec()).unwrap(),
    });
    Event::Arrive(Arrival {
        claim: format!("c{number}").into(),
        demands: demands.collect(),
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

/// Applies the arrivals one by one, each a microsecond later.
fn run(policy: Policy, renyi: bool, arrivals: u32, demands: &[Demands]) -> Engine {
    apply_all(engine(policy, renyi, arrivals), demands)
}

fn apply_all(mut engine: Engine, demands: &[Demands]) -> Engine {
    for (number, demand) in demands.iter().enumerate() {
        engine.advance(Time::from_micros(number as u64));
        engine.apply(&arrival(number, demand)).unwrap();
    }
    engine
}

/// The time at which a claim was granted, if it was.
fn granted(engine: &Engine, number: usize) -> Option<u64> {
    let claim = engine.claim(&format!("c{number}").into()).unwrap();
    let granted = claim.phase == Phase::Granted;
    claim.decided.filter(|_| granted).map(Time::micros)
}

/// The amount on each block that its share follows from, largest first. All capacities are the same, so amounts
/// compare as shares do.
fn shares(demand: &Demands, at_smallest: bool) -> Vec<i64> {
    let amount = |units: &[i64; 2]| {
        if at_smallest {
            units[0].min(units[1])
        } else {
            units[0].max(units[1])
        }
    };
    let mut shares: Vec<i64> = demand.iter().map(amount).collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    shares
}

fn demands(most: i64) -> impl Strategy<Value = Vec<Demands>> {
    let units = move || prop_oneof![2 => Just([0, 0]), 3 => [1..=most, 0..=most]];
    let demand =
        [units(), units(), units()].prop_filter("demands something", |demand| *demand != [[0, 0]; BLOCKS]);
    vec(demand, 1..25)
}

fn revisions() -> impl Strategy<Value = Revision> {
    prop_oneof![
        Just(Revision::First),
        Just(Revision::Second),
        Just(Revision::CURRENT)
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Dpf),
        any::<bool>().prop_map(|refusing| Policy::Fcfs { refusing }),
        (1_u32..4).prop_map(|recompute_after| Policy::Dpack { recompute_after }),
        (0_u16..=1000).prop_map(|fairness| Policy::Blend {
            fairness,
            recompute_after: 1
        }),
    ]
}

/// Whether `demand` fits what is available.
fn fits(engine: &Engine, demand: &Demands, renyi: bool) -> bool {
    demand.iter().enumerate().all(|(at, units)| {
        let unlocked = engine.block(&block(at)).unwrap().available;
        let mut enough = units
            .iter()
            .zip(unlocked)
            .map(|(asked, unlocked)| i128::from(*asked) <= unlocked);
        *units == [0, 0]
            || if renyi {
                enough.any(|enough| enough)
            } else {
                enough.all(|enough| enough)
            }
    })
}

proptest! {
    /// Theorem 1, sharing incentive, and its form under Blend: a claim that is among the first N of all its
    /// blocks and demands at most the fairness times a fair share is granted at once, whatever the others
    /// demand. In the current revision, claims that were denied when they arrived are not among the first N.
    #[test]
    fn fair_claims_are_granted_at_once(
        demands in prop_oneof![demands(400), demands(CAPACITY * 2)],
        fair in vec(any::<bool>(), 25),
        renyi: bool,
        revision in revisions(),
        arrivals in 1_u32..8,
        fairness in prop_oneof![Just(None), Just(Some(1000_u16)), (0_u16..=1000).prop_map(Some)],
    ) {
        let policy = fairness.map_or(Policy::Dpf, |fairness| Policy::Blend { fairness, recompute_after: 1 });
        let most = CAPACITY / i64::from(arrivals) * i64::from(fairness.unwrap_or(1000)) / 1000;
        let demands: Vec<Demands> = demands.iter().zip(&fair).map(|(demand, fair)| {
            if *fair && most > 0 {
                demand.map(|units| if units == [0, 0] { units } else { units.map(|units| units % most + 1) })
            } else {
                *demand
            }
        }).collect();
        let is_first_revision = revision == Revision::First;
        let engine = apply_all(engine_of(policy, renyi, arrivals, revision), &demands);
        let mut arrived = [0; BLOCKS];
        for (number, demand) in demands.iter().enumerate() {
            let phase = engine.claim(&format!("c{number}").into()).unwrap().phase;
            if phase == Phase::Denied && !is_first_revision {
                // It is as if it had not arrived.
                continue;
            }
            let mut first = true;
            for (arrived, _) in arrived.iter_mut().zip(demand).filter(|(_, units)| **units != [0, 0]) {
                *arrived += 1;
                first &= *arrived <= arrivals;
            }
            if first && demand.iter().flatten().all(|units| *units <= most) {
                prop_assert_eq!(granted(&engine, number), Some(number as u64));
            }
        }
    }

    /// Theorem 2, strategy-proofness: a claim that demands more than it needs is not granted earlier, and one
    /// that demands less gets less than it needs.
    #[test]
    fn demanding_more_never_helps(
        demands in demands(400),
        liar in any::<prop::sample::Index>(),
        more in [[0_i64..200, 0_i64..200], [0_i64..200, 0_i64..200], [0_i64..200, 0_i64..200]],
        renyi: bool,
        revision in revisions(),
        arrivals in 1_u32..12,
    ) {
        let liar = liar.index(demands.len());
        let mut lies = demands.clone();
        for (units, more) in lies[liar].iter_mut().zip(more).filter(|(units, _)| **units != [0, 0]) {
            *units = [units[0] + more[0], units[1] + more[1]];
        }
        let run = |demands| apply_all(engine_of(Policy::Dpf, renyi, arrivals, revision), demands);
        let honest = granted(&run(&demands), liar);
        let lied = granted(&run(&lies), liar);
        if let Some(lied) = lied {
            prop_assert!(honest.is_some_and(|honest| honest <= lied), "{honest:?} {lied}");
        }
    }

    /// Theorem 3, dynamic envy-freeness: no waiting claim would be better off with what another claim was
    /// granted since it arrived, unless their dominant shares are the same. A grant that is enough for the
    /// waiting claim has at least its share of each block, so the waiting claim would have gone first.
    #[test]
    fn no_claim_envies_what_was_granted_since_it_arrived(
        demands in demands(400), renyi: bool, revision in revisions(), arrivals in 1_u32..12,
    ) {
        let engine = apply_all(engine_of(Policy::Dpf, renyi, arrivals, revision), &demands);
        let at_smallest = renyi && revision == Revision::Third;
        for (envious, mine) in demands.iter().enumerate() {
            for (envied, theirs) in demands.iter().enumerate() {
                let since = granted(&engine, envied).filter(|at| *at >= envious as u64);
                let waited = granted(&engine, envious).is_none_or(|mine| since.is_some_and(|at| at < mine));
                let enough = mine.iter().flatten().zip(theirs.iter().flatten()).all(|(mine, theirs)| mine <= theirs);
                if since.is_some() && waited && enough && envious != envied {
                    prop_assert_eq!(shares(mine, at_smallest)[0], shares(theirs, at_smallest)[0]);
                }
            }
        }
    }

    /// Theorem 4, Pareto efficiency of unlocked budget: no waiting claim fits what is available. It holds
    /// under every policy that grants whatever fits.
    #[test]
    fn no_claim_waits_while_enough_is_available(
        policy in policies(), demands in demands(400), renyi: bool, arrivals in 1_u32..12,
    ) {
        let mut engine = engine(policy, renyi, arrivals);
        for (number, demand) in demands.iter().enumerate() {
            engine.apply(&arrival(number, demand)).unwrap();
            for (waiting, demand) in demands[..=number].iter().enumerate() {
                let phase = engine.claim(&format!("c{waiting}").into()).unwrap().phase;
                prop_assert!(phase != Phase::Waiting || !fits(&engine, demand, renyi));
            }
        }
    }

    /// In the current revision and under every policy, a claim that is denied when it arrives changes nothing.
    #[test]
    fn a_claim_that_is_denied_when_it_arrives_changes_nothing(
        policy in prop_oneof![4 => policies(), 2 => Just(Policy::RoundRobin)],
        demands in prop_oneof![demands(400), demands(CAPACITY * 2)],
        ends in vec(0_u8..4, 25),
        renyi: bool,
        arrivals in 1_u32..6,
    ) {
        let renyi = renyi && policy != Policy::RoundRobin;
        let mut engine = engine(policy, renyi, arrivals);
        let state = |engine: &Engine, claims: usize| {
            let blocks = (0..BLOCKS).map(|at| engine.block(&block(at)).unwrap());
            let claims = (0..claims).map(|at| {
                let claim = format!("c{at}").into();
                (engine.phase(&claim), engine.explain(&claim))
            });
            (blocks.collect::<Vec<_>>(), claims.collect::<Vec<_>>())
        };
        for (number, demand) in demands.iter().enumerate() {
            let before = state(&engine, number);
            let records = engine.apply(&arrival(number, demand)).unwrap();
            let claim = format!("c{number}").into();
            if engine.phase(&claim) == Some(Phase::Denied) {
                prop_assert_eq!(records.len(), 1);
                prop_assert_eq!(before, state(&engine, number));
            }
            match ends.get(number) {
                Some(0) => drop(engine.apply(&Event::Withdraw { claim }).unwrap()),
                Some(1) => drop(engine.apply(&Event::Consume { claim, amount: Amount::All })),
                _ => {}
            }
        }
    }

    /// Under round robin, what is available is more than what waiting claims have gathered only where none of
    /// them lacks any: what a claim had gathered that ended without a grant is not lost.
    #[test]
    fn round_robin_holds_back_only_what_waiting_claims_have_gathered(
        demands in demands(400), ends in vec((0_u8..4, any::<prop::sample::Index>()), 25), arrivals in 1_u32..6,
    ) {
        let mut engine = engine(Policy::RoundRobin, false, arrivals);
        for (number, demand) in demands.iter().enumerate() {
            engine.apply(&arrival(number, demand)).unwrap();
            if let Some((end, claim)) = ends.get(number) {
                let claim = format!("c{}", claim.index(number + 1)).into();
                match end {
                    0 | 1 => drop(engine.apply(&Event::Withdraw { claim }).unwrap()),
                    2 => drop(engine.apply(&Event::Consume { claim, amount: Amount::All })),
                    _ => {}
                }
            }
            let mut gathered: BTreeMap<(BlockId, usize), (i128, bool)> = BTreeMap::new();
            for waiting in 0..=number {
                let standing = engine.standing(&format!("c{waiting}").into());
                for need in standing.into_iter().flat_map(|standing| standing.needs) {
                    let (sum, lacks) = gathered.entry((need.block, need.coordinate)).or_default();
                    *sum += need.available;
                    *lacks |= need.missing > 0;
                }
            }
            for ((block, coordinate), (gathered, lacks)) in gathered {
                let available = engine.block(&block).unwrap().available[coordinate];
                prop_assert!(gathered <= available);
                prop_assert!(gathered == available || !lacks, "{block}: {gathered} of {available}");
            }
        }
    }

    /// Equal weights change nothing, whatever they are.
    #[test]
    fn equal_weights_change_nothing(policy in policies(), demands in demands(400), renyi: bool, weight in 1_u32..) {
        let (mut plain, mut weighted) = (engine(policy, renyi, 5), engine(policy, renyi, 5));
        for (number, demand) in demands.iter().enumerate() {
            let event = arrival(number, demand);
            let mut heavy = event.clone();
            if let Event::Arrive(arrival) = &mut heavy {
                arrival.weight = Weight::new(weight).unwrap();
            }
            prop_assert_eq!(plain.apply(&event), weighted.apply(&heavy));
        }
    }

    /// Blend with a fairness of 0 and of 1000 thousandths.
    #[test]
    fn fairness_goes_from_dpack_to_dpf(demands in demands(400), renyi: bool, arrivals in 1_u32..12, recompute_after in 1_u32..4) {
        let knob = |fairness| Policy::Blend { fairness, recompute_after };
        for (one, other) in [(knob(1000), Policy::Dpf), (knob(0), Policy::Dpack { recompute_after })] {
            let (one, other) = (run(one, renyi, arrivals, &demands), run(other, renyi, arrivals, &demands));
            for number in 0..demands.len() {
                prop_assert_eq!(granted(&one, number), granted(&other, number));
            }
        }
    }

    /// Under every policy, the sum of a block's budget is constant, two engines decide the same, and no more
    /// returns than was granted.
    #[test]
    fn budget_is_conserved_and_decisions_are_the_same_again(
        policy in prop_oneof![4 => policies(), 1 => Just(Policy::RoundRobin)],
        demands in demands(400),
        ends in vec((0_u8..5, any::<prop::sample::Index>()), 25),
        renyi: bool,
        arrivals in 1_u32..12,
    ) {
        let renyi = renyi && policy != Policy::RoundRobin;
        let (mut first, mut second) = (engine(policy, renyi, arrivals), engine(policy, renyi, arrivals));
        let mut held: BTreeMap<String, i128> = BTreeMap::new();
        let columns = |engine: &Engine| {
            let state = (0..BLOCKS).map(|at| engine.block(&block(at)).unwrap());
            state.map(|state| {
                for at in 0..2 {
                    let sum = state.locked[at] + state.available[at] + state.allocated[at] + state.consumed[at];
                    assert_eq!(sum, i128::from(CAPACITY));
                }
                (state.allocated.iter().sum::<i128>(), state.consumed.iter().sum::<i128>())
            }).fold((0, 0), |sums, more| (sums.0 + more.0, sums.1 + more.1))
        };
        for (number, demand) in demands.iter().enumerate() {
            let mut events = vec![arrival(number, demand)];
            if let Some((end, claim)) = ends.get(number) {
                let claim = format!("c{}", claim.index(number + 1)).into();
                events.push(match end {
                    0 => Event::Release { claim, amount: Amount::All },
                    1 => Event::Consume { claim, amount: Amount::All },
                    2 => Event::NeverRan { claim },
                    _ => Event::Withdraw { claim },
                });
            }
            for event in events {
                let before = columns(&first);
                let records = first.apply(&event);
                prop_assert_eq!(&records, &second.apply(&event));
                let after = columns(&first);
                let (mut granted, mut returned) = (0, 0);
                for record in records.iter().flatten() {
                    match record {
                        Record::Granted { claim, .. } => {
                            let number: usize = claim.as_str()[1..].parse().unwrap();
                            let all = demands[number].iter().flatten().map(|units| i128::from(*units)).sum();
                            held.insert(claim.to_string(), all);
                            granted += all;
                        }
                        Record::Released { claim, .. } => returned += held.remove(claim.as_str()).unwrap(),
                        _ => {}
                    }
                }
                // Only granted budget moves, and only what was granted to this claim returns.
                prop_assert_eq!(after.0 + after.1, before.0 + before.1 + granted - returned);
            }
        }
    }
}
