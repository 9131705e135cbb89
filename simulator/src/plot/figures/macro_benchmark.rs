//! The macro-benchmark (OSDI'21, figures 12, 13, 19).

use super::{FigureResult, MissingFigure, delay::DelayFigures, series};
use crate::{
    experiment::{CompositionKind, Experiment},
    plot::{
        figure::{Axis, Chart, Figure, Lines, Series, Shape},
        published::{PublishedValue, Source},
        runs::{Runs, composition_label},
        style::Style,
    },
};

/// The paper's blocks are days, and tasks expire after five days.
const WAITING: DelayFigures = DelayFigures {
    unit: ("days", 86_400.0),
    most: 5.0,
    about: "Of all tasks, the part that had been granted within so many days after they came. A line ends at the part that \
            was ever granted; the others waited in vain for five days.",
};

const COMPOSITIONS: [(CompositionKind, &str); 2] = [
    (CompositionKind::Renyi, "renyi"),
    (CompositionKind::Basic, "basic"),
];

pub(super) fn figures(runs: &Runs<'_>, published: &[PublishedValue]) -> Vec<FigureResult> {
    let delays = COMPOSITIONS.map(|(composition, name)| {
        let figure = match composition {
            CompositionKind::Renyi => "12b",
            CompositionKind::Basic => "19b",
        };
        let missing = MissingFigure {
            title: format!(
                "Delay of DPF-N by N: macro-benchmark, {} (Fig.\u{a0}{figure})",
                composition_label(composition)
            ),
            needs: format!(
                "runs of macro with {}, policy dpf-n, with their delays",
                composition_label(composition)
            ),
        };
        let rows = runs
            .of(Experiment::Macro)
            .filter(move |run| run.composition == composition && run.policy == "dpf-n");
        WAITING.by_unlocking(runs, rows, format!("macro-{name}-delay"), missing)
    });
    std::iter::once(granted(runs, published)).chain(delays).collect()
}

fn granted(runs: &Runs<'_>, published: &[PublishedValue]) -> FigureResult {
    let title = "Granted pipelines by N: macro-benchmark, event-level privacy (Fig.\u{a0}12a, 19a)";
    let of_composition = |(composition, _): (CompositionKind, &str)| {
        let rows = runs
            .of(Experiment::Macro)
            .filter(move |run| run.composition == composition);
        let others = |policy: &str| {
            let of = (Experiment::Macro, composition);
            series::published(published, of, policy, Source::Paper, |row| row.n.map(f64::from))
        };
        let mut lines = series::granted(rows, |run| run.n.map(f64::from), others);
        for line in &mut lines {
            line.label = format!("{}, {}", line.label, composition_label(composition));
        }
        lines
    };
    let mut lines: Vec<Series> = COMPOSITIONS.into_iter().flat_map(of_composition).collect();
    if lines.iter().all(|line| line.shape == Shape::Level) {
        return Err(MissingFigure {
            title: title.to_owned(),
            needs: "runs of macro with some N".to_owned(),
        });
    }
    // Several lines belong to one policy and differ in composition, so the policies' usual styles don't
    // suffice.
    lines.sort_by_key(|line| line.shape == Shape::Level);
    for (place, line) in lines.iter_mut().enumerate() {
        line.style = Style::nth(place);
    }
    Ok(Figure {
        name: "macro-granted".to_owned(),
        title: title.to_owned(),
        about: format!(
            "Pipelines that were granted in 50 days with 300 a day, 75% of them statistics. FCFS refuses at once what does \
             not fit; what the paper calls FCFS is N = 1.{}",
            series::seeds_note(runs.of(Experiment::Macro))
        ),
        chart: Chart::Lines(Lines {
            x: Axis::linear("Arrivals that unlock a block (N)"),
            y: Axis::linear("Granted pipelines"),
            series: lines,
            published: Some("hollow: the paper's figure, read off (±200)".to_owned()),
        }),
    })
}
