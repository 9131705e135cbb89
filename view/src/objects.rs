//! A dataset's objects as they were last seen: what they give to blocks and claims that state nothing of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use privatekube_api::{
    Candidate, Claimants, DeclaredDimensions, Dimensions, FieldErrors, PrivacyUnit, PrivateDataBlock,
    PrivateDataset, Recovery, RefusedPods, Weights,
};
use privatekube_policy::{DatasetRules, Delta, Epsilon, Span, Time};

use crate::data_sources::DataSources;

/// A block's object.
#[derive(Clone, Debug)]
pub struct BlockObject {
    /// The object.
    pub object: Arc<PrivateDataBlock>,
    /// What selectors read of it.
    pub dimensions: Dimensions,
    /// When it is retired, if its object states that.
    pub retires: Option<Time>,
    /// Why the block can't be used, if it can't.
    pub problem: Option<String>,
}

/// The PrivateDataset and the PrivateDataBlocks of one dataset.
#[derive(Clone, Debug, Default)]
pub struct DatasetObjects {
    dataset: Option<Arc<PrivateDataset>>,
    stated: Stated,
    blocks: BTreeMap<String, BlockObject>,
    /// The blocks that are still to be retired, by time.
    to_retire: BTreeSet<(Time, String)>,
    sources: DataSources,
}

/// What a PrivateDataset states, parsed once. Admission refuses objects in which one of these is invalid; should one exist, it
/// counts as not stated.
#[derive(Clone, Debug, Default)]
struct Stated {
    recovery: Option<Recovery>,
    guarantee: Option<(Epsilon, Delta)>,
    dimensions: DeclaredDimensions,
    timeout: Option<Span>,
    claimants: Arc<Claimants>,
    weights: Weights,
}

impl Stated {
    fn by(object: &PrivateDataset) -> Self {
        let spec = &object.spec;
        Self {
            recovery: spec.recovery().ok().flatten(),
            guarantee: spec.guarantee().ok().flatten(),
            dimensions: spec.declared_dimensions().unwrap_or_default(),
            timeout: spec.timeout().ok().flatten(),
            claimants: Arc::new(spec.claimants().unwrap_or_default()),
            weights: spec.weights().unwrap_or_default(),
        }
    }
}

impl DatasetObjects {
    /// The PrivateDataset, if there is one.
    #[must_use]
    pub const fn dataset(&self) -> Option<&Arc<PrivateDataset>> {
        self.dataset.as_ref()
    }

