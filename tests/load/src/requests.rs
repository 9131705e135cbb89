//! [`Requests`]: how many requests the API server answered, by verb and resource.

use std::collections::BTreeMap;

use crate::prometheus_text::series;

/// Requests by what was requested, such as `POST pods/binding`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Requests(BTreeMap<String, f64>);

/// What only the load generator itself requests, in order to see whether the cluster is quiet.
const OWN_RESOURCE: &str = "podtemplates";
/// Verbs that store something.
const WRITES: [&str; 5] = ["POST", "PUT", "PATCH", "APPLY", "DELETE"];
/// Requests of these are answered without storing anything.
const REVIEWS: [&str; 4] = [
    "subjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectreviews",
    "tokenreviews",
];

impl Requests {
    /// Reads the API server's metrics.
    pub(crate) fn read(text: &str) -> Self {
        let mut requests = BTreeMap::new();
        for series in series(text, "apiserver_request_total") {
            // A request without a resource is for a health check or a metric.
            if ["", OWN_RESOURCE].contains(&series.label("resource")) {
                continue;
            }
            let mut name = format!("{} {}", series.label("verb"), series.label("resource"));
            if !series.label("subresource").is_empty() {
                name = format!("{name}/{}", series.label("subresource"));
            }
            let code = series.label("code");
            if !code.starts_with('2') {
                name = format!("{name} ({code})");
            }
            *requests.entry(name).or_default() += series.value;
        }
        Self(requests)
    }

    /// The requests since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let difference = |(name, count): (&String, &f64)| {
            let more = count - before.0.get(name).copied().unwrap_or_default();
            (more > 0.0).then(|| (name.clone(), more))
        };
        Self(self.0.iter().filter_map(difference).collect())
    }

    /// Every kind of request, with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// The number of requests of this kind.
    pub(crate) fn count(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The number of accepted requests that stored something.
    pub(crate) fn writes(&self) -> f64 {
        self.total(|verb, resource| WRITES.contains(&verb) && !REVIEWS.contains(&resource))
    }

    /// The number of lists.
    pub(crate) fn lists(&self) -> f64 {
        self.total(|verb, _| verb == "LIST")
    }

    fn total(&self, counts: impl Fn(&str, &str) -> bool) -> f64 {
        let accepted = self.iter().filter(|(name, _)| !name.ends_with(')'));
        accepted
            .filter(|(name, _)| {
                name.split_once(' ')
                    .is_some_and(|(verb, resource)| counts(verb, resource))
            })
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "counts are exact")]
mod tests {
    use super::Requests;

    const BEFORE: &str =
        "apiserver_request_total{code=\"201\",resource=\"pods\",subresource=\"binding\",verb=\"POST\"} 5\n";
    const AFTER: &str = "\
        apiserver_request_total{code=\"201\",resource=\"pods\",subresource=\"binding\",verb=\"POST\"} 7\n\
        apiserver_request_total{code=\"409\",resource=\"pods\",subresource=\"binding\",verb=\"POST\"} 1\n\
        apiserver_request_total{code=\"200\",resource=\"pods\",subresource=\"\",verb=\"LIST\"} 3\n\
        apiserver_request_total{code=\"201\",resource=\"tokenreviews\",subresource=\"\",verb=\"POST\"} 4\n\
        apiserver_request_total{code=\"200\",resource=\"podtemplates\",subresource=\"\",verb=\"LIST\"} 8\n\
        apiserver_request_total{code=\"200\",resource=\"\",subresource=\"/metrics\",verb=\"GET\"} 9\n";

    #[test]
    fn differences_are_by_verb_resource_and_refusal() {
        let difference = Requests::read(AFTER).since(&Requests::read(BEFORE));
        let all: Vec<_> = difference.iter().collect();
        assert_eq!(
            all,
            [
                ("LIST pods", 3.0),
                ("POST pods/binding", 2.0),
                ("POST pods/binding (409)", 1.0),
                ("POST tokenreviews", 4.0),
            ]
        );
        assert_eq!(difference.writes(), 2.0);
        assert_eq!(difference.lists(), 3.0);
        assert_eq!(difference.count("POST pods/binding"), 2.0);
        assert_eq!(difference.count("POST pods"), 0.0);
    }
}
