//! The custom resource definitions that are applied to a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{PrivacyBudgetClaim, PrivacyLedgerEntry, PrivateDataBlock, PrivateDataset};

/// The definitions of all kinds.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        PrivateDataset::crd(),
        PrivateDataBlock::crd(),
        PrivacyBudgetClaim::crd(),
        PrivacyLedgerEntry::crd(),
    ]
}

/// The definitions as files: name and content, which is JSON and so YAML.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_json::Error> {
    crds()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap_or_default());
            serde_json::to_string_pretty(crd).map(|text| (name, text))
        })
        .collect()
}
