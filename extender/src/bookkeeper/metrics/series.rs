//! The series of one dataset among those of a metric.

use std::collections::HashMap;

use privatekube_api::DatasetKey;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

/// The values of the labels `namespace` and `dataset`.
pub(super) fn labels(dataset: &DatasetKey) -> [&str; 2] {
    [&dataset.namespace, &dataset.name]
}

/// Removes all series of a dataset. Costs a look at all series of the metric.
pub(super) fn forget<B: MetricVecBuilder>(metric: &MetricVec<B>, dataset: &DatasetKey)
where
    MetricVec<B>: Collector,
{
    for family in metric.collect() {
        for series in family.get_metric() {
            let pairs = series.get_label().iter();
            let labels: HashMap<&str, &str> = pairs.map(|pair| (pair.name(), pair.value())).collect();
            let is_of = |label: &str, value: &str| labels.get(label) == Some(&value);
            if is_of("namespace", &dataset.namespace) && is_of("dataset", &dataset.name) {
                // Somebody else may have removed it in the meantime.
                let _ = metric.remove(&labels);
            }
        }
    }
}
