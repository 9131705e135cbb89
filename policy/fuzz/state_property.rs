//! The property of restoring an engine from any text: nothing panics, and an engine that comes of it overspends
//! nothing and has parts of which an equal one comes. `tests/state_format.rs` tries the seeds.

use privatekube_policy::{Composition, Engine, Restoring, StateError, StatePart};

/// Whether the lines of `text` are the parts of an engine's state, one to a line.
pub(crate) fn state(text: &str) -> bool {
    let Ok(engine) = restored(text) else {
        return false;
    };
    for block in engine.blocks() {
        overspends_nothing(&engine, block);
    }
    for claim in engine.claims() {
        assert!(engine.claim(claim).is_some());
        let _ = (engine.explain(claim), engine.standing(claim));
    }
    let _ = (engine.queue(), engine.next_step(), engine.next_unlock());
    let written = written(&engine);
    match restored(&written) {
        Ok(again) => assert_eq!(self::written(&again), written),
        Err(error) => unreachable!("{error:?}: {written}"),
    }
    true
}

fn overspends_nothing(engine: &Engine, block: &privatekube_policy::BlockId) {
    let Some(state) = engine.block(block) else {
        return;
    };
    let capacity = state.capacity.units();
    for (at, capacity) in capacity.iter().enumerate() {
        let parts = [
            state.locked[at],
            state.available[at],
            state.allocated[at],
            state.consumed[at],
        ];
        assert_eq!(parts.iter().sum::<i128>(), i128::from(*capacity));
        assert!(state.locked[at] >= 0 && state.allocated[at] >= 0 && state.consumed[at] >= 0);
    }
    let is_kept = |at: usize| state.available[at] >= 0;
    let mut taken = state.allocated.iter().chain(&state.consumed);
    if engine.rules().composition == Composition::Basic {
        assert!((0..capacity.len()).all(is_kept), "{block}: {state:?}");
    } else if taken.any(|taken| *taken > 0) {
        let mut usable = (0..capacity.len()).filter(|at| capacity[*at] > 0);
        assert!(usable.any(is_kept), "{block}: {state:?}");
    }
}

/// The engine; an error without words if a line is no part.
fn restored(text: &str) -> Result<Engine, Option<StateError>> {
    let mut restoring = Restoring::new();
    for line in text.lines() {
        let part: StatePart = serde_json::from_str(line).map_err(|_| None)?;
        restoring.push(part).map_err(Some)?;
    }
    restoring.finish().map_err(Some)
}

fn written(engine: &Engine) -> String {
    let parts = engine.parts().map(|part| serde_json::to_string(&part));
    let lines: Result<Vec<String>, _> = parts.collect();
    lines.map(|lines| lines.join("\n")).unwrap_or_default()
}
