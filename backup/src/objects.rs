//! The objects of a dataset in an export: without what only one cluster knows of them.

use kube::{Resource, api::ObjectMeta};
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset};
use serde::{Deserialize, Serialize};

/// An object of a dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DatasetObject {
    /// The dataset itself.
    PrivateDataset(Box<PrivateDataset>),
    /// One of its blocks.
    PrivateDataBlock(Box<PrivateDataBlock>),
}

impl DatasetObject {
    /// Whether it is an object of `dataset`.
    pub(crate) fn is_of(&self, dataset: &DatasetKey) -> bool {
        let (metadata, name) = match self {
            Self::PrivateDataset(object) => (&object.metadata, object.metadata.name.as_deref()),
            Self::PrivateDataBlock(object) => (&object.metadata, Some(object.spec.dataset.as_str())),
        };
        metadata.namespace.as_ref() == Some(&dataset.namespace) && name == Some(dataset.name.as_str())
    }
}

/// The object's name; empty if it has none, which no object of a cluster lacks.
pub(crate) fn name(object: &impl Resource<DynamicType = ()>) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// What of an object's metadata can be put into another cluster. Owners, and whatever else names a UID, can't.
pub(crate) fn portable(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..ObjectMeta::default()
    }
}
