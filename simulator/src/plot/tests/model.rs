//! Tests the content of figures.
#![expect(clippy::float_cmp, reason = "what was put in comes out")]

use std::collections::HashSet;

use super::{all, single, tables};
use crate::{
    experiment::{Experiment, REFERENCE_SEED},
    plot::{Chart, Figure, Lines, Runs, Section, Series, Shape, Source, Style, compare, published, sections},
    results::Tables,
};

fn sections_of(tables: &Tables) -> Vec<Section> {
    sections(&Runs::new(tables), &published())
}

fn figure<'a>(sections: &'a [Section], name: &str) -> &'a Figure {
    let figures = sections.iter().flat_map(|section| &section.figures);
    figures.into_iter().find(|figure| figure.name == name).unwrap()
}

fn lines(figure: &Figure) -> &Lines {
    let Chart::Lines(lines) = &figure.chart else {
        panic!("{} has bars", figure.name)
    };
    lines
}

fn styles(figure: &Figure) -> Vec<Style> {
    match &figure.chart {
        Chart::Lines(lines) => lines.series.iter().map(|series| series.style).collect(),
        Chart::Bars(bars) => bars.parts.iter().map(|(_, style)| *style).collect(),
    }
}

fn places(series: &Series) -> Vec<(f64, f64)> {
    series.points.iter().map(|point| (point.x, point.y)).collect()
}

