//! DPack and other policies (EuroSys'25, sections 6.2 and 6.3): granted tasks, and the ratio of DPack's
//! grants to DPF's.

use super::{FigureResult, MissingFigure, series};
use crate::{
    experiment::Experiment,
    plot::{
        figure::{Axis, Chart, Figure, Lines, Point, Series, Shape},
        runs::{Runs, count, distinct, same},
        scale::short,
        style::Style,
    },
    results::RunRow,
};

/// A parameter of a run.
type Parameter = fn(&RunRow) -> Option<f64>;

/// The parameter that an experiment varies.
struct Varied {
    experiment: Experiment,
    /// Its part of the figures' names.
    name: &'static str,
    /// Its part of the figures' titles.
    what: &'static str,
    axis: Axis,
    parameter: Parameter,
}

/// Returns the figures of dpack-orders or dpack-blocks: one for each least demand, by the spread, and one of
/// all ratios.
pub(super) fn by_spread(experiment: Experiment, runs: &Runs<'_>) -> Vec<FigureResult> {
    let (what, label) = match experiment {
        Experiment::DpackBlocks => (
            "spread of the number of blocks",
            "Standard deviation of the number of blocks (mean 10)",
        ),
        _ => (
            "spread of the best orders",
            "Standard deviation of the best order, in places among the orders",
        ),
    };
    let varied = Varied {
        experiment,
        name: "spread",
        what,
        axis: Axis::linear(label),
        parameter: |run| run.spread,
    };
    let groups: Vec<(String, Vec<&RunRow>)> = distinct(runs.of(experiment).filter_map(|run| run.least))
        .into_iter()
        .map(|least| {
            let rows = runs
                .of(experiment)
                .filter(|run| run.least.is_some_and(|own| same(own, least)));
            (format!("least demand {}", short(least)), rows.collect())
        })
        .collect();
    let ratio = varied.ratio(&groups);
    let granted = groups.iter().map(|(group, rows)| {
        let least = group.rsplit(' ').next().unwrap_or_default();
        varied.granted(&format!("spread-{least}"), &format!(", {group}"), rows)
    });
    std::iter::once(ratio).chain(granted).collect()
}

/// Returns the figures of alibaba, by the number of blocks and by the number of tasks.
pub(super) fn by_load(runs: &Runs<'_>) -> Vec<FigureResult> {
    let experiment = Experiment::Alibaba;
    let blocks = Varied {
        experiment,
        name: "blocks",
        what: "number of blocks",
        axis: Axis::linear("Blocks"),
        parameter: |run| Some(count(run.blocks)),
    };
    let tasks = Varied {
        experiment,
        name: "tasks",
        what: "number of tasks",
        axis: Axis::linear("Tasks"),
        parameter: |run| Some(count(run.tasks)),
    };
    // Each figure varies one of both numbers and keeps the other at its most frequent value.
    let figures = [
        (blocks, tasks.parameter),
        (tasks, |run: &RunRow| Some(count(run.blocks))),
    ];
    let figures = figures
        .into_iter()
        .flat_map(|(varied, kept): (Varied, Parameter)| {
            let all: Vec<&RunRow> = runs.of(experiment).collect();
            let often = |number: f64| {
                all.iter()
                    .filter(|run| kept(run).is_some_and(|own| same(own, number)))
                    .count()
            };
            let usual = distinct(all.iter().filter_map(|run| kept(run)))
                .into_iter()
                .max_by_key(|number| often(*number));
            let rows = usual.map_or_else(Vec::new, |usual| {
                let rows = all
                    .iter()
                    .filter(|run| kept(run).is_some_and(|own| same(own, usual)));
                rows.copied().collect()
            });
            let groups = vec![("DPack / DPF".to_owned(), rows.clone())];
            [varied.granted(varied.name, "", &rows), varied.ratio(&groups)]
        });
    figures.collect()
}

impl Varied {
    fn missing(&self, title: &str, needs: &str) -> MissingFigure {
        MissingFigure {
            title: title.to_owned(),
            needs: format!("runs of {} {needs}", self.experiment),
        }
    }

