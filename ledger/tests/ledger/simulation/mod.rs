//! Simulates several writers on one faulty store: one seed determines a run, and one writer moves at a time.
//!
//! `PRIVATEKUBE_SEED=17` runs that seed alone, `PRIVATEKUBE_SEEDS=1000000` the seeds from 0 to 999,999.

mod checker;
mod rng;
mod workload;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use privatekube_ledger::{CommitError, Ledger, OpenError, Replay};
use privatekube_policy::DatasetRules;

use crate::build::{at, snapshot};
use checker::{Checker, Violation};
use world::{Planted, SimulatedStore, World};

/// How many turns a run has. A request of a writer takes a few.
const TURNS: u32 = 600;
const SEEDS: u64 = 2_000;

struct Outcome {
    violations: BTreeSet<Violation>,
    seen: BTreeMap<&'static str, u32>,
    entries: u64,
}

/// A writer's life: opens the ledger and commits entries until it is fenced or refused. (A crash drops the
/// future.)
async fn write(store: SimulatedStore, life: u64, rules: DatasetRules, checker: Arc<Mutex<Checker>>) {
    // Several writers may have the same name at once: no safety rests on it.
    let name = format!("w{}", store.world().rng.below(3));
    let mut ledger = loop {
        match Ledger::open(store.clone(), name.clone(), rules.clone()).await {
            Ok(ledger) => break ledger,
            Err(OpenError::Store(_)) => store.wait().await,
            Err(error) => {
                checker.lock().unwrap().not_a_ledger(error.to_string());
                return;
            }
        }
    };
    loop {
        store.wait().await;
        let now = store.world().clock();
        let Ok(mut draft) = ledger.draft(at(now)) else {
            checker
                .lock()
                .unwrap()
                .not_a_ledger(format!("life {life} is poisoned for no reason"));
            return;
        };
        let events = store.world().rng.below(6);
        for _ in 0..events {
            let event = workload::event(&mut store.world().rng);
            draft.apply(event).ok();
        }
        let is_empty = draft.is_empty();
        if store.world().rng.chance(3) {
            drop(draft);
            store.world().note(if is_empty {
                "empty draft dropped"
            } else {
                "draft dropped"
            });
            if ledger.is_poisoned() == is_empty {
                checker.lock().unwrap().not_poisoned(life);
            }
            if is_empty {
                continue;
            }
            return;
        }
        match draft.commit().await {
            Ok(_) if is_empty => {}
            Ok(committed) => {
                let engine = ledger.engine().unwrap();
                checker
                    .lock()
                    .unwrap()
                    .check_commit(life, &committed, engine, &store.world().entries);
            }
            Err(error) => {
                store.world().note(match error {
                    CommitError::Fenced { .. } => "fenced",
                    CommitError::Refused { .. } => "refused",
                    CommitError::Encoding { .. } => "encoding",
                    CommitError::Imbalance { .. } => "imbalance",
                    CommitError::Corrupt { .. } => "corrupt",
                });
                let mut checker = checker.lock().unwrap();
                checker.fence(life);
                if ledger.draft(at(now)).is_ok() || ledger.engine().is_ok() {
                    checker.not_poisoned(life);
                }
                return;
            }
        }
    }
}

type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Runs one world from its beginning to its end.
fn simulate(seed: u64, planted: Option<Planted>) -> Outcome {
    let world = Arc::new(Mutex::new(World::new(seed)));
    let checker = Arc::new(Mutex::new(Checker::default()));
    let (rules, other, writers) = {
        let mut world = world.lock().unwrap();
        let rules = workload::rules(&mut world.rng);
        let other = workload::rules(&mut world.rng);
        (rules, other, world.rng.below(3) + 1)
    };
    let mut lives: Vec<Life> = Vec::new();
    let mut born = 0;
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..TURNS {
        while (lives.len() as u64) < writers {
            born += 1;
            let store = SimulatedStore::new(Arc::clone(&world), planted);
            // Some writers start with other rules, which count only if the ledger is still empty.
            let differs = world.lock().unwrap().rng.chance(10);
            let rules = if differs { &other } else { &rules };
            lives.push(Box::pin(write(store, born, rules.clone(), Arc::clone(&checker))));
        }
        let (turn, crashes, lands) = {
            let rng = &mut world.lock().unwrap().rng;
            (rng.below(lives.len() as u64), rng.chance(2), rng.chance(10))
        };
        let turn = usize::try_from(turn).unwrap();
        if crashes {
            world.lock().unwrap().note("crash");
            drop(lives.swap_remove(turn));
        } else if lives[turn].as_mut().poll(&mut context) != Poll::Pending {
            drop(lives.swap_remove(turn));
        }
        if lands {
            land(&mut world.lock().unwrap(), planted);
        }
    }
    drop(lives);
    // Requests that are still on their way may arrive after all writers have ended.
    let mut world = Arc::into_inner(world).unwrap().into_inner().unwrap();
    while !world.flying.is_empty() {
        land(&mut world, planted);
    }
    let mut checker = Arc::into_inner(checker).unwrap().into_inner().unwrap();
    checker.check_end(&world.entries);
    Outcome {
        violations: checker.violations,
        seen: world.seen,
        entries: world.entries.len() as u64,
    }
}

