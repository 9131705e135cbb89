//! What DPF grants under each of the rules by which a claim's share of a block follows from its Renyi curve.

use std::collections::BTreeMap;

use super::{FigureResult, MissingFigure, series};
use crate::{
    experiment::{CompositionKind, Experiment},
    plot::{
        figure::{Axis, Chart, Figure, Lines, Point, Series, Shape},
        runs::{Runs, count, distinct, revision, same},
        scale::short,
        style::Style,
    },
    results::RunRow,
};

/// Returns the figure of an experiment; none if its runs have one revision of the rules only, since no other sweep was
/// asked for.
pub(super) fn figure(experiment: Experiment, runs: &Runs<'_>) -> Option<FigureResult> {
    let mut rows: Vec<&RunRow> = runs
        .of_all_revisions(experiment)
        .filter(|run| run.composition == CompositionKind::Renyi)
        .filter(|run| run.policy.starts_with("dpf"))
        .collect();
    if experiment == Experiment::Alibaba {
        // The paper varies two numbers; one of them is kept at its most frequent value.
        let often = |blocks: u64| rows.iter().filter(|run| run.blocks == blocks).count();
        let usual = rows
            .iter()
            .map(|run| run.blocks)
            .max_by_key(|blocks| often(*blocks));
        rows.retain(|run| Some(run.blocks) == usual);
    }
    let revisions = distinct(rows.iter().map(|run| f64::from(revision(run))));
    if revisions.len() < 2 {
        return None;
    }
    let (axis, parameter): (Axis, fn(&RunRow) -> Option<f64>) = match experiment {
        Experiment::MicroSingle | Experiment::MicroMulti | Experiment::Macro => {
            (Axis::linear("Arrivals that unlock a block (N)"), |run| {
                run.n.map(f64::from)
            })
        }
        Experiment::Alibaba => (Axis::linear("Tasks"), |run| Some(count(run.tasks))),
        Experiment::DpackOrders => (
            Axis::linear("Standard deviation of the best order, in places among the orders"),
            |run| run.spread,
        ),
        Experiment::DpackBlocks => (
            Axis::linear("Standard deviation of the number of blocks (mean 10)"),
            |run| run.spread,
        ),
    };
    // The DPack paper's smallest demands show the difference best; its other experiments have no such parameter.
    let least = rows.iter().filter_map(|run| run.least).min_by(f64::total_cmp);
    let mut of_revisions: BTreeMap<(String, u32), Vec<&RunRow>> = BTreeMap::new();
    for run in rows.into_iter().filter(|run| run.least == least) {
        let key = (run.policy.clone(), revision(run));
        of_revisions.entry(key).or_default().push(run);
    }
    let lines = of_revisions
        .iter()
        .enumerate()
        .map(|(nth, ((policy, revision), rows))| {
            let places = distinct(rows.iter().filter_map(|run| parameter(run)));
            let points = places.into_iter().filter_map(|x| {
                let here = rows
                    .iter()
                    .filter(|run| parameter(run).is_some_and(|own| same(own, x)));
                Point::of(x, &here.map(|run| count(run.granted)).collect::<Vec<_>>())
            });
            Series {
                label: label(policy, *revision),
                style: Style::nth(nth),
                shape: Shape::Line,
                points: points.collect(),
                published: Vec::new(),
            }
        });
    let lines: Vec<Series> = lines.filter(|line| line.points.len() > 1).collect();
    let with = least.map_or_else(String::new, |least| format!(", least demand {}", short(least)));
    let title = format!("Granted by DPF under each share rule: {experiment}{with}");
    if lines.len() < 2 {
        return Some(Err(MissingFigure {
            title,
            needs: format!(
                "runs of {experiment} under dpf, with the same parameters at two revisions of the rules"
            ),
        }));
    }
    Some(Ok(Figure {
        name: format!("{experiment}-shares"),
        title,
        about: format!(
            "Under R\u{e9}nyi composition, revisions 1 and 2 of the rules rank a task by its share at the order where it is \
             largest (OSDI'21, Algorithm 3), revision 3 at the order where it is smallest. Under revision 1, a task that \
             is denied when it arrives unlocks budget all the same.{}",
            series::seeds_note(of_revisions.values().flatten().copied())
        ),
        chart: Chart::Lines(Lines {
            x: axis,
            y: Axis::linear("Granted tasks"),
            series: lines,
            published: None,
        }),
    }))
}

fn label(policy: &str, revision: u32) -> String {
    let policy = crate::plot::runs::policy_label(policy);
    let order = if revision < 3 { "largest" } else { "smallest" };
    format!("{policy}, {order} order (revision {revision})")
}
