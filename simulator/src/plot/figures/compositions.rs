//! Both compositions in one figure (OSDI'21, figure 10).

use super::{FigureResult, MICE, MissingFigure, series};
use crate::{
    experiment::{CompositionKind, Experiment},
    plot::{
        figure::{Axis, Chart, Figure, Lines, Series, Shape},
        runs::{Runs, same, unlocking},
        style::Style,
    },
    results::RunRow,
};

pub(super) fn figure(runs: &Runs<'_>) -> FigureResult {
    let title = "Granted tasks with basic and Rényi composition: many blocks (Fig.\u{a0}10)";
    let chosen = |composition| {
        let comparable = |run: &&RunRow| {
            run.mice.is_some_and(|mice| same(mice, MICE))
                && ["fcfs", "dpf-n", "dpf-t"].contains(&run.policy.as_str())
        };
        runs.of(Experiment::MicroMulti)
            .filter(move |run| run.composition == composition)
            .filter(comparable)
    };
    let lines = |composition, name: &str| {
        let mut lines = series::granted(chosen(composition), unlocking, |_| Vec::new());
        for line in &mut lines {
            line.label = format!("{}, {name}", line.label);
        }
        lines
    };
    let [basic, renyi] = [
        (CompositionKind::Basic, "basic"),
        (CompositionKind::Renyi, "Rényi"),
    ]
    .map(|(composition, name)| lines(composition, name));
    let drawable = |lines: &[Series]| lines.iter().any(|line| line.shape == Shape::Line);
    if !drawable(&basic) || !drawable(&renyi) {
        return Err(MissingFigure {
            title: title.to_owned(),
            needs: "runs of micro-multi with both compositions, 75% mice and some N or T".to_owned(),
        });
    }
    let all = chosen(CompositionKind::Basic).chain(chosen(CompositionKind::Renyi));
    let note = series::seeds_note(all);
    // Lines under Rényi composition have their usual styles; those under basic composition get styles that
    // are free here.
    let others = [6, 2, 3, 4, 7].map(Style::nth).into_iter();
    let basic = basic
        .into_iter()
        .zip(others)
        .map(|(line, style)| Series { style, ..line });
    let series = renyi.into_iter().chain(basic);
    Ok(Figure {
        name: "micro-multi-compositions".to_owned(),
        title: title.to_owned(),
        about: format!(
            "The same demands cost a smaller part of a block's budget under Rényi composition; both axes are \
             logarithmic. Each composition has its own rate of arrivals.{note}"
        ),
        chart: Chart::Lines(Lines {
            x: Axis::log("Arrivals that unlock a block (N), or its lifetime (T) in mean intervals"),
            y: Axis::log("Granted tasks"),
            series: series.collect(),
            published: None,
        }),
    })
}
