//! Reads numbers from Prometheus' text format.

/// The sum over all series of the metric `name`; `None` if it has no series.
pub(crate) fn sum(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .filter_map(|line| value_of(line, name))
        .reduce(|sum, value| sum + value)
}

/// The value of a line, if it is a series of `name`.
fn value_of(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let value = match rest.strip_prefix('{') {
        // A label's value may contain braces; the number after the last one can't.
        Some(labelled) => labelled.rsplit_once('}')?.1,
        None => rest.strip_prefix(' ')?,
    };
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::sum;

    const TEXT: &str = "# HELP pods counts\n# TYPE pods counter\npods{result=\"a}b\"} 2\npods{result=\"c\"} 3.5\npods_total 100\nplain 7 123\n";

    #[test]
    fn series_of_one_name_are_added_and_longer_names_are_not() {
        assert_eq!(sum(TEXT, "pods"), Some(5.5));
        assert_eq!(sum(TEXT, "pods_total"), Some(100.0));
        assert_eq!(sum(TEXT, "plain"), Some(7.0));
    }

    #[test]
    fn an_unknown_name_has_no_sum() {
        assert_eq!(sum(TEXT, "pod"), None);
    }
}