/// Lets one of the requests on their way arrive, or loses it.
fn land(world: &mut World, planted: Option<Planted>) {
    if world.flying.is_empty() {
        return;
    }
    let which = world.rng.below(world.flying.len() as u64);
    let entry = world.flying.swap_remove(usize::try_from(which).unwrap());
    if world.rng.chance(80) {
        let landed = world.put(&entry, planted);
        world.note(if landed.is_ok() {
            "late create done"
        } else {
            "late create in vain"
        });
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}: write a number")),
    )
}

#[test]
fn no_fault_makes_a_ledger_publish_what_is_not_true() {
    let seeds = match number("PRIVATEKUBE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PRIVATEKUBE_SEEDS").unwrap_or(SEEDS),
    };
    let many = seeds.end - seeds.start >= SEEDS;
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new((BTreeMap::<&str, u32>::new(), 0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = simulate(seed, None);
            let violations = outcome.violations;
            assert!(
                violations.is_empty(),
                "run again with PRIVATEKUBE_SEED={seed}: {violations:#?}"
            );
            let mut totals = totals.lock().unwrap();
            for (what, times) in outcome.seen {
                *totals.0.entry(what).or_default() += times;
            }
            totals.1 += outcome.entries;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (seen, entries) = totals.into_inner().unwrap();
    println!("{entries} entries; {seen:#?}");
    if many {
        let happens = [
            "create lost",
            "create done, answer lost",
            "create late",
            "create repeated by the client",
            "create doubled on its way",
            "create late without an answer, ever",
            "create refused",
            "read failed",
            "read out of date",
            "list failed",
            "list out of date",
            "late create done",
            "late create in vain",
            "exists",
            "crash",
            "fenced",
            "refused",
            "draft dropped",
            "empty draft dropped",
        ];
        for what in happens {
            assert!(
                seen.get(what).is_some_and(|times| *times > 100),
                "{what} hardly happens"
            );
        }
        assert!(entries > 20_000, "hardly anything is written: {entries}");
        assert_eq!(seen.get("imbalance"), None);
    }
}

#[test]
fn one_seed_makes_one_world() {
    for seed in 0..20 {
        let [first, second] = [simulate(seed, None), simulate(seed, None)];
        assert_eq!((first.entries, first.seen), (second.entries, second.seen));
    }
}

/// Checks that the simulation finds a planted fault by such a violation in one of the first runs.
fn found(planted: Planted, is_it: impl Fn(&Violation) -> bool) {
    let seed = (0..1_000).find(|seed| simulate(*seed, Some(planted)).violations.iter().any(&is_it));
    let seed = seed.unwrap_or_else(|| panic!("{planted:?} is not found"));
    println!("{planted:?} is found with seed {seed}");
}

#[test]
fn a_commit_that_takes_exists_for_success_is_found() {
    found(Planted::ExistsIsSuccess, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::ExistsIsSuccess, |violation| {
        matches!(violation, Violation::PublishedDifferently(_))
    });
    found(Planted::ExistsIsSuccess, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_commit_that_takes_a_missing_answer_for_success_is_found() {
    found(Planted::UnknownIsSuccess, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::UnknownIsSuccess, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_commit_that_takes_whatever_is_there_for_its_own_is_found() {
    found(Planted::AnyEntryIsOurs, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::AnyEntryIsOurs, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_store_in_which_the_last_wins_is_found() {
    found(Planted::CreatesTwice, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
}

#[test]
fn a_store_that_forgets_is_found() {
    found(Planted::Forgets, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
}

/// The simulation compares snapshots: this checks that it would notice a difference.
#[test]
fn a_snapshot_tells_two_states_apart() {
    let world = Arc::new(Mutex::new(World::new(1)));
    let rules = workload::rules(&mut world.lock().unwrap().rng);
    let life = write(
        SimulatedStore::new(Arc::clone(&world), None),
        1,
        rules,
        Arc::default(),
    );
    let mut life = Box::pin(life);
    let mut context = Context::from_waker(Waker::noop());
    _ = (0..TURNS).find(|_| life.as_mut().poll(&mut context).is_ready());
    let mut replay = Replay::new();
    let mut states = Vec::new();
    for entry in world.lock().unwrap().entries.values() {
        replay.push(entry).unwrap();
        let state = snapshot(replay.engine().unwrap());
        if entry
            .records
            .iter()
            .any(|record| matches!(record, privatekube_policy::Record::Granted { .. }))
        {
            assert!(!states.contains(&state), "a grant changes the state");
        }
        states.push(state);
    }
    assert!(states.len() > 3);
}
