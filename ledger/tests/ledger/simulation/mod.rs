//! Simulates several writers on one faulty store: one seed determines a run, and one writer moves at a time.
//!
//! `PRIVATEKUBE_SEED=17` runs that seed alone and prints its whole history, `PRIVATEKUBE_SEEDS=1000000` runs the seeds from 0
//! to 999,999. The seeds of `bad_seeds.txt` are run first.

mod checker;
mod naive;
mod planted;
mod rng;
mod workload;
mod world;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use privatekube_ledger::Replay;
use privatekube_policy::DatasetRules;

use crate::build::snapshot;
use checker::{Checker, Violation};
use planted::Planted;
use world::{SimulatedStore, World};
use writer::{recover, write};

/// How many turns a run has; one of them. A request of a writer takes a few.
const TURNS: [u32; 4] = [50, 120, 200, 320];
const SEEDS: u64 = 10_000;
/// How many lines of a history are printed with a violation.
const LINES: usize = 120;

struct Outcome {
    violations: BTreeSet<Violation>,
    seen: BTreeMap<&'static str, u32>,
    entries: u64,
    history: Vec<String>,
}

/// A writer, which does nothing before a turn of this number.
struct Life {
    number: u64,
    asleep_until: u32,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// Who writes, and by which rules.
struct Cast {
    turns: u32,
    rules: DatasetRules,
    /// Some writers start with other rules, which count only if the ledger is still empty.
    other: DatasetRules,
    writers: u64,
    /// How many of a hundred writers are naive.
    naive: u64,
}

impl Cast {
    fn new(world: &mut World) -> Self {
        Self {
            // Others have to publish a checkpoint and to remove entries while a writer sleeps.
            turns: *world.rng.pick(&TURNS) * if world.compacts { 2 } else { 1 },
            rules: workload::rules(&mut world.rng, world.planted),
            other: workload::rules(&mut world.rng, world.planted),
            writers: world.rng.below(3) + 1,
            naive: match world.planted {
                Some(planted) if planted.is_inside() => 100,
                Some(_) => 0,
                // It knows nothing of checkpoints.
                None if world.compacts => 0,
                None => *world.rng.pick(&[0, 0, 40]),
            },
        }
    }
}

/// Runs one world from its beginning to its end.
fn simulate(seed: u64, planted: Option<Planted>, tells: bool) -> Outcome {
    let world = Arc::new(Mutex::new(World::new(seed, planted, tells)));
    let checker = Arc::new(Mutex::new(Checker::default()));
    let cast = Cast::new(&mut world.lock().unwrap());
    let mut lives: Vec<Life> = Vec::new();
    let mut born = 0;
    let mut context = Context::from_waker(Waker::noop());
    for now in 0..cast.turns {
        while (lives.len() as u64) < cast.writers {
            born += 1;
            let (differs, naive) = {
                let rng = &mut world.lock().unwrap().rng;
                (rng.chance(10), rng.chance(cast.naive))
            };
            let rules = if differs { &cast.other } else { &cast.rules };
            let store = SimulatedStore::new(Arc::clone(&world), born);
            let life = write(store, born, rules.clone(), naive, Arc::clone(&checker));
            lives.push(Life {
                number: born,
                asleep_until: 0,
                future: Box::pin(life),
            });
        }
        let (turn, crashes, sleeps) = {
            let world = &mut world.lock().unwrap();
            let compacts = world.compacts;
            let rng = &mut world.rng;
            let sleeps = (compacts && rng.chance(2)).then(|| rng.below(150));
            (rng.below(lives.len() as u64), rng.chance(2), sleeps)
        };
        let turn = usize::try_from(turn).unwrap();
        let life = &mut lives[turn];
        if crashes {
            let dead = lives.swap_remove(turn);
            world.lock().unwrap().note_of(dead.number, "crash");
        } else if let Some(turns) = sleeps {
            life.asleep_until = now + u32::try_from(turns).unwrap();
            world.lock().unwrap().note_of(life.number, "sleeps");
        } else if life.asleep_until <= now && life.future.as_mut().poll(&mut context) != Poll::Pending {
            drop(lives.swap_remove(turn));
        }
        by_others(&mut world.lock().unwrap(), &mut checker.lock().unwrap());
    }
    drop(lives);
    end(&world, &checker, &cast);
    let world = Arc::into_inner(world).unwrap().into_inner().unwrap();
    let checker = Arc::into_inner(checker).unwrap().into_inner().unwrap();
    Outcome {
        violations: checker.violations,
        seen: world.seen,
        entries: world.entries.len() as u64,
        history: world.history.unwrap_or_default(),
    }
}

/// What happens between the turns of writers: requests arrive late, and people touch the store.
fn by_others(world: &mut World, checker: &mut Checker) {
    if world.rng.chance(10) {
        land(world);
    }
    if !world.tampers {
        return;
    }
    if world.rng.chance(4) {
        world.tamper();
    }
    if world.rng.chance(10)
        && let Some(after) = world.repair(true)
    {
        checker.lose(after);
    }
}

/// Ends all faults, lets requests arrive that are still on their way, and checks that a writer can go on.
fn end(world: &Arc<Mutex<World>>, checker: &Mutex<Checker>, cast: &Cast) {
    {
        let mut world = world.lock().unwrap();
        world.repair(false);
        while !world.flying.is_empty() {
            land(&mut world);
        }
        world.end_faults();
        checker.lock().unwrap().check_end(&world.entries);
    }
    let naive = cast.naive == 100;
    let store = SimulatedStore::new(Arc::clone(world), 0);
    let mut last = Box::pin(recover(store, cast.rules.clone(), naive));
    let mut context = Context::from_waker(Waker::noop());
    let done = (0..10_000).find_map(|_| match last.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    });
    if let Err(why) = done.unwrap_or_else(|| Err("it never ends".to_owned())) {
        checker.lock().unwrap().report(Violation::Stuck(why));
    }
}

