//! Tests the page and the files.

use std::{fs, path::PathBuf};

use super::{all, single, tables};
use crate::{
    experiment::REFERENCE_SEED,
    plot::{Page, PlotError, Runs, compare, published, sections, write},
    results::Tables,
    sweep::{Coverage, Manifest},
};

fn page(tables: &Tables, command: &str, manifests: &[(PathBuf, Manifest)], missing: &[&str]) -> String {
    let runs = Runs::new(tables);
    let published = published();
    let sections: Vec<_> = sections(&runs, &published)
        .into_iter()
        .map(|section| {
            let compared = compare(section.experiment, &runs, &published);
            (section, compared)
        })
        .collect();
    let page = Page {
        command,
        manifests,
        coverage: &Coverage {
            expected: 340,
            missing: missing.iter().map(|&name| name.to_owned()).collect(),
        },
        runs: runs.count(),
        wall: runs.wall(),
        sections: &sections,
    };
    page.html()
}

#[test]
fn the_page_needs_no_other_file() {
    let html = page(&all(), "plot results", &[], &[]);
    for foreign in ["<script", "<link", "<img", "src=", "@import", "url(http"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.contains("<svg") && html.contains("prefers-color-scheme: dark"));
    assert!(html.contains("name=\"viewport\""));
    assert!(!html.contains("Not drawn"));
}

#[test]
fn text_from_the_input_is_escaped() {
    let mut run = single("dpf-n", Some(125), None, REFERENCE_SEED, 100);
    run.policy = "<script>alert(\"1\")</script>".to_owned();
    let html = page(&tables([run]), "plot '<b>&'", &[], &[]);
    assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"));
    assert!(html.contains("plot '&lt;b&gt;&amp;'"));
}

#[test]
fn the_page_says_what_made_it_what_is_missing_and_how_ours_differ() {
    let manifest = Manifest {
        revisions: vec![privatekube_policy::Revision::First],
        version: "0.1.0".to_owned(),
        command: "privatekube-simulator sweep micro-single --seed 3345".to_owned(),
        experiments: Vec::new(),
        seeds: vec![REFERENCE_SEED],
        only: Vec::new(),
        shard: None,
        grid_runs: 340,
        runs: 2,
    };
    let tables = tables([
        single("fcfs", None, None, REFERENCE_SEED, 46),
        single("dpf-n", Some(100), None, REFERENCE_SEED, 90),
    ]);
    let html = page(
        &tables,
        "plot results",
        &[(PathBuf::from("results/manifest.json"), manifest)],
        &["micro-single/x"],
    );
    for said in [
        "sweep micro-single --seed 3345",
        "2 runs of 340 (manifest.json)",
        "1 run of 340 missing: micro-single/x",
        "Not drawn",
        "all 3 figures of macro</strong>: needs runs of macro",
        "<td>82</td><td class=\"off\">+8 (+9.8%)</td>",
        "<td>74 ±1</td><td class=\"off\">+16 (+21.6%)</td>",
        "<strong>1 of 2</strong>",
    ] {
        assert!(html.contains(said), "{said} is not in\n{html}");
    }
}

#[test]
fn figures_and_page_are_written() {
    let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let tables = tables([
        single("fcfs", None, None, REFERENCE_SEED, 46),
        single("dpf-n", Some(125), None, REFERENCE_SEED, 100),
    ]);
    tables.write(from.path(), "-1-of-2").unwrap();
    let out = to.path().join("figures");
    let written = write(from.path(), &out, "plot").unwrap();
    assert_eq!(written.page, out.join("index.html"));
    let html = fs::read_to_string(&written.page).unwrap();
    assert!(html.contains("href=\"micro-single-basic-granted.png\""));
    let files = fs::read_dir(&out).unwrap().count();
    assert_eq!(files, 2 * written.figures + 1);
    assert!(
        fs::read(out.join("micro-single-basic-granted.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    assert!(!written.missing.is_empty());
}

#[test]
fn without_runs_the_error_names_what_is_missing() {
    let from = tempfile::tempdir().unwrap();
    let out = from.path().join("figures");
    assert!(matches!(
        write(from.path(), &out, "plot"),
        Err(PlotError::Results(_))
    ));
    Tables::default().write(from.path(), "").unwrap();
    let error = write(from.path(), &out, "plot").unwrap_err().to_string();
    assert!(
        error.contains("has 0 runs") && error.contains("needs runs of micro-single"),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn an_invalid_manifest_is_named() {
    let from = tempfile::tempdir().unwrap();
    tables([single("dpf-n", Some(125), None, REFERENCE_SEED, 100)])
        .write(from.path(), "")
        .unwrap();
    fs::write(from.path().join("manifest.json"), "{\"version\": 1}").unwrap();
    let error = write(from.path(), &from.path().join("figures"), "plot")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("manifest.json") && error.contains("invalid type"),
        "{error}"
    );
}

#[test]
fn the_page_shows_the_engines_totals_beside_those_of_the_released_order() {
    let mut run = single("dpf-n", Some(100), None, REFERENCE_SEED, 82);
    let html = page(&tables([run.clone()]), "plot", &[], &[]);
    assert!(!html.contains("the engine's own totals"));
    run.granted_by_engine = Some(81);
    let html = page(&tables([run]), "plot", &[], &[]);
    assert!(html.contains("the engine's own totals") && html.contains("<td>82</td><td>81</td>"));
}
