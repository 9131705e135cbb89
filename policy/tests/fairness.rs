//! The measures of fairness: hand-worked examples, and what a slow look at the whole history says.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "small numbers, and results that are exact"
)]

use std::{collections::BTreeMap, sync::Arc};

use privatekube_policy::{
    Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Orders, Phase,
    Policy, Record, Revision, ShareRule, Time, Unlocking, Weight,
    fairness::{
        Envy, GroupShares, Share, SharingIncentive, UnusedBudget, WaitingClaim, can_use, disagreement,
        is_fair_demand, jain, unused_part,
    },
};
use proptest::{collection::vec, prelude::*};

const LARGEST: ShareRule = ShareRule::LargestCoordinate;
const SMALLEST: ShareRule = ShareRule::SmallestOrder;

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-12
}

fn weight(weight: u32) -> Weight {
    Weight::new(weight).unwrap()
}

fn renyi() -> Composition {
    let orders = ["2", "4"].map(|order| order.parse().unwrap());
    Composition::Renyi(Orders::new(orders.to_vec()).unwrap())
}

/// Two namespaces on two blocks of (10, 100). Research has 2 of 10 and 60 of 100 of the first block: 0.6. Reports has 5
/// of 10 of the second: 0.5.
#[test]
fn a_groups_dominant_share_is_its_largest_of_any_block() {
    let mut shares = GroupShares::new(LARGEST);
    shares.arrived(&"research", weight(3));
    shares.arrived(&"reports", weight(1));
    shares.arrived(&"research", weight(2));
    shares.granted(&"research", &1, &[1, 40], &[10, 100]);
    shares.granted(&"research", &1, &[1, 20], &[10, 100]);
    shares.granted(&"research", &2, &[4, 0], &[10, 100]);
    shares.granted(&"reports", &2, &[5, 0], &[10, 100]);
    shares.granted(&"nobody", &2, &[5, 0], &[10, 100]);
    let all = |shares: &GroupShares<&str, i32>| {
        let all = shares.all();
        all.map(|(name, group)| (name.to_string(), group.dominant.value(), group.weight.get()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        all(&shares),
        [("reports".to_owned(), 0.5, 1), ("research".to_owned(), 0.6, 2)]
    );
    // The second block is the largest once most of the first is returned.
    shares.released(&"research", &1, &[1, 40]);
    assert_eq!(all(&shares)[1], ("research".to_owned(), 0.4, 2));
    shares.released(&"research", &2, &[4, 0]);
    shares.released(&"research", &1, &[1, 20]);
    assert_eq!(all(&shares)[1], ("research".to_owned(), 0.0, 2));
}

/// At order 2 the block has no capacity; at order 4 the demand is a fifth, at order 8 a half.
#[test]
fn a_share_is_by_the_rule_at_orders_with_capacity() {
    let (amounts, capacity) = ([7, 2, 5], [0, 10, 10]);
    assert_eq!(Share::of(LARGEST, &amounts, &capacity).unwrap().value(), 0.5);
    assert_eq!(Share::of(SMALLEST, &amounts, &capacity).unwrap().value(), 0.2);
    assert_eq!(Share::of(SMALLEST, &[7], &[0]), None);
    assert!(Share::of(LARGEST, &[1], &[3]) < Share::of(LARGEST, &[i64::MAX / 3 + 1], &[i64::MAX]));
}

#[test]
fn jains_index_is_1_for_equal_shares_and_one_nth_for_one_owner() {
    assert_eq!(jain([]), None);
    assert_eq!(jain([0.0, 0.0]), None);
    assert_eq!(jain([0.3]), Some(1.0));
    assert!(close(jain([0.1; 7]).unwrap(), 1.0));
    assert!(close(jain([0.4, 0.0, 0.0, 0.0]).unwrap(), 0.25));
    // (1 + 2 + 3)^2 / (3 (1 + 4 + 9)) = 36 / 42.
    assert!(close(jain([1.0, 2.0, 3.0]).unwrap(), 6.0 / 7.0));
}

#[test]
fn disagreement_is_the_part_of_shares_that_would_have_to_move() {
    assert_eq!(disagreement([]), None);
    assert_eq!(disagreement([(0.0, 1.0)]), None);
    assert_eq!(
        disagreement([(0.2, 2.0), (0.1, 1.0)]).map(|part| part < 1e-12),
        Some(true)
    );
    // One of four with equal weights has everything: three quarters would have to move.
    assert!(close(
        disagreement([(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]).unwrap(),
        0.75
    ));
    // Parts 1/2 and 1/2, weights 2/3 and 1/3: a sixth.
    assert!(close(disagreement([(0.3, 2.0), (0.3, 1.0)]).unwrap(), 1.0 / 6.0));
}

#[test]
fn a_fair_demand_is_at_most_an_nth_at_each_coordinate_with_capacity() {
    assert!(is_fair_demand(&[25, 0], &[100, 7], 4));
    assert!(!is_fair_demand(&[26, 0], &[100, 7], 4));
    assert!(!is_fair_demand(&[25, 2], &[100, 7], 4));
    // An order without capacity doesn't count.
    assert!(is_fair_demand(&[99, 25], &[0, 100], 4));
    assert!(!is_fair_demand(&[i64::MAX], &[i64::MAX], u32::MAX));
}

#[test]
fn the_sharing_incentive_counts_fair_claims_among_the_first_of_their_blocks() {
    let mut counts = SharingIncentive::default();
    let capacity = [100_i64];
    let mut arrived = |arrivals: [u64; 2], amount: [i64; 1], granted| {
        let blocks = arrivals.map(|arrivals| (arrivals, amount.as_slice(), capacity.as_slice()));
        counts.arrived(4, blocks, granted);
        (counts.at_once, counts.not_at_once)
    };
    assert_eq!(arrived([1, 1], [25], true), (1, 0));
    assert_eq!(arrived([4, 2], [25], false), (1, 1));
    // Too late at one block, or too large.
    assert_eq!(arrived([5, 3], [25], false), (1, 1));
    assert_eq!(arrived([2, 2], [26], false), (1, 1));
}

fn waiting(amounts: &[i64], weight_is: u32, blocks: &[u32]) -> WaitingClaim<u32> {
    let demands: Vec<_> = blocks
        .iter()
        .map(|block| (*block, amounts, [10, 10].as_slice()))
        .collect();
    WaitingClaim::new(LARGEST, &demands, weight(weight_is), 0).unwrap()
}

#[test]
fn a_grant_is_envied_by_a_smaller_claim_that_waits_for_the_same_blocks() {
    let mut envy = Envy::default();
    let envied = |envy: &Envy<u32>| (envy.envied(), envy.unknown());
    let small = waiting(&[2, 1], 1, &[1, 2]);
    envy.waits(&small);
    envy.granted(&[(&waiting(&[3, 1], 1, &[2, 1]), false)]);
    assert_eq!(envied(&envy), (1, 0));
    for not_envied in [
        // Less at a coordinate than the waiting claim needs.
        waiting(&[3, 0], 1, &[1, 2]),
        // The same dominant share.
        waiting(&[2, 2], 1, &[1, 2]),
        // Other blocks, another weight.
        waiting(&[3, 1], 1, &[1]),
        waiting(&[3, 1], 2, &[1, 2]),
    ] {
        envy.granted(&[(&not_envied, false)]);
        assert_eq!(envied(&envy), (1, 0));
    }
    // Both are granted by one event.
    let large = waiting(&[4, 4], 1, &[1, 2]);
    envy.waits(&large);
    envy.granted(&[(&large, true), (&small, true)]);
    assert_eq!(envied(&envy), (1, 0));
    envy.waits(&small);
    envy.ends(&small);
    envy.granted(&[(&large, false)]);
    assert_eq!(envied(&envy), (1, 0));
}

/// Claims that demand more at the first coordinate than is granted there hide the one that envies.
#[test]
fn envy_looks_at_so_many_demands_and_says_so() {
    let mut envy = Envy::default();
    let capacity: &[i64] = &[1_000_000, 100_000_000];
    let claim = |amounts: &[i64]| {
        WaitingClaim::new(ShareRule::SmallestOrder, &[(1, amounts, capacity)], weight(1), 0).unwrap()
    };
    for nth in 0..=1000 {
        envy.waits(&claim(&[999_999, nth]));
    }
    envy.granted(&[(&claim(&[100_000, 50_000_000]), false)]);
    assert_eq!((envy.envied(), envy.unknown()), (0, 1));
    envy.ends(&claim(&[999_999, 1000]));
    envy.granted(&[(&claim(&[100_000, 50_000_000]), false)]);
    assert_eq!((envy.envied(), envy.unknown()), (0, 1));
}

#[test]
fn unused_budget_is_what_is_available_and_enough_for_nobody_who_waits() {
    assert!(close(unused_part(&[5, 30], &[10, 100], &Composition::Basic), 0.3));
    assert!(close(unused_part(&[5, 30], &[10, 0], &Composition::Basic), 0.5));
    assert!(close(unused_part(&[-5, 30], &[10, 100], &renyi()), 0.3));
    assert_eq!(unused_part(&[5], &[0], &renyi()), 0.0);
    assert!(can_use(&[5, 0], &[5, 0], &[10, 0], &Composition::Basic));
    assert!(!can_use(&[5, 1], &[5, 0], &[10, 0], &Composition::Basic));
    assert!(can_use(&[5, 9], &[5, 0], &[10, 10], &renyi()));
    assert!(!can_use(&[5, 9], &[5, 0], &[0, 10], &renyi()));

    let mut unused = UnusedBudget::new(Composition::Basic);
    let (large, small): (Arc<[i64]>, Arc<[i64]>) = ([6, 0].into(), [3, 0].into());
    let of_block = |unused: &UnusedBudget<&str>| unused.of_block(&"b", &[4, 0], &[10, 0]);
    assert!(close(of_block(&unused), 0.4));
    unused.waits(&"b", &large);
    unused.waits(&"other", &small);
    assert!(close(of_block(&unused), 0.4));
    unused.waits(&"b", &small);
    unused.waits(&"b", &small);
    unused.ends(&"b", &small);
    assert!(close(of_block(&unused), 0.0));
    unused.ends(&"b", &small);
    assert!(close(of_block(&unused), 0.4));
}

const BLOCKS: usize = 2;
const CAPACITY: [i64; 2] = [840, 840];

/// A claim: its demand on each block (none where both are 0), and its group.
type Asked = ([[i64; 2]; BLOCKS], u8);

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let units = || prop_oneof![2 => Just([0, 0]), 3 => [1_i64..400, 0_i64..400]];
    let demand = [units(), units()].prop_filter("demands something", |all| *all != [[0, 0]; BLOCKS]);
    vec((demand, 0_u8..3), 1..25)
}

fn blocks_of(demand: &[[i64; 2]; BLOCKS]) -> Vec<(usize, [i64; 2])> {
    let blocks = demand.iter().copied().enumerate();
    blocks.filter(|(_, amounts)| *amounts != [0, 0]).collect()
}

fn name(block: usize) -> BlockId {
    format!("b{block}").into()
}

/// What the measures say after all claims arrived, kept up to date event by event.
struct Measured {
    engine: Engine,
    shares: GroupShares<u8, usize>,
    incentive: SharingIncentive,
    envy: Envy<usize>,
    unused: UnusedBudget<usize>,
    /// When each claim was granted: after how many arrivals.
    granted: BTreeMap<usize, usize>,
}

fn measure(policy: Policy, composition: &Composition, arrivals: u32, asked: &[Asked]) -> Measured {
    let rules = DatasetRules {
        policy,
        unlocking: Unlocking::Arrivals(arrivals),
        composition: composition.clone(),
        revision: Revision::CURRENT,
    };
    let rule = rules.share_rule();
    let mut engine = Engine::new(rules).unwrap();
    for block in 0..BLOCKS {
        let capacity = Budget::new(CAPACITY.to_vec()).unwrap();
        let block = name(block);
        engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    }
    let mut shares = GroupShares::new(rule);
    let mut incentive = SharingIncentive::default();
    let mut envy = Envy::default();
    let mut unused = UnusedBudget::new(composition.clone());
    let mut granted = BTreeMap::new();
    let claims: Vec<WaitingClaim<usize>> = asked
        .iter()
        .map(|(demand, _)| {
            let blocks = blocks_of(demand);
            let demands: Vec<_> = blocks
                .iter()
                .map(|(block, amounts)| (*block, amounts.as_slice(), CAPACITY.as_slice()))
                .collect();
            WaitingClaim::new(rule, &demands, weight(1), 0).unwrap()
        })
        .collect();
    for (number, (demand, group)) in asked.iter().enumerate() {
        engine.advance(Time::from_micros(number as u64));
        let blocks = blocks_of(demand);
        let demands = blocks.iter().map(|(block, amounts)| Demand {
            blocks: vec![name(*block)],
            budget: Budget::new(amounts.to_vec()).unwrap(),
        });
        let records = engine
            .apply(&Event::Arrive(Arrival {
                claim: number.to_string().into(),
                demands: demands.collect(),
                min_blocks: 1,
                timeout: None,
                priority: 0,
                weight: weight(1),
            }))
            .unwrap();
        let number_of = |claim: &ClaimId| claim.as_str().parse::<usize>().unwrap();
        shares.arrived(group, weight(1));
        let mut by_this = Vec::new();
        for record in &records {
            match record {
                Record::Waits { .. } => {
                    envy.waits(&claims[number]);
                    for (block, amounts) in &blocks {
                        unused.waits(block, &amounts.as_slice().into());
                    }
                }
                Record::Granted { claim, .. } => by_this.push(number_of(claim)),
                Record::Denied { claim, .. } if number_of(claim) != number => {
                    envy.ends(&claims[number_of(claim)]);
                    for (block, amounts) in blocks_of(&asked[number_of(claim)].0) {
                        unused.ends(&block, &amounts.as_slice().into());
                    }
                }
                _ => {}
            }
        }
        for claim in &by_this {
            granted.insert(*claim, number);
            for (block, amounts) in blocks_of(&asked[*claim].0) {
                shares.granted(&asked[*claim].1, &block, &amounts, &CAPACITY);
                if *claim != number {
                    unused.ends(&block, &amounts.as_slice().into());
                }
            }
        }
        let of_event: Vec<_> = by_this
            .iter()
            .map(|claim| (&claims[*claim], *claim != number))
            .collect();
        envy.granted(&of_event);
        if engine.phase(&number.to_string().into()) != Some(Phase::Denied) {
            let arrived: Vec<u64> = blocks
                .iter()
                .map(|(block, _)| engine.block(&name(*block)).unwrap().arrivals)
                .collect();
            let places = arrived.iter().zip(&blocks);
            let places =
                places.map(|(arrived, (_, amounts))| (*arrived, amounts.as_slice(), CAPACITY.as_slice()));
            incentive.arrived(arrivals, places, by_this.contains(&number));
        }
    }
    Measured {
        engine,
        shares,
        incentive,
        envy,
        unused,
        granted,
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Dpf),
        any::<bool>().prop_map(|refusing| Policy::Fcfs { refusing }),
        Just(Policy::Dpack { recompute_after: 1 }),
    ]
}

proptest! {
    /// What is kept up to date by events is what follows from the whole history.
    #[test]
    fn the_measures_are_those_of_the_whole_history(
        policy in policies(), asked in asked(), is_renyi: bool, arrivals in 1_u32..12,
    ) {
        let composition = if is_renyi { renyi() } else { Composition::Basic };
        let measured = measure(policy, &composition, arrivals, &asked);
        let rule = if is_renyi { SMALLEST } else { LARGEST };
        let part = |amounts: [i64; 2]| {
            let parts = [0, 1].map(|at| amounts[at] as f64 / CAPACITY[at] as f64);
            if is_renyi { parts[0].min(parts[1]) } else { parts[0].max(parts[1]) }
        };
        let granted = |number: usize| measured.granted.get(&number).copied();

        for (group, share) in measured.shares.all() {
            let mut sums = [[0; 2]; BLOCKS];
            for (_, (demand, _)) in asked.iter().enumerate().filter(|(nth, (_, own))| own == group && granted(*nth).is_some()) {
                for (block, amounts) in blocks_of(demand) {
                    sums[block] = [sums[block][0] + amounts[0], sums[block][1] + amounts[1]];
                }
            }
            let largest = sums.map(part).into_iter().fold(0.0, f64::max);
            prop_assert!(close(share.dominant.value(), largest));
        }

        let dominant = |demand: &[[i64; 2]; BLOCKS]| demand.iter().copied().map(part).fold(0.0, f64::max);
        let ended = |number: usize| {
            let claim = measured.engine.claim(&number.to_string().into()).unwrap();
            claim.decided.map(|at| usize::try_from(at.micros()).unwrap())
        };
        let envied = asked.iter().enumerate().filter(|(theirs, (demand, _))| {
            let Some(at) = granted(*theirs) else { return false };
            asked[..=at].iter().enumerate().any(|(mine, (own, _))| {
                let same = blocks_of(own).iter().map(|one| one.0).eq(blocks_of(demand).iter().map(|one| one.0));
                let waits = ended(mine).is_none_or(|end| end > at);
                let enough = own.iter().flatten().zip(demand.iter().flatten()).all(|(mine, theirs)| mine <= theirs);
                same && waits && enough && dominant(own) < dominant(demand)
            })
        });
        prop_assert_eq!(measured.envy.envied(), envied.count() as u64);
        prop_assert_eq!(measured.envy.unknown(), 0);

        for block in 0..BLOCKS {
            let state = measured.engine.block(&name(block)).unwrap();
            let of_use = asked.iter().enumerate().any(|(number, (demand, _))| {
                let waits = measured.engine.phase(&number.to_string().into()) == Some(Phase::Waiting);
                let fits = [0, 1].map(|at| i128::from(demand[block][at]) <= state.available[at]);
                waits && demand[block] != [0, 0] && if is_renyi { fits[0] || fits[1] } else { fits[0] && fits[1] }
            });
            let parts = [0, 1].map(|at| state.available[at].max(0) as f64 / CAPACITY[at] as f64);
            let part = if is_renyi { parts[0].max(parts[1]) } else { parts[0].min(parts[1]) };
            let unused = measured.unused.of_block(&block, &state.available, &CAPACITY);
            let expected = if of_use { 0.0 } else { part };
            prop_assert!(close(unused, expected));
        }
        prop_assert!(Share::of(rule, &CAPACITY, &CAPACITY).unwrap() == Share::of(rule, &[1], &[1]).unwrap());
    }

    /// Theorems 1 and 3 of the OSDI paper, as the measures see them.
    #[test]
    fn dpf_leaves_no_fair_claim_waiting_and_no_grant_envied(
        asked in asked(), is_renyi: bool, arrivals in 1_u32..12,
    ) {
        let composition = if is_renyi { renyi() } else { Composition::Basic };
        let measured = measure(Policy::Dpf, &composition, arrivals, &asked);
        prop_assert_eq!(measured.incentive.not_at_once, 0);
        prop_assert_eq!(measured.envy.envied(), 0);
    }
}

/// Each of 8 arrivals unlocks 105. The first claim waits for 200; the second, fair, comes and unlocks as much. First
/// come first served gives 200 of 210 to the first, which the second envies; DPF grants the second at once.
#[test]
fn first_come_first_served_leaves_a_fair_claim_waiting_that_envies_the_large_one() {
    let asked = [([[200, 0], [0, 0]], 0), ([[100, 0], [0, 0]], 1)];
    let measures = |policy| {
        let measured = measure(policy, &Composition::Basic, 8, &asked);
        let shares = measured.shares.all().map(|(_, group)| group.dominant.value());
        let incentive = measured.incentive;
        let available = measured.engine.block(&name(0)).unwrap().available;
        let unused = measured.unused.of_block(&0, &available, &CAPACITY);
        (shares.collect(), incentive, measured.envy.envied(), unused)
    };
    let counts = |at_once, not_at_once| SharingIncentive { at_once, not_at_once };
    // 10 are unlocked and of no use to the claim that waits for 100; of delta, which nobody demands, 210.
    let waits: (Vec<f64>, _, _, _) = measures(Policy::Fcfs { refusing: false });
    assert_eq!(waits, (vec![200.0 / 840.0, 0.0], counts(0, 1), 1, 10.0 / 840.0));
    let dpf: (Vec<f64>, _, _, _) = measures(Policy::Dpf);
    assert_eq!(dpf, (vec![0.0, 100.0 / 840.0], counts(1, 0), 0, 110.0 / 840.0));
}
