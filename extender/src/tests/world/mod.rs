//! Simulates the extender in a whole cluster: one seed determines a run. One or two extenders, which elect a leader or both
//! believe that they lead, share an API server whose requests are lost, late, doubled or refused and whose watches stall and begin
//! again; they crash at any moment and start again, and their clocks are wrong. A scheduler, a kubelet and users act beside them.
//!
//! - [`cluster`] has what there is in a world, and chooses what happens next; [`people`] and [`nodes`] have what users, the
//!   scheduler, the kubelet and the garbage collector do; [`process`] is one extender.
//! - [`faults`] chooses what happens to each request, and keeps the history.
//! - [`truth`] looks at each change of an object, with a [`ledger`] that is added up without an engine; [`end`] looks at what is
//!   left when all is quiet.
//! - [`planted`] has deliberate faults, which have to be found.
//!
//! `PRIVATEKUBE_SEED=17` runs that seed alone and prints its whole history, `PRIVATEKUBE_SEEDS=10000` runs the seeds from 0 to
//! 9,999. The seeds of `bad_seeds.txt` are run first.

mod cluster;
mod end;
mod faults;
mod ledger;
mod nodes;
mod people;
pub(crate) mod planted;
mod process;
mod rng;
mod truth;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use privatekube_api::rfc3339;
use privatekube_policy::Time;
use privatekube_seeded_randomness::seed_this_thread;
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use self::{cluster::Cluster, planted::Planted};
use crate::clock;

/// How many seeds `make test` runs.
const SEEDS: u64 = 20;
/// Within how many seeds each planted fault is found.
const PLANTED_SEEDS: u64 = 12;
/// How many lines of a history are printed with a violation.
const LINES: usize = 200;
/// The variable that names a world to [`one_world`], and what its answer begins with.
const WORLD: &str = "PRIVATEKUBE_WORLD";
const OUTCOME: &str = "OUTCOME ";
/// When each world begins: 2030-01-01T00:00:00Z.
const BEGINNING: Time = Time::from_micros(1_893_456_000_000_000);

/// What a run was like.
#[derive(Serialize, Deserialize)]
struct Outcome {
    violations: Vec<String>,
    seen: BTreeMap<String, u32>,
    history: Vec<String>,
    bound: u32,
    entries: u32,
}

/// The time in the simulation, for histories.
fn told() -> String {
    let now = clock::simulated::right().unwrap_or(BEGINNING);
    rfc3339(now).split_off(11)
}

/// Runs one world from its beginning to its end, on a thread whose randomness follows from the seed, too: the order of hash maps,
/// and the branch with which a `select!` begins.
fn simulate_here(seed: u64, planted: Option<Planted>) -> Outcome {
    let world = move || {
        seed_this_thread(seed);
        fastrand::seed(seed);
        planted::plant(planted);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            clock::simulated::begin(BEGINNING);
            Box::pin(Cluster::new(seed, planted).run()).await
        })
    };
    let thread = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(world)
        .unwrap();
    thread.join().unwrap()
}

/// The same in a process of its own: Tokio counts the runtimes of a process, and the count is part of what is random in each.
fn simulate(seed: u64, planted: Option<Planted>) -> Outcome {
    let world = planted.map_or_else(|| seed.to_string(), |planted| format!("{seed} {planted:?}"));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "tests::world::one_world"])
        .env(WORLD, world)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = said.split_once(OUTCOME).and_then(|(_, rest)| rest.lines().next());
    outcome.map_or_else(
        || Outcome {
            violations: vec![format!(
                "the world ends: {}",
                String::from_utf8_lossy(&output.stderr)
            )],
            seen: BTreeMap::new(),
            history: Vec::new(),
            bound: 0,
            entries: 0,
        },
        |outcome| serde_json::from_str(outcome).unwrap(),
    )
}