#[test]
fn the_whole_grid_makes_every_figure() {
    let sections = sections_of(&all());
    for section in &sections {
        assert_eq!(section.missing, [], "{}", section.experiment);
        assert!(!section.figures.is_empty() && !section.about().is_empty());
    }
    let names: Vec<&str> = sections
        .iter()
        .flat_map(|section| section.figures.iter().map(|figure| figure.name.as_str()))
        .collect();
    assert_eq!(
        names.iter().collect::<HashSet<_>>().len(),
        names.len(),
        "{names:?}"
    );
    for name in [
        "micro-single-basic-granted",
        "micro-single-renyi-delay",
        "micro-multi-renyi-granted",
        "micro-multi-basic-delay-rr-t",
        "micro-multi-compositions",
        "micro-multi-basic-mice",
        "micro-multi-basic-classes",
        "macro-granted",
        "macro-renyi-delay",
        "alibaba-blocks-ratio",
        "dpack-orders-spread-ratio",
        "dpack-blocks-spread-0.05",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

#[test]
fn no_two_series_of_a_figure_have_the_same_colour_and_marker_or_name() {
    let sections = sections_of(&all());
    for figure in sections.iter().flat_map(|section| &section.figures) {
        let styles = styles(figure);
        assert!(!styles.is_empty(), "{}", figure.name);
        let distinct: HashSet<_> = styles.iter().map(|style| (style.colour, style.marker)).collect();
        assert_eq!(distinct.len(), styles.len(), "{}: {styles:?}", figure.name);
        // Up to eight series have different colours.
        let colours: HashSet<_> = styles.iter().map(|style| style.colour).collect();
        assert_eq!(colours.len(), styles.len().min(8), "{}", figure.name);
        if let Chart::Lines(lines) = &figure.chart {
            let labels: HashSet<_> = lines.series.iter().map(|series| &series.label).collect();
            assert_eq!(labels.len(), styles.len(), "{}: {labels:?}", figure.name);
        }
    }
}

#[test]
fn granted_tasks_are_drawn_against_n_and_t_on_one_axis() {
    let sections = sections_of(&tables([
        single("fcfs", None, None, REFERENCE_SEED, 46),
        single("dpf-n", Some(125), None, REFERENCE_SEED, 100),
        single("dpf-n", Some(50), None, REFERENCE_SEED, 46),
        single("dpf-t", None, Some(125.0), REFERENCE_SEED, 99),
    ]));
    let lines = lines(figure(&sections, "micro-single-basic-granted"));
    let [fcfs, by_n, by_t] = lines.series.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!((fcfs.label.as_str(), fcfs.shape), ("FCFS", Shape::Level));
    assert_eq!(fcfs.points[0].y, 46.0);
    assert_eq!(by_n.label, "DPF-N");
    assert_eq!(places(by_n), [(50.0, 46.0), (125.0, 100.0)]);
    assert_eq!(places(by_t), [(125.0, 99.0)]);
    // The points of the artifact's stored plot, at this percentage of mice only.
    assert!(by_n.published.contains(&(125.0, 91.0)) && by_n.published.contains(&(325.0, 72.0)));
    assert_eq!(by_n.published.len(), 11);
    assert_eq!(fcfs.published, [(0.0, 28.0)]);
    assert!(lines.published.as_ref().is_some_and(|label| label.contains("±1")));
    assert_eq!(lines.y.label, "Granted tasks");
    assert!(lines.x.label.contains("(N)") && lines.x.label.contains("1\u{a0}s"));
}

#[test]
fn several_seeds_are_a_mean_and_a_range() {
    let sections = sections_of(&tables([
        single("dpf-n", Some(125), None, REFERENCE_SEED, 100),
        single("dpf-n", Some(125), None, 1, 91),
        single("dpf-n", Some(125), None, 2, 97),
    ]));
    let figure = figure(&sections, "micro-single-basic-granted");
    let point = lines(figure).series[0].points[0];
    assert_eq!((point.y, point.range), (96.0, Some((91.0, 100.0))));
    assert!(figure.about.contains("3 seeds"), "{}", figure.about);
}

#[test]
fn a_delay_distribution_ends_at_the_part_that_was_granted() {
    let sections = sections_of(&tables([
        single("fcfs", None, None, REFERENCE_SEED, 59),
        single("dpf-n", Some(125), None, REFERENCE_SEED, 118),
        single("dpf-n", Some(325), None, REFERENCE_SEED, 0),
    ]));
    let by_policy = lines(figure(&sections, "micro-single-basic-delay"));
    let ends: Vec<f64> = by_policy
        .series
        .iter()
        .map(|series| series.points.last().unwrap().y)
        .collect();
    assert_eq!(ends, [0.25, 0.5]);
    assert_eq!(by_policy.x.most, 300.0);
    let by_n = lines(figure(&sections, "micro-single-basic-delay-dpf-n"));
    let labels: Vec<&str> = by_n.series.iter().map(|series| series.label.as_str()).collect();
    assert_eq!(labels, ["N = 125", "N = 325"]);
    assert_eq!(places(&by_n.series[1]), [(0.0, 0.0)]);
}

#[test]
fn classes_are_parts_of_all_tasks_and_of_granted_tasks() {
    let sections = sections_of(&tables([single("dpf-n", Some(125), None, REFERENCE_SEED, 101)]));
    let figure = figure(&sections, "micro-single-basic-classes");
    let Chart::Bars(bars) = &figure.chart else {
        panic!("{figure:?}")
    };
    let parts: Vec<&str> = bars.parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(parts, ["small", "large"]);
    assert_eq!(bars.bars[0].values, [226.0, 10.0]);
    assert_eq!(
        (bars.bars[1].label.as_str(), &bars.bars[1].values[..]),
        ("DPF-N", &[51.0, 50.0][..])
    );
}

#[test]
fn dpack_is_compared_with_dpf_at_each_spread() {
    let mut tables = all();
    for run in &mut tables.runs {
        run.granted = match (run.policy.as_str(), run.recompute_after) {
            ("dpack-t", Some(1)) => 90,
            ("dpack-t", _) => 70,
            ("dpf-t", _) => 60,
            _ => 10,
        };
    }
    let sections = sections_of(&tables);
    let ratio = lines(figure(&sections, "dpack-orders-spread-ratio"));
    assert_eq!(ratio.series.len(), 5);
    for series in &ratio.series {
        assert_eq!(series.points.len(), 9, "{}", series.label);
        assert!(series.points.iter().all(|point| point.y == 1.5));
    }
    let granted = lines(figure(&sections, "dpack-orders-spread-0.005"));
    let labels: Vec<&str> = granted
        .series
        .iter()
        .map(|series| series.label.as_str())
        .collect();
    assert_eq!(
        labels[..5],
        [
            "FCFS",
            "DPF-T",
            "DPack-T, costs once",
            "DPack-T",
            "Blend-T, 50% DPF"
        ]
    );
}

#[test]
fn an_optimum_that_is_not_proven_goes_up_to_its_bound() {
    let mut tables = all();
    for run in &mut tables.runs {
        if run.policy == "dpf-t" {
            (run.granted, run.bound) = (50, Some(60));
        }
    }
    let sections = sections_of(&tables);
    let figure = figure(&sections, "dpack-orders-spread-0.005");
    let point = lines(figure).series[1].points[0];
    assert_eq!((point.y, point.range), (50.0, Some((50.0, 60.0))));
    assert!(figure.about.contains("nobody can exceed"), "{}", figure.about);
}

#[test]
fn figures_without_runs_are_named_with_the_runs_they_need() {
    let sections = sections_of(&tables([single("fcfs", None, None, REFERENCE_SEED, 46)]));
    let single = &sections[0];
    assert_eq!(single.experiment, Experiment::MicroSingle);
    let granted = single
        .missing
        .iter()
        .find(|none| none.title.contains("by N and T"))
        .unwrap();
    assert_eq!(
        granted.needs,
        "runs of micro-single with basic composition, 75% mice and some N or T"
    );
    // One policy is enough for a figure of delays.
    assert!(
        single
            .figures
            .iter()
            .any(|figure| figure.name == "micro-single-basic-delay")
    );
    let macro_benchmark = sections
        .iter()
        .find(|section| section.experiment == Experiment::Macro)
        .unwrap();
    assert!(macro_benchmark.figures.is_empty());
    let missing = macro_benchmark.missing.iter().map(|none| none.title.as_str());
    assert_eq!(missing.collect::<Vec<_>>(), ["all 3 figures of macro"]);
}

#[test]
fn our_values_are_compared_with_published_values() {
    let tables = tables([
        single("dpf-n", Some(100), None, REFERENCE_SEED, 82),
        single("dpf-n", Some(100), None, 1, 60),
        single("dpf-t", None, Some(50.0), REFERENCE_SEED, 56),
    ]);
    let compared = compare(Experiment::MicroSingle, &Runs::new(&tables), &published());
    assert_eq!(compared.len(), 2);
    let by_n = &compared[0];
    assert_eq!(
        (by_n.policy.as_str(), by_n.n, by_n.ours),
        ("dpf-n", Some(100), 82.0)
    );
    assert_eq!(by_n.by_engine, None);
    assert_eq!(by_n.agrees(Source::Release), Some(true));
    assert_eq!(by_n.agrees(Source::Notebook), Some(false));
    assert_eq!(by_n.agrees(Source::Paper), None);
    let by_t = &compared[1];
    assert_eq!(by_t.agrees(Source::Release), Some(false));
}
