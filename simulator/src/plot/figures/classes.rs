//! Granted tasks by class, as stacked bars.

use super::{FigureResult, MICE, MicroFigures, series};
use crate::{
    plot::{
        figure::{Axis, Bar, Bars, Chart, Figure},
        runs::{Runs, count, reference, same, unlocking},
        scale::short,
        style::Style,
    },
    results::{ClassRow, RunRow},
};

pub(super) fn figure(micro: MicroFigures, runs: &Runs<'_>) -> FigureResult {
    let n = micro.usual_n();
    let title = micro.title(&format!("Granted tasks by class, N = T = {}", short(n)), [""; 4]);
    let chosen = runs.of(micro.experiment).filter(|run| {
        run.composition == micro.composition
            && run.mice.is_some_and(|mice| same(mice, MICE))
            && unlocking(run).is_none_or(|place| same(place, n))
    });
    let policies = series::by_policy(chosen);
    let of_policy = |(key, rows): (&crate::plot::runs::PolicyKey, &Vec<&'_ RunRow>)| {
        let run = reference(rows.iter().copied())?;
        let classes = runs.classes(run);
        (!classes.is_empty()).then(|| (key.label(), classes.to_vec()))
    };
    let bars: Vec<(String, Vec<&ClassRow>)> = policies.iter().filter_map(of_policy).collect();
    let Some((_, first)) = bars.first() else {
        return Err(micro.missing(
            &title,
            &format!(", 75% mice and N or T of {}, with their classes", short(n)),
        ));
    };
    // Classes without tasks are left out, such as that of many blocks where there is only one.
    let came = |class: &str| {
        first
            .iter()
            .find(|row| row.class == class)
            .map_or(0, |row| row.tasks)
    };
    let names: Vec<String> = first
        .iter()
        .filter(|row| row.tasks > 0)
        .map(|row| row.class.clone())
        .collect();
    let all = Bar {
        label: "all that came".to_owned(),
        values: names.iter().map(|name| count(came(name))).collect(),
    };
    let granted = bars.iter().map(|(label, classes)| Bar {
        label: label.clone(),
        values: names
            .iter()
            .map(|name| {
                classes
                    .iter()
                    .find(|row| row.class == *name)
                    .map_or(0.0, |row| count(row.granted))
            })
            .collect(),
    });
    let bars = std::iter::once(all).chain(granted).collect();
    Ok(Figure {
        name: micro.name("classes"),
        title,
        about: "What came, and what each policy granted of it, 75% of the tasks being mice (small epsilon: 1% of a \
                block's, large: 10%; few blocks: 1, many: 10)."
            .to_owned(),
        chart: Chart::Bars(Bars {
            y: Axis::linear("Tasks"),
            parts: names.into_iter().enumerate().map(|(place, name)| (name, Style::nth(place))).collect(),
            bars,
        }),
    })
}
