//! The objects, and the history of their changes that watches are served from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    request::{Key, Target},
    selector::Selector,
};

/// All objects, with one resource version that counts every change.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) clock: fn() -> Timestamp,
    objects: BTreeMap<Key, Value>,
    version: u64,
    history: Vec<Change>,
    /// The first resource version from which a watch can begin.
    oldest: u64,
}

#[derive(Clone, Debug)]
struct Change {
    version: u64,
    key: Key,
    /// None: the change creates the object.
    before: Option<Value>,
    /// None: the change removes it.
    after: Option<Value>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            clock: Timestamp::now,
            objects: BTreeMap::new(),
            version: 0,
            history: Vec::new(),
            oldest: 0,
        }
    }
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// All objects, in the order of resource, namespace and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// The objects of a collection that the selector matches, in the order of namespace and name.
    pub(crate) fn select<'a>(
        &'a self,
        target: &'a Target,
        selector: &'a Selector,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        self.objects
            .iter()
            .filter(|(key, object)| target.contains(key) && selector.matches(object))
    }

    /// Creates or replaces an object, and returns it with its new resource version.
    pub(crate) fn write(&mut self, key: Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = self.objects.insert(key.clone(), object.clone());
        self.record(key, before, Some(object.clone()));
        object
    }

    /// Removes an object; with a namespace, also everything inside.
    pub(crate) fn remove(&mut self, key: &Key) {
        if key.resource == "namespaces" {
            let inside = self.objects.keys().filter(|inner| inner.namespace == key.name);
            for inner in inside.cloned().collect::<Vec<_>>() {
                self.remove(&inner);
            }
        }
        if let Some(object) = self.objects.remove(key) {
            self.version += 1;
            self.record(key.clone(), Some(object), None);
        }
    }

    fn record(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        self.history.push(Change {
            version: self.version,
            key,
            before,
            after,
        });
    }

    /// The changes after a resource version: each one's resource, and its object before and after.
    pub(crate) fn changes_after(
        &self,
        version: u64,
    ) -> impl Iterator<Item = (&str, Option<&Value>, Option<&Value>)> {
        let from = self.history.partition_point(|change| change.version <= version);
        let changes = self.history[from..].iter();
        changes.map(|change| {
            let resource = change.key.resource.as_str();
            (resource, change.before.as_ref(), change.after.as_ref())
        })
    }

    /// Forgets the history: a watch can no longer begin at, or go on from, any resource version so far.
    pub(crate) fn forget_history(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }

    /// Whether the changes after a resource version are no longer known.
    pub(crate) fn is_expired(&self, version: u64) -> bool {
        version < self.oldest
    }

    /// The watch events of a collection after a resource version: their types and objects. An object that
    /// begins or ceases to match the selector is added or deleted, as Kubernetes has it.
    pub(crate) fn events_after(
        &self,
        version: u64,
        target: &Target,
        selector: &Selector,
    ) -> Vec<(&'static str, Value)> {
        let from = self.history.partition_point(|change| change.version <= version);
        let changes = self.history[from..]
            .iter()
            .filter(|change| target.contains(&change.key));
        let events = changes.filter_map(|change| {
            let matching = |object: &Option<Value>| object.clone().filter(|object| selector.matches(object));
            match (matching(&change.before), matching(&change.after)) {
                (None, Some(object)) => Some(("ADDED", object)),
                (Some(_), Some(object)) => Some(("MODIFIED", object)),
                (Some(mut object), None) => {
                    object["metadata"]["resourceVersion"] = json!(change.version.to_string());
                    Some(("DELETED", object))
                }
                (None, None) => None,
            }
        });
        events.collect()
    }
}
