//! Reads Prometheus' text format.

/// One series of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series<'a> {
    labels: Vec<(&'a str, &'a str)>,
    pub(crate) value: f64,
}

impl<'a> Series<'a> {
    /// A label's value, empty if there is no such label.
    pub(crate) fn label(&self, name: &str) -> &'a str {
        self.labels
            .iter()
            .find(|(label, _)| *label == name)
            .map_or("", |(_, value)| value)
    }
}

/// All series of the metric `name`. Labels' values with escaped quotes are cut there: no metric that is read
/// here has any.
pub(crate) fn series<'a>(text: &'a str, name: &str) -> Vec<Series<'a>> {
    text.lines().filter_map(|line| parse(line, name)).collect()
}

/// The sum over all series of the metric `name`, 0 if there is none.
pub(crate) fn sum(text: &str, name: &str) -> f64 {
    series(text, name).iter().map(|series| series.value).sum()
}

fn parse<'a>(line: &'a str, name: &str) -> Option<Series<'a>> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(labelled) => labelled.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    let labels = labels
        .split("\",")
        .filter_map(|label| label.split_once("=\""))
        .map(|(label, value)| (label, value.trim_end_matches('"')))
        .collect();
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Series { labels, value })
}

#[cfg(test)]
mod tests {
    use super::{series, sum};

    const TEXT: &str = "\
        # TYPE a counter\n\
        a{verb=\"GET\",code=\"200\"} 2\n\
        a{verb=\"PUT\",code=\"\"} 3.5\n\
        a_b 9\n\
        plain 7 123\n";

    #[test]
    fn series_of_one_name_have_their_labels() {
        let found = series(TEXT, "a");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].label("verb"), "GET");
        assert_eq!(found[0].label("code"), "200");
        assert_eq!(found[1].label("code"), "");
        assert_eq!(found[1].label("unknown"), "");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these sums are exact")]
    fn sums_are_of_one_name() {
        assert_eq!(sum(TEXT, "a"), 5.5);
        assert_eq!(sum(TEXT, "plain"), 7.0);
        assert_eq!(sum(TEXT, "none"), 0.0);
    }
}
