//! The objects of the old system, read from the cluster in which it runs.

use anyhow::{Context, Result, anyhow, bail};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde_json::Value;

use crate::cluster::{Cluster, PAGE};

const GROUP: &str = "columbia.github.com";
const VERSION: &str = "v1";

/// Kinds, with the names of their resources. Claims are read first: what is granted between the two is in the blocks, and
/// counts as spent. The other way round, it would be in neither.
const KINDS: [(&str, &str); 2] = [
    ("PrivacyBudgetClaim", "privacybudgetclaims"),
    ("PrivateDataBlock", "privatedatablocks"),
];

/// All blocks and claims of the namespace, or of all.
pub(super) async fn objects(cluster: &Cluster, all_namespaces: bool) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (kind, plural) in KINDS {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural);
        let api: Api<DynamicObject> = if all_namespaces {
            Api::all_with(cluster.client.clone(), &resource)
        } else {
            Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
        };
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = match api.list(&params).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 404 => bail!(
                    "the cluster has no {plural} of group {GROUP}/{VERSION}: --context names another one, and files are read by -f"
                ),
                Err(kube::Error::Api(status)) => bail!("list {plural}.{GROUP}: {}", status.message),
                Err(error) => return Err(anyhow!(error)).context(format!("list {plural}.{GROUP}")),
            };
            for object in page.items {
                // The objects of a list don't say what they are.
                let mut object = serde_json::to_value(object).context("an object can't be read")?;
                object["apiVersion"] = format!("{GROUP}/{VERSION}").into();
                object["kind"] = kind.into();
                objects.push(object);
            }
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => break,
            }
        }
    }
    if objects.is_empty() {
        let place = if all_namespaces {
            "the cluster".to_owned()
        } else {
            format!("namespace {}", cluster.namespace)
        };
        bail!("{place} has no blocks or claims of group {GROUP}: -n names another namespace, -A means all");
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
    use serde_json::json;

    use super::*;
    use crate::import::import;

    fn cluster(server: &FakeApiServer) -> Cluster {
        Cluster::new(server.client(), "old".to_owned())
    }

    fn block(namespace: &str, name: &str) -> Value {
        json!({
            "apiVersion": "columbia.github.com/v1", "kind": "PrivateDataBlock",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"dataset": "taxi", "initialBudget": {"epsDel": {"epsilon": 5, "delta": 0.0001}}},
            "status": {"committedBudgetMap": {"old/c": {"epsDel": {"epsilon": 0.02, "delta": 0}}}},
        })
    }

    #[tokio::test]
    async fn blocks_and_claims_are_read_from_the_cluster() {
        let server = FakeApiServer::default();
        server.put("privatedatablocks", &block("old", "b1"));
        server.put("privatedatablocks", &block("other", "b2"));
        server.put(
            "privacybudgetclaims",
            &json!({
                "apiVersion": "columbia.github.com/v1", "kind": "PrivacyBudgetClaim",
                "metadata": {"namespace": "old", "name": "c"},
                "spec": {"requests": [{"identifier": "i", "allocateRequest": {
                    "dataset": "taxi", "expectedBudget": {"constant": {"epsDel": {"epsilon": 0.1, "delta": 0}}},
                    "minNumberOfBlocks": 1, "maxNumberOfBlocks": 1}}]},
            }),
        );
        let found = objects(&cluster(&server), false).await.unwrap();
        let read: Vec<&Value> = found.iter().map(|object| &object["kind"]).collect();
        assert_eq!(read, ["PrivacyBudgetClaim", "PrivateDataBlock"]);
        let imported = import(&found, 100);
        let kinds: Vec<&Value> = imported.manifests.iter().map(|made| &made["kind"]).collect();
        assert_eq!(
            kinds,
            ["PrivateDataset", "PrivateDataBlock", "PrivacyBudgetClaim"],
            "{:?}",
            imported.not_carried_over
        );
        assert_eq!(
            imported.manifests[1]["spec"]["spent"]["budget"]["epsilon"],
            "0.02"
        );

        let found = objects(&cluster(&server), true).await.unwrap();
        assert_eq!(found.len(), 3);
    }

    /// More than are read in a request.
    #[tokio::test]
    async fn pages_are_read_to_the_end() {
        let server = FakeApiServer::default();
        let many = 2 * PAGE + 1;
        for number in 0..many {
            server.put("privatedatablocks", &block("old", &format!("b{number}")));
        }
        let found = objects(&cluster(&server), true).await.unwrap();
        assert_eq!(found.len(), many as usize);
    }

    #[tokio::test]
    async fn a_cluster_without_the_old_system_is_told() {
        let server = FakeApiServer::default();
        let error = objects(&cluster(&server), false).await.unwrap_err().to_string();
        assert!(
            error.starts_with("namespace old has no blocks or claims of group columbia.github.com"),
            "{error}"
        );

        let lists = RequestFilter::default().resource("privatedatablocks");
        server.inject(&lists, 1, Fault::Refuse(404));
        let error = objects(&cluster(&server), true).await.unwrap_err().to_string();
        assert!(
            error.starts_with("the cluster has no privatedatablocks of group columbia.github.com/v1"),
            "{error}"
        );

        server.inject(&lists, 1, Fault::Refuse(403));
        let error = objects(&cluster(&server), true).await.unwrap_err().to_string();
        assert!(
            error.starts_with("list privatedatablocks.columbia.github.com: "),
            "{error}"
        );
    }
}
