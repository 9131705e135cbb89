//! Builders of datasets, blocks, claims and pods, with defaults for all that a test doesn't care about.

use std::marker::PhantomData;

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use privatekube_api::{PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset};
use serde_json::{Map, Value, json};

/// Builds an object of kind `K` as JSON; see [`Self::within`].
#[derive(Clone, Debug)]
pub struct ObjectBuilder<K> {
    name: String,
    annotations: Map<String, Value>,
    spec: Value,
    kind: PhantomData<K>,
}

/// See [`dataset`].
pub type DatasetBuilder = ObjectBuilder<PrivateDataset>;
/// See [`block`].
pub type BlockBuilder = ObjectBuilder<PrivateDataBlock>;
/// See [`claim`].
pub type ClaimBuilder = ObjectBuilder<PrivacyBudgetClaim>;
/// See [`pod`].
pub type PodBuilder = ObjectBuilder<Pod>;

/// A dataset: DPF, basic composition, everything unlocked at once.
#[must_use]
pub fn dataset(name: &str) -> DatasetBuilder {
    let unlocking = json!({"immediate": true});
    ObjectBuilder::new(name, json!({"unlocking": unlocking, "composition": "Basic"}))
}

/// A block of a dataset with epsilon 10 and delta 1e-6.
#[must_use]
pub fn block(dataset: &str, name: &str) -> BlockBuilder {
    let budget = json!({"epsilon": "10", "delta": "1e-6"});
    ObjectBuilder::new(name, json!({"dataset": dataset, "initialBudget": budget}))
}

/// A claim on every block of a dataset, without a budget yet.
#[must_use]
pub fn claim(dataset: &str, name: &str) -> ClaimBuilder {
    ObjectBuilder::new(name, json!({"dataset": dataset, "blocks": {"which": "all"}}))
}

/// A pod of one container without any annotation.
#[must_use]
pub fn pod(name: &str) -> PodBuilder {
    let container = json!({"name": "main", "image": "train:1"});
    ObjectBuilder::new(name, json!({"restartPolicy": "Never", "containers": [container]}))
}

impl<K> ObjectBuilder<K> {
    fn new(name: &str, spec: Value) -> Self {
        Self {
            name: name.to_owned(),
            annotations: Map::new(),
            spec,
            kind: PhantomData,
        }
    }

    /// Sets a field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }
}

impl<K: Resource<DynamicType = ()>> ObjectBuilder<K> {
    /// The object, in a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Value {
        let mut object = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": self.name, "namespace": namespace},
            "spec": self.spec,
        });
        if !self.annotations.is_empty() {
            object["metadata"]["annotations"] = json!(self.annotations);
        }
        object
    }
}

impl DatasetBuilder {
    /// Unlocks a block's whole budget by this many arrivals, in equal parts.
    #[must_use]
    pub fn arrivals(mut self, arrivals: u32) -> Self {
        self.spec["unlocking"] = json!({"arrivals": arrivals});
        self
    }

    /// Accepts claims of every namespace, up to this priority.
    #[must_use]
    pub fn open_to_all(mut self, max_priority: i32) -> Self {
        self.spec["claimants"] = json!({"from": "All", "maxPriority": max_priority});
        self
    }

    /// Uses Renyi composition at these orders.
    #[must_use]
    pub fn renyi(mut self, orders: &[&str]) -> Self {
        self.spec["composition"] = json!("Renyi");
        self.spec["orders"] = json!(orders);
        self
    }
}

impl BlockBuilder {
    /// Sets the initial budget.
    #[must_use]
    pub fn budget(mut self, epsilon: &str, delta: &str) -> Self {
        self.spec["initialBudget"] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// Sets the initial budget to a Renyi curve of (order, epsilon).
    #[must_use]
    pub fn curve(mut self, curve: &[(&str, &str)]) -> Self {
        self.spec["initialBudget"] = json!({"renyi": points(curve)});
        self
    }

    /// Adds a dimension.
    #[must_use]
    pub fn dimension(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.spec["dimensions"][name] = value.into();
        self
    }
}

fn points(curve: &[(&str, &str)]) -> Value {
    curve
        .iter()
        .map(|(order, epsilon)| json!({"order": order, "epsilon": epsilon}))
        .collect()
}

impl ClaimBuilder {
    /// Requests this budget on each block that matches.
    #[must_use]
    pub fn epsilon(mut self, epsilon: &str, delta: &str) -> Self {
        self.spec["budget"] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// Requests this budget on the named block.
    #[must_use]
    pub fn on(mut self, block: &str, epsilon: &str, delta: &str) -> Self {
        self.names_blocks();
        self.spec["perBlock"][block] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// Requests this Renyi curve of (order, epsilon) on the named block.
    #[must_use]
    pub fn curve_on(mut self, block: &str, curve: &[(&str, &str)]) -> Self {
        self.names_blocks();
        self.spec["perBlock"][block] = json!({"renyi": points(curve)});
        self
    }
}

impl ClaimBuilder {
    /// Leaves out which blocks: they are named.
    fn names_blocks(&mut self) {
        if let Some(spec) = self.spec.as_object_mut() {
            spec.remove("blocks");
        }
    }
}

impl PodBuilder {
    /// Adds the annotation `privatekube.dev/NAME`, or `NAME` itself if it has a domain. With a dataset comes every block of it,
    /// unless another annotation says which.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        let name = if name.contains('/') {
            name.to_owned()
        } else {
            format!("privatekube.dev/{name}")
        };
        if name == "privatekube.dev/dataset" && !self.annotations.contains_key("privatekube.dev/max-blocks") {
            let blocks = self.annotations.entry("privatekube.dev/blocks");
            blocks.or_insert_with(|| json!("all"));
        }
        self.annotations.insert(name, json!(value));
        self
    }

    /// Requests this budget on each block of a dataset, by annotations.
    #[must_use]
    pub fn requests(self, dataset: &str, epsilon: &str, delta: &str) -> Self {
        self.annotation("dataset", dataset)
            .annotation("epsilon", epsilon)
            .annotation("delta", delta)
    }

    /// The annotations and the spec, as a pod template.
    #[must_use]
    pub fn template(&self) -> Value {
        json!({"metadata": {"annotations": self.annotations}, "spec": self.spec})
    }
}