    /// Whether the dataset has neither an object nor a block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dataset.is_none() && self.blocks.is_empty()
    }

    /// Sets the PrivateDataset, whichever was there.
    pub fn set_dataset(&mut self, object: Option<Arc<PrivateDataset>>) {
        self.stated = object.as_deref().map(Stated::by).unwrap_or_default();
        self.dataset = object;
    }

    /// Replaces the PrivateDataset by a newer one; says whether it was newer. A watch may be behind what was read.
    pub fn update_dataset(&mut self, object: Arc<PrivateDataset>) -> bool {
        let known = self.dataset.as_ref().map(|known| &known.metadata);
        let known = known.filter(|known| known.uid == object.metadata.uid);
        if known.is_some_and(|known| known.generation >= object.metadata.generation) {
            return false;
        }
        self.set_dataset(Some(object));
        true
    }

    /// Removes the PrivateDataset, unless another one was created under its name since.
    pub fn remove_dataset(&mut self, deleted: &PrivateDataset) {
        let known = self.dataset.as_ref().map(|known| &known.metadata.uid);
        if known == Some(&deleted.metadata.uid) {
            self.set_dataset(None);
        }
    }

    /// A block by name.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<&BlockObject> {
        self.blocks.get(name)
    }

    /// Every block, in the order of names.
    pub fn blocks(&self) -> impl Iterator<Item = (&String, &BlockObject)> {
        self.blocks.iter()
    }

    /// Another block that has the data source of the block of this name.
    #[must_use]
    pub fn with_same_source(&self, name: &str) -> Option<&str> {
        self.sources.other(&self.blocks.get(name)?.object.spec, name)
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks that are in the ledger or can be, in the order of names.
    pub fn usable_blocks(&self) -> impl Iterator<Item = (&String, &BlockObject)> {
        self.blocks.iter().filter(|(_, block)| block.problem.is_none())
    }

    /// A block as matching needs it.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<Candidate<'_>> {
        let (name, block) = self.blocks.get_key_value(name)?;
        let time = self
            .dataset
            .as_ref()
            .and_then(|object| object.spec.time_dimension.as_ref());
        Some(Candidate {
            name,
            dimensions: &block.dimensions,
            created: block.object.metadata.creation_timestamp.as_ref(),
            time: time.and_then(|time| block.dimensions.get(time)),
            records: block.object.spec.records,
        })
    }

    /// Adds a block's object; says whether it is new. One that is being deleted is not added.
    pub fn add_block(&mut self, object: Arc<PrivateDataBlock>) -> bool {
        let name = object.metadata.name.clone().unwrap_or_default();
        let known = self.blocks.get(&name).map(|known| &known.object.metadata.uid);
        if known == Some(&object.metadata.uid) || object.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let dimensions = object.spec.dimensions();
        // Nothing reads its status here, and it is larger than all the rest.
        let mut object = Arc::unwrap_or_clone(object);
        object.status = None;
        object.metadata.managed_fields = None;
        object.metadata.annotations = None;
        let block = BlockObject {
            dimensions,
            // Admission refuses what is no time; should such an object exist, it states none.
            retires: object.spec.retires().ok().flatten(),
            object: Arc::new(object),
            problem: None,
        };
        if let Some(before) = self.blocks.get(&name) {
            self.sources.remove(&before.object.spec, &name);
            if let Some(retires) = before.retires {
                self.to_retire.remove(&(retires, name.clone()));
            }
        }
        self.to_retire
            .extend(block.retires.map(|retires| (retires, name.clone())));
        self.sources.add(&block.object.spec, &name);
        self.blocks.insert(name, block);
        true
    }

    /// Removes a block's object, unless another one was created under its name since; says whether it was removed.
    pub fn remove_block(&mut self, deleted: &PrivateDataBlock) -> bool {
        let name = deleted.metadata.name.as_deref().unwrap_or_default();
        let known = self.blocks.get(name).map(|known| &known.object.metadata.uid);
        if known != Some(&deleted.metadata.uid) {
            return false;
        }
        let removed = self.blocks.remove(name);
        if let Some(block) = &removed {
            self.sources.remove(&block.object.spec, name);
            if let Some(retires) = block.retires {
                self.to_retire.remove(&(retires, name.to_owned()));
            }
        }
        removed.is_some()
    }

    /// The blocks that are known and not among `current`.
    #[must_use]
    pub fn blocks_not_among(&self, current: &[Arc<PrivateDataBlock>]) -> Vec<Arc<PrivateDataBlock>> {
        let names: BTreeSet<_> = current.iter().map(|block| &block.metadata.name).collect();
        let known = self.blocks.values().map(|known| &known.object);
        known
            .filter(|block| !names.contains(&block.metadata.name))
            .map(Arc::clone)
            .collect()
    }

    /// When the next block is retired; none if no block is.
    #[must_use]
    pub fn next_retirement(&self) -> Option<Time> {
        self.to_retire.first().map(|(time, _)| *time)
    }

    /// The names of the blocks whose time to retire has come by `now`, each once.
    pub fn take_retired(&mut self, now: Time) -> Vec<String> {
        let mut names = Vec::new();
        while self.next_retirement().is_some_and(|time| time <= now) {
            names.extend(self.to_retire.pop_first().map(|(_, name)| name));
        }
        names
    }

    /// Remembers why a block can't be used.
    pub fn set_problem(&mut self, block: &str, problem: String) {
        if let Some(known) = self.blocks.get_mut(block) {
            known.problem = Some(problem);
        }
    }

    /// Forgets why blocks couldn't be used, since that may have ended; returns the names of these blocks.
    pub fn clear_problems(&mut self) -> Vec<String> {
        let mut cleared = Vec::new();
        for (name, block) in &mut self.blocks {
            if block.problem.take().is_some() {
                cleared.push(name.clone());
            }
        }
        cleared
    }

    /// The rules that a ledger of the dataset begins with: its object's, or `defaults` if it has no object.
    pub fn rules(&self, defaults: Option<&DatasetRules>) -> Result<Option<DatasetRules>, FieldErrors> {
        match &self.dataset {
            Some(object) => object.spec.rules().map(Some),
            None => Ok(defaults.cloned()),
        }
    }

    /// What becomes of pods whose own claims are denied or expire.
    #[must_use]
    pub fn refused_pods(&self) -> RefusedPods {
        let stated = self.dataset.as_ref().map(|object| object.spec.refused_pods);
        stated.unwrap_or_default()
    }

    /// What differs between two sets of data that budget makes hard to tell apart, if it is stated.
    #[must_use]
    pub fn privacy_unit(&self) -> Option<PrivacyUnit> {
        self.dataset.as_ref().and_then(|object| object.spec.privacy_unit)
    }

    /// How the dataset goes on after its ledger lost entries, if its object states it.
    #[must_use]
    pub const fn recovery(&self) -> Option<&Recovery> {
        self.stated.recovery.as_ref()
    }

    /// The budget of blocks that state none.
    #[must_use]
    pub const fn default_guarantee(&self) -> Option<(Epsilon, Delta)> {
        self.stated.guarantee
    }

    /// The dimensions that each block has.
    #[must_use]
    pub const fn declared_dimensions(&self) -> &DeclaredDimensions {
        &self.stated.dimensions
    }

    /// The timeout of claims that state none.
    #[must_use]
    pub const fn default_timeout(&self) -> Option<Span> {
        self.stated.timeout
    }

    /// Which namespaces may claim.
    #[must_use]
    pub const fn claimants(&self) -> &Arc<Claimants> {
        &self.stated.claimants
    }

    /// The weights of the namespaces that claim.
    #[must_use]
    pub const fn weights(&self) -> &Weights {
        &self.stated.weights
    }
}
