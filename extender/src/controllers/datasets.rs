//! PrivateDatasets.

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
    fn there(&mut self, object: PrivateDataset) {
        let (Some(namespace), Some(name)) = (object.metadata.namespace.clone(), object.metadata.name.clone())
        else {
            return;
        };
        let key = DatasetKey { namespace, name };
        // Somebody else wrote the status, or nobody did.
        let desk = self.registry.desk();
        if desk
            .view
            .dataset(&key)
            .is_some_and(|dataset| object.status.as_ref() != Some(&dataset.status))
        {
            desk.statuses.write(StatusKey::Dataset(key.clone()));
        }
        self.registry.send(&key, Message::Dataset(Arc::new(object)));
    }

    fn gone(&mut self, last: PrivateDataset, _: bool) {
        // Its blocks, its claims and its ledger stay as they are, unless its namespace goes.
        if let (Some(namespace), Some(name)) = (last.metadata.namespace.clone(), last.metadata.name.clone()) {
            self.registry.send(
                &DatasetKey { namespace, name },
                Message::DatasetGone(Arc::new(last)),
            );
        }
    }
}
