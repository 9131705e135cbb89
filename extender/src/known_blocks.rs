//! How many blocks the bookkeepers of a namespace know. If the API server has as many, no watch lacks a block, and a
//! claim that arrives can be matched without reading them all.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use privatekube_api::DatasetKey;

/// The number of blocks that each bookkeeper knows. A dataset without blocks has no place here.
#[derive(Debug, Default)]
pub struct KnownBlocks(Mutex<BTreeMap<DatasetKey, usize>>);

impl KnownBlocks {
    /// Sets how many blocks of a dataset are known.
    pub fn set(&self, dataset: &DatasetKey, count: usize) {
        let mut counts = self.0.lock();
        if count == 0 {
            counts.remove(dataset);
        } else if counts.get(dataset) != Some(&count) {
            counts.insert(dataset.clone(), count);
        }
    }

    /// How many blocks of a dataset are known.
    pub fn of(&self, dataset: &DatasetKey) -> usize {
        self.0.lock().get(dataset).copied().unwrap_or_default()
    }

    /// How many blocks of a namespace are known, of all its datasets.
    pub fn in_namespace(&self, namespace: &str) -> usize {
        let first = DatasetKey {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let counts = self.0.lock();
        let of_namespace = counts
            .range(first..)
            .take_while(|(dataset, _)| dataset.namespace == namespace);
        of_namespace.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_summed_over_the_datasets_of_a_namespace() {
        let key = |namespace: &str, name: &str| DatasetKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let known = KnownBlocks::default();
        for (dataset, count) in [
            (key("a", "x"), 1),
            (key("data", "taxi"), 2),
            (key("data", "trips"), 3),
            (key("data-2", "x"), 4),
        ] {
            known.set(&dataset, count);
        }
        assert_eq!(known.in_namespace("data"), 5);
        assert_eq!(known.of(&key("data", "trips")), 3);
        assert_eq!(known.of(&key("data", "none")), 0);
        known.set(&key("data", "trips"), 0);
        known.set(&key("data", "taxi"), 7);
        assert_eq!(known.in_namespace("data"), 7);
        assert_eq!(known.in_namespace("b"), 0);
    }
}
