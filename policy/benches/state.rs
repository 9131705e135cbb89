//! Time and bytes to write an engine's state as JSON and to restore it: `cargo bench -p privatekube-policy --bench
//! state`. 10,000 blocks, and claims of which no two are equal: they wait, or were consumed entirely. Processor
//! time of one run each; the time for a claim shows whether it grows with their number.

#[path = "world/clock.rs"]
mod clock;
#[allow(dead_code, reason = "each benchmark uses its part of it")]
mod world;

use std::time::Duration;

use anyhow::Result;
use clock::on_processor;
use privatekube_policy::{Amount, Event, Restoring};
use world::{World, compositions};

/// What becomes of the claims.
const ENDS: [&str; 2] = ["waiting", "consumed"];

fn measure(composition: &str, world: &mut World, end: &str, claims: u64) -> Result<()> {
    for _ in 0..claims {
        if end == "waiting" {
            let arrival = world.large();
            world.apply(&Event::Arrive(arrival));
        } else {
            let arrival = world.small();
            let claim = arrival.claim.clone();
            world.apply(&Event::Arrive(arrival));
            let amount = Amount::All;
            world.apply(&Event::Consume { claim, amount });
        }
    }
    let begun = on_processor();
    let mut stored = Vec::new();
    for part in world.engine().parts() {
        serde_json::to_writer(&mut stored, &part)?;
        stored.push(b'\n');
    }
    let written = on_processor();
    let mut restoring = Restoring::new();
    for line in stored
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        restoring.push(serde_json::from_slice(line)?)?;
    }
    let pushed = on_processor();
    let engine = restoring.finish()?;
    let restored = on_processor();
    assert_eq!(engine.claims().len(), world.engine().claims().len());
    let bytes = stored.len();
    let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
    println!(
        "{composition:10} {claims:>7} {end:9}: {bytes:>9} bytes, written in {:>5.2} s, restored in {:>5.2} s (of which finish {:>5.2} s)",
        seconds(begun, written),
        seconds(written, restored),
        seconds(pushed, restored),
    );
    Ok(())
}

fn main() -> Result<()> {
    // `cargo bench` passes this; `cargo test` doesn't, and only wants to know that the benchmark runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u64] = if measures {
        &[10_000, 100_000, 200_000]
    } else {
        &[100]
    };
    for (name, composition) in compositions() {
        for end in ENDS {
            for claims in sizes {
                measure(name, &mut World::new(composition.clone(), 0), end, *claims)?;
            }
        }
    }
    Ok(())
}
