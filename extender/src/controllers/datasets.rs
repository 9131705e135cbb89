//! Follows PrivateDatasets: passes them to their bookkeepers, and writes statuses that differ from the view.

use std::sync::Arc;

use privatekube_api::{DatasetKey, PrivateDataset};

use super::{follow::Follower, scheduled_blocks::ScheduledBlocks};
use crate::{bookkeeper::Message, registry::Registry, writers::StatusKey};

pub(super) struct Datasets {
    registry: Arc<Registry>,
    scheduled_blocks: Arc<ScheduledBlocks>,
}

impl Datasets {
    pub(super) const fn new(registry: Arc<Registry>, scheduled_blocks: Arc<ScheduledBlocks>) -> Self {
        Self {
            registry,
            scheduled_blocks,
        }
    }
}

impl Follower<PrivateDataset> for Datasets {
    fn trim(object: &mut PrivateDataset) {
        object.metadata.annotations = None;
    }

    fn slim(object: &PrivateDataset) -> Option<PrivateDataset> {
        object.status.as_ref()?;
        Some(PrivateDataset {
            status: None,
            ..object.clone()
        })
    }

    fn applied(&mut self, mut object: PrivateDataset) {
        self.scheduled_blocks.applied(&object);
        if let Some(status) = &mut object.status {
            // It is no part of the view.
            status.last_block = None;
        }
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
        self.scheduled_blocks.deleted(&last);
        // Its blocks, its claims and its ledger stay, unless its namespace is deleted, too.
        if let (Some(namespace), Some(name)) = (last.metadata.namespace.clone(), last.metadata.name.clone()) {
            self.registry.send(
                &DatasetKey { namespace, name },
                Message::DatasetDeleted(Arc::new(last)),
            );
        }
    }
}
