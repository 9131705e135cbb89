//! Granted tasks against N or T (OSDI'21, figures 6, 8, 16, 18a).

use super::{FigureResult, MICE, MicroFigures, series};
use crate::{
    experiment::{CompositionKind, Experiment},
    plot::{
        figure::{Axis, Chart, Figure, Lines, Shape},
        published::{PublishedValue, Source},
        runs::{Runs, same, unlocking},
    },
};

pub(super) fn figure(micro: MicroFigures, runs: &Runs<'_>, published: &[PublishedValue]) -> FigureResult {
    let title = micro.title("Granted tasks by N and T", ["6", "16", "8", "18"]);
    let chosen = || {
        runs.of(micro.experiment).filter(|run| {
            run.composition == micro.composition && run.mice.is_some_and(|mice| same(mice, MICE))
        })
    };
    let of = (micro.experiment, micro.composition);
    let lines = series::granted(chosen(), unlocking, |policy| {
        series::published(published, of, policy, Source::Notebook, |row| {
            // FCFS has no N: its value holds everywhere.
            let place = row.n.map_or(0.0, f64::from);
            row.mice.is_some_and(|mice| same(mice, MICE)).then_some(place)
        })
    });
    if lines.iter().all(|line| line.shape == Shape::Level) {
        return Err(micro.missing(&title, ", 75% mice and some N or T"));
    }
    let label = micro.unlocking_label();
    // The values of N go up to 10,000, as in figure 10, but most differences are below 500.
    let wide = of == (Experiment::MicroMulti, CompositionKind::Basic);
    Ok(Figure {
        name: micro.name("granted"),
        title,
        about: format!(
            "How many of all tasks were granted, 75% of them mice. FCFS has neither N nor T: a line across.{}",
            series::seeds_note(chosen())
        ),
        chart: Chart::Lines(Lines {
            x: if wide {
                Axis::log(label)
            } else {
                Axis::linear(label)
            },
            y: Axis::linear("Granted tasks"),
            series: lines,
            published: Some(micro.published_label()),
        }),
    })
}
