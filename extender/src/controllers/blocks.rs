//! Follows PrivateDataBlocks: passes them to their bookkeepers, and writes statuses that differ from the view.

use std::sync::Arc;

use privatekube_api::{DatasetKey, PrivateDataBlock};

use super::follow::Follower;
use crate::{bookkeeper::Message, registry::Registry, writers::StatusKey};

pub(super) struct Blocks {
    registry: Arc<Registry>,
}

impl Blocks {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

fn keys(object: &PrivateDataBlock) -> Option<(DatasetKey, String)> {
    let namespace = object.metadata.namespace.clone()?;
    Some((
        DatasetKey {
            namespace,
            name: object.spec.dataset.clone(),
        },
        object.metadata.name.clone()?,
    ))
}

impl Follower<PrivateDataBlock> for Blocks {
    fn trim(object: &mut PrivateDataBlock) {
        object.metadata.annotations = None;
    }

    fn slim(object: &PrivateDataBlock) -> Option<PrivateDataBlock> {
        object.status.as_ref()?;
        Some(PrivateDataBlock {
            status: None,
            ..object.clone()
        })
    }

    fn applied(&mut self, object: PrivateDataBlock) {
        let Some((dataset, name)) = keys(&object) else {
            return;
        };
        let handles = self.registry.handles();
        let view = handles.view.block(&(dataset.clone(), name.clone()));
        if view.is_some_and(|block| !block.is_status(object.status.as_ref())) {
            handles.statuses.write(StatusKey::Block(dataset.clone(), name));
        }
        self.registry
            .send(&dataset, Message::BlockApplied(Arc::new(object)));
    }

    fn deleted(&mut self, last: PrivateDataBlock, _: bool) {
        if let Some((dataset, _)) = keys(&last) {
            self.registry
                .send(&dataset, Message::BlockDeleted(Arc::new(last)));
        }
    }
}
