//! Scenarios as text: commands, and under each its outcome. `scenarios/README.md` has the commands.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p privatekube-policy --test scenarios` writes the outcomes and the index
//! of the scenarios again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod story;

use std::fs;

#[test]
fn scenarios_have_the_outcomes_that_they_state() {
    let stories = story::all();
    assert!(stories.len() >= 10, "{}", stories.len());
    for (path, text) in stories {
        let (replayed, _) = story::replay(text);
        if story::updating() {
            fs::write(path, replayed).unwrap();
        } else {
            assert_eq!(replayed, *text, "{}", path.display());
        }
    }
}
