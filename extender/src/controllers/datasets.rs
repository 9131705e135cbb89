//! Follows PrivateDatasets: passes them to their bookkeepers, and writes statuses that differ from the view.

use std::sync::Arc;

use privatekube_api::{DatasetKey, PrivateDataset};

use super::follow::Follower;
use crate::{bookkeeper::Message, registry::Registry, writers::StatusKey};

pub(super) struct Datasets {
    registry: Arc<Registry>,
}

impl Datasets {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

impl Follower<PrivateDataset> for Datasets {
    fn trim(object: &mut PrivateDataset) {
        object.metadata.annotations = None;
    }

    fn slim(object: &mut PrivateDataset) {
        object.status = None;
    }

    fn applied(&mut self, object: PrivateDataset) {
        let (Some(namespace), Some(name)) = (object.metadata.namespace.clone(), object.metadata.name.clone())
        else {
            return;
        };
        let key = DatasetKey { namespace, name };
        // The status was never written, or somebody else wrote it.
        let handles = self.registry.handles();
        if handles
            .view
            .dataset(&key)
            .is_some_and(|dataset| object.status.as_ref() != Some(&dataset.status))
        {
            handles.statuses.write(StatusKey::Dataset(key.clone()));
        }
        self.registry
            .send(&key, Message::DatasetApplied(Arc::new(object)));
    }

    fn deleted(&mut self, last: PrivateDataset, _: bool) {
        // Its blocks, its claims and its ledger stay, unless its namespace is deleted, too.
        if let (Some(namespace), Some(name)) = (last.metadata.namespace.clone(), last.metadata.name.clone()) {
            self.registry.send(
                &DatasetKey { namespace, name },
                Message::DatasetDeleted(Arc::new(last)),
            );
        }
    }
}
