//! Objects with sensible defaults, changed in a few words.

use serde_json::{Map, Value, json};

/// A dataset: DPF, basic composition, everything unlocked at once.
#[must_use]
pub fn dataset(name: &str) -> DatasetBuilder {
    DatasetBuilder {
        name: name.to_owned(),
        spec: json!({"unlocking": {"immediate": true}, "composition": "Basic"}),
    }
}

/// A block of a dataset with epsilon 10 and delta 1e-6.
#[must_use]
pub fn block(dataset: &str, name: &str) -> BlockBuilder {
    let budget = json!({"epsilon": "10", "delta": "1e-6"});
    BlockBuilder {
        name: name.to_owned(),
        spec: json!({"dataset": dataset, "initialBudget": budget}),
    }
}

/// A claim on a dataset that asks nothing yet.
#[must_use]
pub fn claim(dataset: &str, name: &str) -> ClaimBuilder {
    ClaimBuilder {
        name: name.to_owned(),
        spec: json!({"dataset": dataset}),
    }
}

/// A pod of one container without any annotation.
#[must_use]
pub fn pod(name: &str) -> PodBuilder {
    PodBuilder {
        name: name.to_owned(),
        annotations: Map::new(),
        spec: json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "train:1"}]}),
    }
}

/// See [`dataset`].
#[derive(Clone, Debug)]
pub struct DatasetBuilder {
    name: String,
    spec: Value,
}

/// See [`block`].
#[derive(Clone, Debug)]
pub struct BlockBuilder {
    name: String,
    spec: Value,
}

/// See [`claim`].
#[derive(Clone, Debug)]
pub struct ClaimBuilder {
    name: String,
    spec: Value,
}

/// See [`pod`].
#[derive(Clone, Debug)]
pub struct PodBuilder {
    name: String,
    annotations: Map<String, Value>,
    spec: Value,
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

impl DatasetBuilder {
    /// Unlocked by so many arrivals.
    #[must_use]
    pub fn arrivals(mut self, arrivals: u32) -> Self {
        self.spec["unlocking"] = json!({"arrivals": arrivals});
        self
    }

    /// Renyi composition at these orders.
    #[must_use]
    pub fn renyi(mut self, orders: &[&str]) -> Self {
        self.spec["composition"] = json!("Renyi");
        self.spec["orders"] = json!(orders);
        self
    }

    /// Any field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// The object.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Value {
        object("PrivateDataset", namespace, &self.name, &self.spec)
    }
}

impl BlockBuilder {
    /// With this budget.
    #[must_use]
    pub fn budget(mut self, epsilon: &str, delta: &str) -> Self {
        self.spec["initialBudget"] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// With this curve.
    #[must_use]
    pub fn curve(mut self, curve: &[(&str, &str)]) -> Self {
        self.spec["initialBudget"] = json!({"renyi": points(curve)});
        self
    }

    /// With this dimension.
    #[must_use]
    pub fn dimension(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.spec["dimensions"][name] = value.into();
        self
    }

    /// Any field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// The object.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Value {
        object("PrivateDataBlock", namespace, &self.name, &self.spec)
    }
}

fn points(curve: &[(&str, &str)]) -> Value {
    curve
        .iter()
        .map(|(order, epsilon)| json!({"order": order, "epsilon": epsilon}))
        .collect()
}

impl ClaimBuilder {
    /// This on each block that matches.
    #[must_use]
    pub fn epsilon(mut self, epsilon: &str, delta: &str) -> Self {
        self.spec["budget"] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// This on that block.
    #[must_use]
    pub fn on(mut self, block: &str, epsilon: &str, delta: &str) -> Self {
        self.spec["perBlock"][block] = json!({"epsilon": epsilon, "delta": delta});
        self
    }

    /// This curve on that block.
    #[must_use]
    pub fn curve_on(mut self, block: &str, curve: &[(&str, &str)]) -> Self {
        self.spec["perBlock"][block] = json!({"renyi": points(curve)});
        self
    }

    /// Any field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// The object.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Value {
        object("PrivacyBudgetClaim", namespace, &self.name, &self.spec)
    }
}

impl PodBuilder {
    /// With the annotation `privatekube.dev/NAME`, or with one of another domain if the name has one.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        let name = if name.contains('/') {
            name.to_owned()
        } else {
            format!("privatekube.dev/{name}")
        };
        self.annotations.insert(name, json!(value));
        self
    }

    /// Asks this of each block of a dataset.
    #[must_use]
    pub fn asks(self, dataset: &str, epsilon: &str, delta: &str) -> Self {
        self.annotation("dataset", dataset)
            .annotation("epsilon", epsilon)
            .annotation("delta", delta)
    }

    /// Any field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// The object.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": namespace, "annotations": self.annotations},
            "spec": self.spec,
        })
    }

    /// Metadata and spec, for a template.
    #[must_use]
    pub fn template(&self) -> Value {
        json!({"metadata": {"annotations": self.annotations}, "spec": self.spec})
    }
}
