//! Granted tasks against the percentage of mice.

use super::{FigureResult, MicroFigures, series};
use crate::plot::{
    figure::{Axis, Chart, Figure, Lines, Shape},
    published::{PublishedValue, Source},
    runs::{Runs, same, unlocking},
    scale::short,
};

pub(super) fn figure(micro: MicroFigures, runs: &Runs<'_>, published: &[PublishedValue]) -> FigureResult {
    let n = micro.usual_n();
    let title = micro.title(&format!("Granted tasks by mice, N = T = {}", short(n)), [""; 4]);
    let chosen = || {
        let usual = move |run: &&_| unlocking(run).is_none_or(|place| same(place, n));
        runs.of(micro.experiment)
            .filter(|run| run.composition == micro.composition)
            .filter(usual)
    };
    let of = (micro.experiment, micro.composition);
    let others = |policy: &str| {
        series::published(published, of, policy, Source::Notebook, |row| {
            row.mice
                .filter(|_| row.n.is_none_or(|place| same(f64::from(place), n)))
        })
    };
    let mut lines = series::granted(chosen(), |run| run.mice, others);
    if lines.iter().all(|line| line.points.len() < 2) {
        return Err(micro.missing(
            &title,
            &format!(", N or T of {} and several shares of mice", short(n)),
        ));
    }
    for line in &mut lines {
        line.shape = Shape::Line;
    }
    Ok(Figure {
        name: micro.name("mice"),
        title,
        about: format!(
            "Mice ask for 1% of a block's epsilon, all others (elephants) for 10%.{}",
            series::seeds_note(chosen())
        ),
        chart: Chart::Lines(Lines {
            x: Axis::linear("Mice among the tasks (%)"),
            y: Axis::linear("Granted tasks"),
            series: lines,
            published: Some(micro.published_label()),
        }),
    })
}
