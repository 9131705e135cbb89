//! Stories as text: commands, and under them what came of it. See `scenarios/README.md`.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p privatekube-policy --test scenarios` writes the outcomes anew, and
//! the index of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod story;

use std::fs;

#[test]
fn scenarios_come_out_as_they_are_written() {
    let stories = story::all();
    assert!(stories.len() >= 10, "{}", stories.len());
    for (path, text) in stories {
        let (told, _) = story::replay(text);
        if story::updating() {
            fs::write(path, told).unwrap();
        } else {
            assert_eq!(told, *text, "{}", path.display());
        }
    }
}
