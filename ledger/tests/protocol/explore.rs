//! Breadth-first exploration of all states that can be reached, which therefore finds a shortest way to a violation.
//!
//! It is written by hand because it is short. The crate `stateright` explores, too, but it brings an HTTP server, and
//! second or third copies of `rand` and `hashbrown`, which deny.toml refuses.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// What takes the steps from a state.
pub(crate) type Reach<'a, M> =
    dyn FnMut(<M as Model>::Step, Result<<M as Model>::State, <M as Model>::Violation>) + 'a;

/// What is explored.
pub(crate) trait Model {
    type State: Clone + Eq + Hash;
    /// A step, as it is told.
    type Step: Copy + PartialEq;
    type Violation: Clone + Debug + PartialEq;
    /// The names in a state, which make no difference to what can happen.
    type Names: Copy;

    fn start(&self) -> (Self::State, Self::Names);

    /// Calls `reach` with each step that may be next, and the state after it or what the step violates.
    fn steps(&self, state: &Self::State, reach: &mut Reach<'_, Self>);

    /// Renames everything in `state` such that many states that differ only in names become one. Returns that state,
    /// and the names in it: those that `names` are in `state`.
    fn renamed(&self, state: &Self::State, names: Self::Names) -> (Self::State, Self::Names);

    /// The step in words.
    fn tell(&self, state: &Self::State, step: Self::Step, names: &Self::Names) -> String;
}

/// The result of an exploration.
pub(crate) struct Explored<V> {
    /// How many different states were reached.
    pub(crate) states: usize,
    /// How many steps led to them, those to known states included.
    pub(crate) steps: usize,
    /// The number of steps to the farthest state.
    pub(crate) depth: usize,
    /// The first violation, and the steps that lead to it in words; none if no state violates anything.
    pub(crate) violation: Option<(V, Vec<String>)>,
}

struct Reached<S, T> {
    state: S,
    /// The state before it, and the step.
    from: Option<(usize, T)>,
    depth: usize,
}

/// Explores all states of `model`, or stops at the first violation.
///
/// # Panics
///
/// With more than `most` states, since a test would take too long.
pub(crate) fn explore<M: Model>(model: &M, most: usize) -> Explored<M::Violation> {
    let (start, names) = model.start();
    let mut known = HashSet::from([start.clone()]);
    let mut reached = vec![Reached {
        state: start,
        from: None,
        depth: 0,
    }];
    let mut steps = 0;
    let mut violation = None;
    let mut at = 0;
    while at < reached.len() && violation.is_none() {
        let (state, depth) = (reached[at].state.clone(), reached[at].depth + 1);
        model.steps(&state, &mut |step, next| {
            steps += 1;
            match next {
                Ok(next) => {
                    let (next, _) = model.renamed(&next, names);
                    if known.insert(next.clone()) {
                        reached.push(Reached {
                            state: next,
                            from: Some((at, step)),
                            depth,
                        });
                    }
                }
                Err(found) if violation.is_none() => violation = Some((found, step)),
                Err(_) => {}
            }
        });
        assert!(known.len() <= most, "there are more than {most} states");
        at += 1;
    }
    Explored {
        states: known.len(),
        steps,
        depth: reached.last().map_or(0, |reached| reached.depth),
        violation: violation.map(|(found, last)| (found, way(model, &reached, at - 1, last))),
    }
}

/// The steps to the state at `end`, and the step `last` from there, in words, with the same names all the way.
fn way<M: Model>(
    model: &M,
    reached: &[Reached<M::State, M::Step>],
    end: usize,
    last: M::Step,
) -> Vec<String> {
    let mut steps = vec![(end, last)];
    let mut at = end;
    while let Some((before, step)) = reached[at].from {
        steps.push((before, step));
        at = before;
    }
    let (_, mut names) = model.start();
    let mut told = Vec::new();
    for (at, step) in steps.into_iter().rev() {
        let state = &reached[at].state;
        told.push(model.tell(state, step, &names));
        let mut after = None;
        model.steps(state, &mut |other, next| {
            if other == step && after.is_none() {
                after = next.ok();
            }
        });
        if let Some(after) = after {
            names = model.renamed(&after, names).1;
        }
    }
    told
}
