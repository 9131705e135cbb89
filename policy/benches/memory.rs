//! The memory of a waiting claim: `cargo bench -p privatekube-policy --bench memory`. Each number is measured
//! in a process of its own, as the growth of its memory while claims arrive; all their names and demands
//! differ.

#[allow(dead_code, reason = "each benchmark uses its part of it")]
mod world;

use std::process::Command;

use privatekube_policy::Event;
use world::{World, compositions};

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

fn measure(composition: &str, waiting: u64) {
    let Some((_, kind)) = compositions().into_iter().find(|(name, _)| *name == composition) else {
        return;
    };
    let mut world = World::new(kind, 0);
    let before = resident();
    for _ in 0..waiting {
        let arrival = world.large();
        world.apply(&Event::Arrive(arrival));
    }
    let taken = resident().saturating_sub(before);
    println!(
        "{composition:10} {waiting:>9} waiting claims: {:>5} bytes each",
        taken / waiting
    );
    // Not freed: the process ends here.
    std::mem::forget(world);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, composition, waiting] = arguments.as_slice()
        && let Ok(waiting) = waiting.parse()
    {
        return measure(composition, waiting);
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let sizes: &[&str] = if measures {
        &["10000", "100000", "1000000"]
    } else {
        &["1000"]
    };
    for (composition, _) in compositions() {
        for waiting in sizes {
            if let Err(error) = Command::new(&program).args([composition, waiting]).status() {
                eprintln!("{composition} {waiting}: {error}");
            }
        }
    }
}