/// Lets one of the requests on their way arrive, or loses it.
fn land(world: &mut World) {
    if world.flying.is_empty() {
        return;
    }
    let which = world.rng.below(world.flying.len() as u64);
    let entry = world.flying.swap_remove(usize::try_from(which).unwrap());
    if world.rng.chance(80) {
        let landed = world.put(&entry);
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

/// The seeds that once violated something.
fn bad_seeds() -> Vec<u64> {
    let lines = include_str!("bad_seeds.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let seed = line.split_whitespace().next().unwrap_or_default();
            seed.parse()
                .unwrap_or_else(|_| panic!("bad_seeds.txt: {line:?} doesn't begin with a seed"))
        })
        .collect()
}

/// The end of what happened in this run, or all of it.
fn history(seed: u64, planted: Option<Planted>, lines: usize) -> String {
    let history = simulate(seed, planted, true).history;
    let left_out = history.len().saturating_sub(lines);
    format!(
        "{left_out} lines before, and then:\n{}",
        history[left_out..].join("\n")
    )
}

#[test]
fn no_fault_makes_a_ledger_publish_what_is_not_true() {
    let one = number("PRIVATEKUBE_SEED");
    let seeds: Vec<u64> = one.map_or_else(
        || {
            let all = 0..number("PRIVATEKUBE_SEEDS").unwrap_or(SEEDS);
            bad_seeds().into_iter().chain(all).collect()
        },
        |seed| vec![seed],
    );
    if let Some(seed) = one {
        println!("{}", history(seed, None, usize::MAX));
    }
    let next = AtomicUsize::new(0);
    let totals = Mutex::new((BTreeMap::<&str, u32>::new(), 0));
    let work = || {
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let outcome = simulate(*seed, None, false);
            let violations = outcome.violations;
            assert!(
                violations.is_empty(),
                "{}\n{violations:#?}\nadd seed {seed} to bad_seeds.txt; to run it alone: PRIVATEKUBE_SEED={seed}",
                history(*seed, None, LINES)
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
    println!("{} seeds, {entries} entries; {seen:#?}", seeds.len());
    if seeds.len() as u64 >= SEEDS {
        check_seen(&seen);
        assert!(entries > 50_000, "hardly anything is written: {entries}");
    }
}

/// Checks that everything that can happen has happened often.
fn check_seen(seen: &BTreeMap<&str, u32>) {
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
        "throttled",
        "full",
        "crash",
        "sleeps",
        "fenced",
        "refused",
        "corrupt",
        "draft dropped",
        "nothing to write",
        "clock too far ahead",
        "last entry deleted",
        "entry edited",
        "entry edited with its hash",
        "entries put back",
        "entries written off",
        "stopped: not a ledger",
        "stopped: its last entry is gone or another",
        "stopped: a status names a later entry",
        "publishes",
        "publishes a write-off",
        "forgets claims",
        "checkpoint not read",
        "checkpoint published",
        "checkpoint not published",
        "piece not read",
        "piece is gone",
        "change lost",
        "change done, answer lost",
        "entry removed",
        "fenced by a checkpoint",
    ];
    for what in happens {
        assert!(
            seen.get(what).is_some_and(|times| *times > 20),
            "{what} hardly happens"
        );
    }
    assert!(
        seen.contains_key("checkpoint superseded"),
        "no two checkpoints compete"
    );
    assert_eq!(seen.get("imbalance"), None);
    assert_eq!(seen.get("encoding"), None);
}

#[test]
fn one_seed_makes_one_world() {
    for seed in 0..20 {
        let [first, second] = [simulate(seed, None, false), simulate(seed, None, true)];
        assert_eq!((first.entries, first.seen), (second.entries, second.seen));
    }
}

/// Checks that the simulation finds a planted fault by such a violation in one of the runs of `make test`.
fn found(planted: Planted, is_it: impl Fn(&Violation) -> bool) {
    let seed = (0..SEEDS).find(|seed| {
        simulate(*seed, Some(planted), false)
            .violations
            .iter()
            .any(&is_it)
    });
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
fn a_commit_without_a_read_back_after_a_lost_answer_is_found() {
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
fn a_commit_that_compares_only_names_is_found() {
    found(Planted::ComparesNames, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::ComparesNames, |violation| {
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

#[test]
fn a_ledger_opened_from_its_first_page_is_found() {
    found(Planted::ReadsOnePage, |violation| {
        matches!(violation, Violation::Stuck(_))
    });
}

#[test]
fn a_writer_that_publishes_first_is_found() {
    found(Planted::PublishesFirst, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::PublishesFirst, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_ledger_that_goes_on_after_a_failed_commit_is_found() {
    found(Planted::GoesOn, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn an_engine_that_keeps_a_dropped_draft_is_found() {
    found(Planted::KeepsDropped, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_time_that_goes_back_is_found() {
    found(Planted::TimeGoesBack, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_time_without_a_limit_is_found() {
    found(Planted::TimeUnlimited, |violation| {
        matches!(violation, Violation::DatedAhead(_))
    });
}

#[test]
fn a_replay_that_trusts_records_is_found() {
    found(Planted::TrustsRecords, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_replay_that_skips_an_event_is_found() {
    found(Planted::SkipsEvent, |violation| {
        matches!(violation, Violation::EngineDiffers(_))
    });
    found(Planted::SkipsEvent, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_hash_that_does_not_cover_events_is_found() {
    found(Planted::HashWithoutEvents, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_writer_that_ignores_statuses_is_found() {
    found(Planted::IgnoresStatuses, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::IgnoresStatuses, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_writer_that_ignores_its_last_entry_is_found() {
    found(Planted::IgnoresLastEntry, |violation| {
        matches!(violation, Violation::NotALedger(_))
    });
}

#[test]
fn a_write_off_after_the_clock_has_decided_is_found() {
    found(Planted::WritesOffLate, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn an_entry_that_is_deleted_while_its_create_is_on_its_way_is_found() {
    found(Planted::DeletedWhilePending, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
    found(Planted::DeletedWhilePending, |violation| {
        matches!(violation, Violation::Overspent(_))
    });
}

#[test]
fn a_writer_that_ignores_the_checkpoint_after_a_create_is_found() {
    found(Planted::IgnoresCheckpointAfterCreate, |violation| {
        matches!(violation, Violation::PublishedDifferently(_))
    });
    found(Planted::IgnoresCheckpointAfterCreate, |violation| {
        matches!(violation, Violation::NotInLedger(_))
    });
}

#[test]
fn a_reader_that_does_not_look_at_the_checkpoint_again_is_found() {
    found(Planted::IgnoresCheckpointAfterReading, |violation| {
        matches!(
            violation,
            Violation::NotALedger(_) | Violation::Stuck(_) | Violation::NotInLedger(_)
        )
    });
}

#[test]
fn a_process_that_remembers_the_checkpoint_is_found() {
    found(Planted::RemembersCheckpoint, |violation| {
        matches!(violation, Violation::PublishedDifferently(_))
    });
}

#[test]
fn a_checkpoint_that_forgets_a_claim_is_found() {
    found(Planted::CheckpointForgetsWaiting, |violation| {
        matches!(violation, Violation::EngineDiffers(_))
    });
    found(Planted::CheckpointForgetsConsumed, |violation| {
        matches!(violation, Violation::EngineDiffers(_))
    });
}

#[test]
fn a_checkpoint_that_an_earlier_one_replaces_is_found() {
    found(Planted::EarlierCheckpointReplaces, |violation| {
        matches!(violation, Violation::NotALedger(_) | Violation::Stuck(_))
    });
}

#[test]
fn entries_that_are_removed_before_their_checkpoint_is_published_are_found() {
    found(Planted::RemovesBeforePublished, |violation| {
        matches!(violation, Violation::NotALedger(_) | Violation::Stuck(_))
    });
}

#[test]
fn a_removal_that_takes_too_much_is_found() {
    found(Planted::RemovesTooMuch, |violation| {
        matches!(violation, Violation::NotALedger(_) | Violation::Stuck(_))
    });
}

/// The simulation compares snapshots: this checks that it would notice a difference.
#[test]
fn a_snapshot_tells_two_states_apart() {
    let mut world = World::new(1, None, false);
    world.tampers = false;
    let rules = workload::rules(&mut world.rng, None);
    let world = Arc::new(Mutex::new(world));
    let store = SimulatedStore::new(Arc::clone(&world), 1);
    let mut life = Box::pin(write(store, 1, rules, false, Arc::default()));
    let mut context = Context::from_waker(Waker::noop());
    _ = (0..600).find(|_| life.as_mut().poll(&mut context).is_ready());
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