/// Runs the world that the environment names, for [`simulate`]; nothing if it names none.
#[test]
fn one_world() {
    let Ok(world) = std::env::var(WORLD) else { return };
    let (seed, planted) = world
        .split_once(' ')
        .map_or((world.as_str(), None), |(seed, planted)| {
            (
                seed,
                Planted::ALL
                    .into_iter()
                    .find(|known| format!("{known:?}") == planted),
            )
        });
    let outcome = simulate_here(seed.parse().unwrap(), planted);
    println!("{OUTCOME}{}", serde_json::to_string(&outcome).unwrap());
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

fn end_of(history: &[String], lines: usize) -> String {
    let left_out = history.len().saturating_sub(lines);
    format!(
        "{left_out} lines before, and then:\n{}",
        history[left_out..].join("\n")
    )
}

#[test]
fn no_fault_of_a_cluster_makes_an_extender_break_its_promises() {
    let one = number("PRIVATEKUBE_SEED");
    let seeds: Vec<u64> = one.map_or_else(
        || {
            let all = 0..number("PRIVATEKUBE_SEEDS").unwrap_or(SEEDS);
            bad_seeds().into_iter().chain(all).collect()
        },
        |seed| vec![seed],
    );
    let next = AtomicUsize::new(0);
    let totals = Mutex::new((BTreeMap::<String, u32>::new(), 0, 0));
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let outcome = simulate(*seed, None);
            if one.is_some() {
                println!("{}", end_of(&outcome.history, usize::MAX));
            }
            let violations = outcome.violations;
            if !violations.is_empty() {
                if let Ok(directory) = std::env::var("PRIVATEKUBE_HISTORIES") {
                    std::fs::write(format!("{directory}/{seed}"), outcome.history.join("\n")).unwrap();
                }
                let shown = if one.is_some() { 0 } else { LINES };
                println!(
                    "{}\n{violations:#?}\nadd seed {seed} to bad_seeds.txt; to run it alone: PRIVATEKUBE_SEED={seed}",
                    end_of(&outcome.history, shown)
                );
                failed.lock().unwrap().push(*seed);
            }
            let mut totals = totals.lock().unwrap();
            for (what, times) in outcome.seen {
                *totals.0.entry(what).or_default() += times;
            }
            totals.1 += outcome.bound;
            totals.2 += outcome.entries;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (seen, bound, entries) = totals.into_inner().unwrap();
    println!(
        "{} seeds, {bound} pods bound, {entries} entries; {seen:#?}",
        seeds.len()
    );
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds {failed:?} violate something");
}

/// Checks that the simulation finds a planted fault, by a violation with these words.
fn found(planted: Planted, words: &[&str]) {
    let seed = (0..PLANTED_SEEDS).find(|seed| {
        let violations = simulate(*seed, Some(planted)).violations;
        violations
            .iter()
            .any(|violation| words.iter().any(|word| violation.contains(word)))
    });
    let seed = seed.unwrap_or_else(|| panic!("{planted:?} is not found"));
    println!("{planted:?} is found with seed {seed}");
}

/// Checks that one seed makes one world: the same requests with the same faults, in the same order and at the same times.
#[test]
fn one_seed_makes_one_world() {
    assert!(privatekube_seeded_randomness::works());
    for seed in 0..3 {
        let [first, second] = [simulate(seed, None), simulate(seed, None)];
        let differs = first
            .history
            .iter()
            .zip(&second.history)
            .position(|(one, other)| one != other);
        let around = |history: &[String], at: usize| {
            history[at.saturating_sub(5)..(at + 3).min(history.len())].join("\n")
        };
        assert!(
            differs.is_none() && first.history.len() == second.history.len(),
            "seed {seed} makes two worlds:\n{}\nand\n{}",
            around(&first.history, differs.unwrap_or_default()),
            around(&second.history, differs.unwrap_or_default()),
        );
    }
}

/// A test for each planted fault: it is found by a violation with one of these words.
macro_rules! is_found {
    ($($test:ident: $planted:ident by $words:expr;)*) => {
        $(#[test]
        fn $test() {
            found(Planted::$planted, &$words);
        })*
    };
}

is_found! {
    a_store_that_forgets_entries_is_found: ForgetsEntries by ["the ledger doesn't", "names entry", "isn't"];
    a_store_in_which_the_last_entry_wins_is_found: LastEntryWins by ["is removed", "follows entry"];
    a_checkpoint_that_is_not_durable_is_found: ForgetsCheckpoints by ["is removed, and the checkpoint", "which its checkpoint stands at"];
    entries_of_a_namespace_before_are_found: NamespacesMixed by ["follows entry", "names another"];
    a_watch_that_begins_again_without_a_list_is_found: WatchesForget by ["gone", "allocated", "no node", "the ledger says"];
    a_release_before_proof_is_found: ReleasesBeforeProof by ["put on a node"];
    a_bind_before_the_commit_is_found: BindsBeforeCommit by ["isn't consumed"];
    a_gate_that_is_removed_before_the_grant_is_found: OpensGatesEarly by ["isn't granted"];
    a_lost_bind_that_is_taken_for_a_refusal_is_found: TakesLostBindForRefusal by ["put on a node"];
    an_absence_that_is_not_noticed_after_a_start_is_found: ForgetsAbsence by ["its object is gone"];
    statuses_that_are_written_for_nothing_are_found: WritesUnchanged by ["become quiet", "while nothing happens"];
}
