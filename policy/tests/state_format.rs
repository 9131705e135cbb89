//! The stored form of an engine's state, byte by byte, in the seeds of its fuzz target. Version 1 is in ledgers,
//! so these files never change: a later version has files of its own, and reads these.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../fuzz/state_property.rs"]
mod state_property;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use privatekube_policy::{DatasetRules, Engine, Event, Restoring, StatePart, Time};

/// Rules, and events as the ledger stores them, each after its time.
const STORIES: [(&str, &str, &str); 3] = [
    (
        "version-1-renyi-by-the-clock.jsonl",
        r#"{"policy":"dpf","unlocking":{"lifetime":{"lifetime":40,"tick":10}},"composition":{"renyi":["2","4"]},"revision":3}"#,
        r#"
3 {"addBlock":{"block":"a","capacity":[100,9000000000000000000]}}
5 {"addBlock":{"block":"b","capacity":[50,60]}}
6 {"addBlock":{"block":"gone","capacity":[0,60]}}
7 {"arrive":{"claim":"waits","demands":[{"blocks":["b"],"budget":[45,55]},{"blocks":["a"],"budget":[1,2]}],"minBlocks":2,"timeout":1000000,"priority":-2,"weight":3}}
8 {"arrive":{"claim":"unmatched","demands":[{"blocks":["a"],"budget":[1,2]}],"minBlocks":3}}
9 {"arrive":{"claim":"large","demands":[{"blocks":["b"],"budget":[61,61]}],"minBlocks":1}}
9 {"arrive":{"claim":"expires","demands":[{"blocks":["b"],"budget":[40,50]}],"minBlocks":1,"timeout":3}}
9 {"arrive":{"claim":"retired","demands":[{"blocks":["gone"],"budget":[40,50]}],"minBlocks":1}}
11 {"retireBlock":{"block":"gone"}}
30 {"arrive":{"claim":"granted","demands":[{"blocks":["a","b"],"budget":[5,6]}],"minBlocks":1}}
30 {"arrive":{"claim":"partly","demands":[{"blocks":["a","b"],"budget":[5,6]}],"minBlocks":1}}
30 {"consume":{"claim":"partly","amount":{"inAll":[{"blocks":["b"],"budget":[3,4]}]}}}
30 {"release":{"claim":"partly","amount":{"inAll":[{"blocks":["a"],"budget":[5,6]}]}}}
31 {"arrive":{"claim":"consumed","demands":[{"blocks":["a"],"budget":[7,8000000000000000000]}],"minBlocks":1}}
31 {"consume":{"claim":"consumed","amount":"all"}}
31 {"arrive":{"claim":"again","demands":[{"blocks":["a"],"budget":[7,8000000000000000000]}],"minBlocks":1}}
31 {"consume":{"claim":"again","amount":"all"}}
31 {"arrive":{"claim":"released","demands":[{"blocks":["a"],"budget":[7,8]}],"minBlocks":1}}
31 {"release":{"claim":"released","amount":"all"}}
33 {"arrive":{"claim":"withdrawn","demands":[{"blocks":["b"],"budget":[45,55]}],"minBlocks":1}}
33 {"withdraw":{"claim":"withdrawn"}}
34 {"forget":{"claims":["consumed","large","released","never arrived"],"of":"research"}}
34 {"forget":{"claims":["expires"]}}
"#,
    ),
    (
        "version-1-round-robin.jsonl",
        r#"{"policy":"roundRobin","unlocking":{"arrivals":4},"composition":"basic"}"#,
        r#"
1 {"addBlock":{"block":"open","capacity":[100,100]}}
1 {"addBlock":{"block":"closed","capacity":[8,0]}}
2 {"arrive":{"claim":"gathers","demands":[{"blocks":["open"],"budget":[90,1]}],"minBlocks":1}}
2 {"arrive":{"claim":"too","demands":[{"blocks":["open"],"budget":[80,2]},{"blocks":["closed"],"budget":[8,0]}],"minBlocks":1}}
3 {"arrive":{"claim":"one","demands":[{"blocks":["closed"],"budget":[8,0]}],"minBlocks":1}}
3 {"withdraw":{"claim":"one"}}
3 {"arrive":{"claim":"two","demands":[{"blocks":["closed"],"budget":[8,0]}],"minBlocks":1}}
3 {"withdraw":{"claim":"two"}}
4 {"arrive":{"claim":"three","demands":[{"blocks":["closed"],"budget":[8,0]}],"minBlocks":1}}
4 {"arrive":{"claim":"four","demands":[{"blocks":["closed"],"budget":[8,0]}],"minBlocks":1}}
"#,
    ),
    (
        "version-1-written-off.jsonl",
        r#"{"policy":{"fcfs":{"refusing":false}},"unlocking":"immediate","composition":"basic","revision":2}"#,
        r#"
0 {"addBlock":{"block":"a","capacity":[100,100]}}
1 {"arrive":{"claim":"held","demands":[{"blocks":["a"],"budget":[60,1]}],"minBlocks":1}}
1 {"arrive":{"claim":"waits","demands":[{"blocks":["a"],"budget":[60,1]}],"minBlocks":1}}
1 {"arrive":{"claim":"returned","demands":[{"blocks":["a"],"budget":[5,1]}],"minBlocks":1}}
2 {"consume":{"claim":"returned","amount":"all"}}
2 {"writeOff":{"after":17,"unknownBlocks":["z","b"],"reason":"restored from a backup"}}
2 {"neverRan":{"claim":"returned"}}
3 {"addBlock":{"block":"c","capacity":[9223372036854775807,1]}}
"#,
    ),
];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds/state")
        .join(file)
}

fn engine(rules: &str, events: &str) -> Engine {
    let rules: DatasetRules = serde_json::from_str(rules).unwrap();
    let mut engine = Engine::new(rules).unwrap();
    for line in events.trim().lines() {
        let (time, event) = line.split_once(' ').unwrap();
        engine.advance(Time::from_micros(time.parse().unwrap()));
        let event: Event = serde_json::from_str(event).unwrap_or_else(|error| panic!("{line}: {error}"));
        engine
            .apply(&event)
            .unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
    }
    engine
}

fn written(engine: &Engine) -> String {
    let mut text = String::new();
    for part in engine.parts() {
        writeln!(text, "{}", serde_json::to_string(&part).unwrap()).unwrap();
    }
    text
}

#[test]
fn the_parts_of_version_1_have_their_bytes() {
    for (file, rules, events) in STORIES {
        let stored = fs::read_to_string(path(file)).unwrap_or_default();
        assert_eq!(written(&engine(rules, events)), stored, "{file}");
    }
}

#[test]
fn an_engine_is_restored_from_the_bytes_of_version_1() {
    for (file, rules, events) in STORIES {
        let stored = fs::read_to_string(path(file)).unwrap();
        let mut restoring = Restoring::new();
        for line in stored.lines() {
            let part: StatePart = serde_json::from_str(line).unwrap();
            restoring.push(part).unwrap();
        }
        let restored = restoring.finish().unwrap();
        assert_eq!(written(&restored), stored, "{file}");
        let original = engine(rules, events);
        for block in original.blocks() {
            assert_eq!(restored.block(block), original.block(block));
        }
        for claim in original.claims() {
            assert_eq!(restored.phase(claim), original.phase(claim));
        }
    }
}
#[test]
fn the_stored_parts_keep_the_property_of_the_fuzz_target() {
    for (file, ..) in STORIES {
        assert!(state_property::state(&fs::read_to_string(path(file)).unwrap()));
    }
}
