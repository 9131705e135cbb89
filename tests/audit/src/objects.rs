//! [`Objects`]: the objects that an audit reads, from JSON.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::json::text;

/// A cluster's objects.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub(crate) entries: Vec<Value>,
    pub(crate) datasets: Vec<Value>,
    pub(crate) blocks: Vec<Value>,
    pub(crate) claims: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) namespaces: Vec<Value>,
}

impl Objects {
    /// The resources to read, in this order: a pod gets a node after its entry is written, and a status is written after the
    /// entry that it names, so the entries are read last.
    pub const RESOURCES: [&str; 6] = [
        "namespaces",
        "pods",
        "privacybudgetclaims.privatekube.dev",
        "privatedatablocks.privatekube.dev",
        "privatedatasets.privatekube.dev",
        "privacyledgerentries.privatekube.dev",
    ];

    /// Adds what a JSON text holds: an object, or a list of objects and lists.
    pub fn add(&mut self, json: &str) -> Result<()> {
        self.add_value(serde_json::from_str(json).context("this is not JSON")?)
    }

    /// Adds an object, or a list of objects and lists.
    pub fn add_value(&mut self, mut value: Value) -> Result<()> {
        if let Some(items) = value.get_mut("items") {
            let Value::Array(items) = items.take() else {
                bail!("a list without items");
            };
            // The objects of a typed list don't all state their kind.
            let kind = text(&value, &["kind"]).strip_suffix("List").unwrap_or_default();
            for mut item in items {
                if item["kind"].is_null() {
                    item["kind"] = Value::from(kind);
                }
                self.add_value(item)?;
            }
            return Ok(());
        }
        let list = match text(&value, &["kind"]) {
            "PrivacyLedgerEntry" => &mut self.entries,
            "PrivateDataset" => &mut self.datasets,
            "PrivateDataBlock" => &mut self.blocks,
            "PrivacyBudgetClaim" => &mut self.claims,
            "Pod" => &mut self.pods,
            "Namespace" => &mut self.namespaces,
            kind => bail!("an object of kind {kind:?}, which this audit doesn't read"),
        };
        list.push(value);
        Ok(())
    }
}

/// An object's namespace.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// An object's name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// An object's UID.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// Whether an object is being deleted.
pub(crate) fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// An object in findings: its kind, namespace and name.
pub(crate) fn shown(object: &Value) -> String {
    format!(
        "{} {}/{}",
        text(object, &["kind"]),
        namespace(object),
        name(object)
    )
}