    /// Returns a figure of the tasks that each policy grants.
    fn granted(&self, name: &str, with: &str, rows: &[&RunRow]) -> FigureResult {
        let title = format!("Granted tasks by {}: {}{with}", self.what, self.experiment);
        let series = series::granted(rows.iter().copied(), self.parameter, |_| Vec::new());
        if series.iter().all(|line| line.points.len() < 2) {
            return Err(self.missing(&title, &format!("of more than one {}", self.what)));
        }
        let came = distinct(rows.iter().map(|run| count(run.tasks)));
        let came = match (came.first(), came.last()) {
            (Some(least), Some(most)) if same(*least, *most) => format!("{} tasks came. ", short(*least)),
            (Some(least), Some(most)) => format!("{} to {} tasks came. ", short(*least), short(*most)),
            _ => String::new(),
        };
        // Runs in which the optimum is not proven.
        let is_open = |run: &&&RunRow| run.bound.is_some_and(|bound| bound > run.granted);
        let bounds = match rows.iter().filter(is_open).count() {
            0 => "",
            _ => "The optimum's bars go up to what is proven that nobody can exceed. ",
        };
        Ok(Figure {
            name: format!("{}-{name}", self.experiment),
            title,
            about: format!(
                "{came}{bounds}{}",
                series::seeds_note(rows.iter().copied()).trim_start()
            ),
            chart: Chart::Lines(Lines {
                x: self.axis.clone(),
                y: Axis::linear("Granted tasks"),
                series,
                published: None,
            }),
        })
    }

    /// Returns a figure of the ratio of DPack's grants to DPF's, with a line for each group of runs.
    fn ratio(&self, groups: &[(String, Vec<&RunRow>)]) -> FigureResult {
        let title = format!(
            "DPack's grants as a multiple of DPF's, by {}: {}",
            self.what, self.experiment
        );
        let series = groups.iter().enumerate().map(|(place, (label, rows))| Series {
            label: label.clone(),
            style: Style::nth(place),
            shape: Shape::Line,
            points: ratios(rows, self.parameter),
            published: Vec::new(),
        });
        let series: Vec<Series> = series.filter(|line| !line.points.is_empty()).collect();
        if series.iter().all(|line| line.points.len() < 2) {
            return Err(self.missing(&title, "under both dpack and dpf"));
        }
        let rows = groups.iter().flat_map(|(_, rows)| rows.iter().copied());
        Ok(Figure {
            name: format!("{}-{}-ratio", self.experiment, self.name),
            title,
            about: format!(
                "Above 1, DPack grants more tasks than DPF of the same workload.{}",
                series::seeds_note(rows)
            ),
            chart: Chart::Lines(Lines {
                x: self.axis.clone(),
                y: Axis::linear("Tasks granted by DPack / by DPF"),
                series,
                published: None,
            }),
        })
    }
}

/// Returns the ratios of DPack's grants to DPF's of the same seed at each value of the parameter. Uses the
/// DPack runs with the most frequent recomputation of costs.
fn ratios(rows: &[&RunRow], parameter: Parameter) -> Vec<Point> {
    let often = rows
        .iter()
        .filter(|run| run.policy.starts_with("dpack"))
        .filter_map(|run| run.recompute_after)
        .min();
    let places = distinct(rows.iter().filter_map(|run| parameter(run)));
    let points = places.into_iter().filter_map(|x| {
        let here = || {
            rows.iter()
                .filter(|run| parameter(run).is_some_and(|own| same(own, x)))
        };
        let dpacks = here().filter(|run| run.policy.starts_with("dpack") && run.recompute_after == often);
        let ratios = dpacks.filter_map(|dpack| {
            let dpf = here().find(|run| {
                run.seed == dpack.seed && run.policy.strip_prefix("dpf") == dpack.policy.strip_prefix("dpack")
            });
            let dpf = dpf.filter(|dpf| dpf.granted > 0)?;
            Some(count(dpack.granted) / count(dpf.granted))
        });
        Point::of(x, &ratios.collect::<Vec<_>>())
    });
    points.collect()
}
