//! Cumulative distributions of the delays between arrival and grant (OSDI'21, figures 7, 9, 12b, 17, 18b,
//! 19b). They are relative to all tasks, so a line ends at the part that was granted.

use super::{FigureResult, MICE, MicroFigures, MissingFigure, series};
use crate::{
    experiment::CompositionKind,
    plot::{
        figure::{Axis, Chart, Figure, Lines, Point, Series, Shape},
        runs::{Runs, by_number, count, policy_label, reference, same, unlocking},
        scale::{rounded, short},
        style::{Style, styles_of_policies},
    },
    results::RunRow,
};

/// Limit of the number of lines in one figure.
const MOST_LINES: usize = 7;

/// What the delay figures of one experiment share.
#[derive(Clone, Copy, Debug)]
pub(super) struct DelayFigures {
    /// The unit of time, and its length in seconds.
    pub(super) unit: (&'static str, f64),
    /// The end of the axis, in that unit.
    pub(super) most: f64,
    pub(super) about: &'static str,
}

const MICRO: DelayFigures = DelayFigures {
    unit: ("s", 1.0),
    // The paper's timeout.
    most: 300.0,
    about: "Of all tasks, the part that had been granted within so long after they came. A line ends at the part that was \
            ever granted; the others waited in vain. 75% mice.",
};

/// Returns a figure with a line for each policy, at the usual N.
pub(super) fn by_policy(micro: MicroFigures, runs: &Runs<'_>) -> FigureResult {
    let n = micro.usual_n();
    let title = micro.title(
        &format!("Delay by policy, N = T = {}", short(n)),
        ["7", "17", "9", "18b"],
    );
    let chosen = usual(micro, runs).filter(|run| unlocking(run).is_none_or(|place| same(place, n)));
    let policies = series::by_policy(chosen);
    let lines: Vec<(String, &str, Vec<Point>)> = policies
        .iter()
        .filter_map(|(key, rows)| {
            let points = MICRO.distribution(runs, reference(rows.iter().copied())?)?;
            Some((key.label(), key.policy.as_str(), points))
        })
        .collect();
    if lines.is_empty() {
        return Err(micro.missing(
            &title,
            &format!(", 75% mice and N or T of {}, with their delays", short(n)),
        ));
    }
    let styles = styles_of_policies(&lines.iter().map(|(_, policy, _)| *policy).collect::<Vec<_>>());
    let lines = lines
        .into_iter()
        .zip(styles)
        .map(|((label, _, points), style)| Series {
            label,
            style,
            shape: Shape::Steps,
            points,
            published: Vec::new(),
        });
    Ok(MICRO.figure(micro.name("delay"), title, lines.collect()))
}

/// Returns a figure for each policy that has an N or T, with a line for each of these values.
pub(super) fn by_unlocking(micro: MicroFigures, runs: &Runs<'_>) -> Vec<FigureResult> {
    let policies: &[&str] = match micro.composition {
        CompositionKind::Basic => &["dpf-n", "dpf-t", "rr-n", "rr-t"],
        CompositionKind::Renyi => &["dpf-n", "dpf-t"],
    };
    let figures = policies.iter().map(|policy| {
        let what = if policy.ends_with("-t") { "T" } else { "N" };
        let title = micro.title(
            &format!("Delay of {} by {what}", policy_label(policy)),
            ["7", "17", "9", "18b"],
        );
        let missing = micro.missing(
            &title,
            &format!(", policy {policy} and 75% mice, with their delays"),
        );
        let rows = usual(micro, runs).filter(|run| run.policy == *policy);
        MICRO.by_unlocking(runs, rows, micro.name(&format!("delay-{policy}")), missing)
    });
    figures.collect()
}

/// Returns the runs at the usual percentage of mice.
fn usual<'a>(micro: MicroFigures, runs: &Runs<'a>) -> impl Iterator<Item = &'a RunRow> {
    runs.of(micro.experiment).filter(move |run| {
        run.composition == micro.composition && run.mice.is_some_and(|mice| same(mice, MICE))
    })
}

impl DelayFigures {
    /// Returns a figure with a line for each N or T of `rows`. `missing` has the title, and is returned if
    /// there are no lines.
    pub(super) fn by_unlocking<'a>(
        self,
        runs: &Runs<'_>,
        rows: impl Iterator<Item = &'a RunRow>,
        name: String,
        missing: MissingFigure,
    ) -> FigureResult {
        let mut chosen: Vec<(f64, &RunRow)> = rows
            .filter_map(|run| Some((run.n.map(f64::from).or(run.lifetime)?, run)))
            .collect();
        chosen.sort_by(|(one, run), (other, next)| by_number(*one, *other).then(run.seed.cmp(&next.seed)));
        let groups = chosen.chunk_by(|(one, _), (other, _)| same(*one, *other));
        let lines: Vec<(String, Vec<Point>)> = groups
            .filter_map(|group| {
                let run = reference(group.iter().map(|(_, run)| *run))?;
                let label = match (run.n, run.lifetime) {
                    (Some(n), _) => format!("N = {}", short(f64::from(n))),
                    (None, lifetime) => format!("T = {} s", rounded(lifetime?)),
                };
                Some((label, self.distribution(runs, run)?))
            })
            .collect();
        if lines.is_empty() {
            return Err(missing);
        }
        let lines = evenly(lines, MOST_LINES).into_iter().enumerate();
        let lines = lines.map(|(place, (label, points))| Series {
            label,
            style: Style::nth(place),
            shape: Shape::Steps,
            points,
            published: Vec::new(),
        });
        Ok(self.figure(name, missing.title, lines.collect()))
    }

    /// Returns the cumulative distribution of a run's delays, as a part of all tasks. If no task was granted,
    /// the line is at 0. `None` if the delays are not in the tables.
    fn distribution(self, runs: &Runs<'_>, run: &RunRow) -> Option<Vec<Point>> {
        let delays = runs.delays(run);
        if run.tasks == 0 || (delays.is_empty() && run.granted > 0) {
            return None;
        }
        let (_, seconds) = self.unit;
        let points = delays
            .iter()
            .map(|row| Point::new(row.delay / seconds, count(row.granted) / count(run.tasks)));
        Some(if delays.is_empty() {
            vec![Point::new(0.0, 0.0)]
        } else {
            points.collect()
        })
    }

    fn figure(self, name: String, title: String, series: Vec<Series>) -> Figure {
        let (unit, _) = self.unit;
        Figure {
            name,
            title,
            about: self.about.to_owned(),
            chart: Chart::Lines(Lines {
                x: Axis::linear(format!("Scheduling delay ({unit})")).to(self.most),
                y: Axis::linear("Granted part of all tasks"),
                series,
                published: None,
            }),
        }
    }
}

/// Keeps at most `most` items: the first, the last, and others evenly spaced.
fn evenly<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let count = all.len();
    if count <= most {
        return all;
    }
    let kept: Vec<usize> = (0..most).map(|place| place * (count - 1) / (most - 1)).collect();
    let numbered = all.into_iter().enumerate();
    numbered
        .filter(|(place, _)| kept.contains(place))
        .map(|(_, one)| one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::evenly;

    #[test]
    fn the_first_and_the_last_are_kept() {
        assert_eq!(evenly((1..=17).collect(), 7), [1, 3, 6, 9, 11, 14, 17]);
        assert_eq!(evenly(vec![1, 2], 7), [1, 2]);
    }
}
