//! Which blocks of a dataset have the same data source: the same data would have two budgets.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use privatekube_api::PrivateDataBlockSpec;

/// Stands for a data source, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u64);

/// Hashes with a key of this process, so that nobody can write data sources with the hash of others.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl SourceId {
    /// That of a block; `None` if it states no data source.
    #[must_use]
    pub fn of(block: &PrivateDataBlockSpec) -> Option<Self> {
        let source = block.data_source.as_deref().map(str::trim);
        let source = source.filter(|source| !source.is_empty());
        source.map(|source| Self(HASHER.hash_one(source)))
    }
}

/// The names of blocks by data source.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataSources(HashMap<SourceId, BTreeSet<String>>);

impl DataSources {
    pub(crate) fn add(&mut self, block: &PrivateDataBlockSpec, name: &str) {
        if let Some(source) = SourceId::of(block) {
            self.0.entry(source).or_default().insert(name.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, block: &PrivateDataBlockSpec, name: &str) {
        let Some(source) = SourceId::of(block) else {
            return;
        };
        if let Some(names) = self.0.get_mut(&source) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&source);
            }
        }
    }

    /// The first of the other blocks with the data source of the block of this name.
    pub(crate) fn other(&self, block: &PrivateDataBlockSpec, name: &str) -> Option<&str> {
        let names = self.0.get(&SourceId::of(block)?)?;
        names.iter().map(String::as_str).find(|other| *other != name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(source: Option<&str>) -> PrivateDataBlockSpec {
        let spec = serde_json::json!({"dataset": "taxi", "dataSource": source});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn blocks_with_one_data_source_are_found() {
        let mut sources = DataSources::default();
        let (day, other, none) = (block(Some("s3://a")), block(Some("s3://b")), block(None));
        sources.add(&day, "a1");
        sources.add(&other, "b1");
        sources.add(&none, "n1");
        sources.add(&none, "n2");
        assert_eq!(sources.other(&day, "a1"), None);
        assert_eq!(sources.other(&none, "n1"), None);
        sources.add(&block(Some(" s3://a ")), "a2");
        assert_eq!(sources.other(&day, "a1"), Some("a2"));
        assert_eq!(sources.other(&day, "a2"), Some("a1"));
        sources.remove(&day, "a2");
        assert_eq!(sources.other(&day, "a1"), None);
        sources.remove(&day, "a1");
        sources.remove(&other, "b1");
        assert!(sources.0.is_empty());
    }
}
