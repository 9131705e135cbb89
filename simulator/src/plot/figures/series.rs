//! Makes lines of runs.

use std::collections::BTreeMap;

use crate::{
    experiment::{CompositionKind, Experiment},
    plot::{
        figure::{Point, Series, Shape},
        published::{PublishedValue, Quantity, Source},
        runs::{PolicyKey, count, distinct, same},
        style::{Style, styles_of_policies},
    },
    results::RunRow,
};

/// Groups runs by policy.
pub(super) fn by_policy<'a>(runs: impl Iterator<Item = &'a RunRow>) -> BTreeMap<PolicyKey, Vec<&'a RunRow>> {
    let mut policies: BTreeMap<PolicyKey, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        policies.entry(PolicyKey::of(run)).or_default().push(run);
    }
    policies
}

/// Returns the policies' styles.
pub(super) fn styles(policies: &BTreeMap<PolicyKey, Vec<&RunRow>>) -> Vec<Style> {
    let names: Vec<&str> = policies.keys().map(|key| key.policy.as_str()).collect();
    styles_of_policies(&names)
}

/// Returns lines of granted tasks against a parameter: one for each policy, and a horizontal line for a
/// policy without that parameter. `published` returns the published points of a policy.
pub(super) fn granted<'a>(
    runs: impl Iterator<Item = &'a RunRow>,
    parameter: impl Fn(&RunRow) -> Option<f64>,
    published: impl Fn(&str) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let policies = by_policy(runs);
    let styles = styles(&policies);
    let lines = policies.iter().zip(styles).map(|((key, runs), style)| {
        let has_it = runs.iter().any(|run| parameter(run).is_some());
        let shape = if has_it { Shape::Line } else { Shape::Level };
        let place = |run: &RunRow| if has_it { parameter(run) } else { Some(0.0) };
        let points = distinct(runs.iter().filter_map(|run| place(run)))
            .into_iter()
            .filter_map(|x| {
                let there = || {
                    runs.iter()
                        .filter(|run| place(run).is_some_and(|place| same(place, x)))
                };
                let point = Point::of(x, &there().map(|run| count(run.granted)).collect::<Vec<_>>())?;
                // An optimum that is not proven lies between the best set found and the bound.
                let bound = there().filter_map(|run| run.bound).max().map(count);
                let range = point.range.unwrap_or((point.y, point.y));
                let bounded = bound
                    .filter(|bound| *bound > range.1)
                    .map(|bound| (range.0, bound));
                Some(Point {
                    range: bounded.or(point.range),
                    ..point
                })
            });
        Series {
            label: key.label(),
            style,
            shape,
            points: points.collect(),
            published: published(&key.policy),
        }
    });
    lines.collect()
}

/// Returns a note on the number of seeds, for the text below a figure.
pub(super) fn seeds_note<'a>(runs: impl Iterator<Item = &'a RunRow>) -> String {
    let mut seeds: Vec<u64> = runs.map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    match seeds.as_slice() {
        [] => String::new(),
        [seed] => format!(" One run for each point, seed {seed}."),
        seeds => format!(
            " Points are means over {} seeds, bars go from the least to the greatest.",
            seeds.len()
        ),
    }
}

/// Returns the published numbers of granted tasks of a policy from `source`, for the values that `place`
/// gives a place on the axis.
pub(super) fn published(
    published: &[PublishedValue],
    (experiment, composition): (Experiment, CompositionKind),
    policy: &str,
    source: Source,
    place: impl Fn(&PublishedValue) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let experiment = experiment.to_string();
    let points = published.iter().filter(|row| {
        row.experiment == experiment
            && row.composition == composition
            && row.quantity == Quantity::Granted
            && row.source == source
            && row.policy == policy
    });
    points.filter_map(|row| Some((place(row)?, row.value))).collect()
}
