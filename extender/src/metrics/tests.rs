use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{declarations::faults, *};

#[test]
fn the_declarations_follow_the_conventions() {
    let metrics = Metrics::new().unwrap();
    assert_eq!(faults(metrics.declared()), [""; 0]);
}

#[test]
fn the_page_is_made_of_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let written = fs::read_to_string(path).unwrap();
    assert!(
        written == page().unwrap(),
        "docs/metrics.md is stale: run make generate"
    );
}

/// What differs between the declarations and what is served as `text`. Metrics that have no series yet aren't served.
pub fn differences(metrics: &Metrics, text: &str) -> Vec<String> {
    let declared: BTreeMap<&str, &Declaration> = metrics
        .declared()
        .iter()
        .map(|declared| (declared.name.as_str(), declared))
        .collect();
    let mut differences = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                if declared
                    .get(name)
                    .is_none_or(|declared| declared.help.replace('\\', "\\\\") != help)
                {
                    differences.push(format!("{name} is not declared with this help: {help}"));
                }
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                if declared
                    .get(name)
                    .is_none_or(|declared| declared.kind.as_str() != kind)
                {
                    differences.push(format!("{name} is not declared as a {kind}"));
                }
            }
            _ => {
                let (name, labels) = series(line);
                let is_part = |end| name.strip_suffix(end).and_then(|name| declared.get(name));
                let of = declared
                    .get(name)
                    .or_else(|| ["_bucket", "_sum", "_count"].into_iter().find_map(is_part));
                let expected = of.map(|declared| declared.labels.iter().map(|(name, _)| *name).collect());
                if expected != Some(labels) {
                    differences.push(format!("{line} is not declared with these labels"));
                }
            }
        }
    }
    differences
}

/// The names of the metrics that are served.
pub fn served(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect()
}

/// The name of a series and of its labels. No value of ours contains a comma or a quote.
fn series(line: &str) -> (&str, BTreeSet<&str>) {
    let id = line.rsplit_once(' ').map_or(line, |(id, _)| id);
    let (name, labels) = id.split_once('{').unwrap_or((id, ""));
    let labels = labels.trim_end_matches('}').split(',');
    let names = labels.filter_map(|label| Some(label.split_once('=')?.0));
    (name, names.filter(|name| *name != "le").collect())
}
