//! Waits until the API server enforces admission policies that were applied.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// The name of the policy, its binding and the object that it refuses.
const PROBE: &str = "are-policies-enforced";
/// The pause between two attempts to create what the probe refuses.
const POLL: Duration = Duration::from_millis(50);
/// The API server compiles changed policies once a second.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until every admission policy that was applied before is enforced: the API server compiles policies a
/// moment after they are created, and admits everything until then. It compiles all that it knows at once and
/// learns of them in the order of their creation, so a policy that is created now is enforced last.
pub(crate) async fn until_enforced(client: &Client) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policy = serde_json::from_value(json!({
        "metadata": {"name": PROBE},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["configmaps"], "resourceNames": [PROBE],
            }]},
            "validations": [{"expression": "false"}],
        },
    }))?;
    let binding = serde_json::from_value(json!({
        "metadata": {"name": PROBE},
        "spec": {"policyName": PROBE, "validationActions": ["Deny"]},
    }))?;
    let create = PostParams::default();
    policies.create(&create, &policy).await?;
    bindings.create(&create, &binding).await?;
    let enforced = tokio::time::timeout(TIMEOUT, until_refused(client)).await;
    bindings.delete(PROBE, &DeleteParams::default()).await?;
    policies.delete(PROBE, &DeleteParams::default()).await?;
    enforced.with_context(|| format!("admission policies are not enforced after {TIMEOUT:?}"))?
}

/// Tries to create what the probe refuses, without storing it, until it is refused.
async fn until_refused(client: &Client) -> Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let refused = ConfigMap {
        metadata: ObjectMeta {
            name: Some(PROBE.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    loop {
        match config_maps.create(&dry_run, &refused).await {
            Ok(_) => tokio::time::sleep(POLL).await,
            Err(kube::Error::Api(status)) if status.message.contains(PROBE) && status.code == 422 => {
                return Ok(());
            }
            Err(error) => bail!(error),
        }
    }
}
