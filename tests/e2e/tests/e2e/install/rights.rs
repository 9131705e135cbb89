//! The rights of the extender and of users (RBAC).

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, eventually};
use serde_json::{Value, json};

/// A user's rights in a namespace, as lines of `verb group/resource[names]`.
async fn rights(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let spec = SelfSubjectRulesReviewSpec {
        namespace: Some(namespace.to_owned()),
    };
    let review = SelfSubjectRulesReview {
        spec,
        ..SelfSubjectRulesReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    let rules = answer.status.context("no status")?.resource_rules;
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names = rule.resource_names.unwrap_or_default().join(",");
        for group in rule.api_groups.iter().flatten() {
            // Every user may review their own rights.
            if ["authorization.k8s.io", "authentication.k8s.io"].contains(&group.as_str()) {
                continue;
            }
            for resource in rule.resources.iter().flatten() {
                rights.extend(
                    rule.verbs
                        .iter()
                        .map(|verb| format!("{verb} {group}/{resource}[{names}]")),
                );
            }
        }
    }
    Ok(rights)
}

fn lines(rules: &[(&[&str], &str)]) -> BTreeSet<String> {
    let rules = rules.iter();
    rules
        .flat_map(|(verbs, what)| verbs.iter().map(move |verb| format!("{verb} {what}")))
        .collect()
}

/// Whether a user has a right in the namespace `team`.
async fn is_allowed(
    env: &TestEnvironment,
    user: &str,
    verb: &str,
    group: &str,
    resource: &str,
) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = ResourceAttributes {
        namespace: Some("team".to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(env.client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(answer.status.context("no status")?.allowed)
}

#[tokio::test]
async fn the_extender_has_exactly_the_rights_it_needs() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    let extender = env.client_as(User::Extender).await?;
    let expected = lines(&[
        (&["get", "list", "watch", "patch", "delete"], "/pods[]"),
        (&["create"], "/pods/binding[]"),
        (&["create"], "events.k8s.io/events[]"),
        (&["get", "list", "watch"], "privatekube.dev/privatedatasets[]"),
        (
            &["get", "list", "watch", "create"],
            "privatekube.dev/privatedatablocks[]",
        ),
        (
            &["get", "list", "watch", "create"],
            "privatekube.dev/privacybudgetclaims[]",
        ),
        (&["patch"], "privatekube.dev/privatedatasets/status[]"),
        (&["patch"], "privatekube.dev/privatedatablocks/status[]"),
        (&["patch"], "privatekube.dev/privacybudgetclaims/status[]"),
        // To notice that a dataset's ledger was deleted with its namespace.
        (&["get"], "/namespaces[]"),
        // Ledger entries are only created, never changed or deleted, not even by their writer.
        (
            &["get", "list", "watch", "create"],
            "privatekube.dev/privacyledgerentries[]",
        ),
        // A checkpoint is replaced by later ones, and never deleted.
        (
            &["get", "create", "update"],
            "privatekube.dev/privacyledgercheckpoints[]",
        ),
        (
            &["get", "list", "create", "delete"],
            "privatekube.dev/privacyledgercheckpointpieces[]",
        ),
        (
            &["get", "list", "watch", "patch"],
            "admissionregistration.k8s.io/mutatingwebhookconfigurations[privatekube-extender]",
        ),
        (
            &["get", "list", "watch", "patch"],
            "admissionregistration.k8s.io/validatingwebhookconfigurations[privatekube-extender]",
        ),
    ]);
    // In its own namespace, the lease of the replica that leads.
    let lease = lines(&[
        (
            &["get", "list", "watch", "update"],
            "coordination.k8s.io/leases[privatekube-extender]",
        ),
        (&["create"], "coordination.k8s.io/leases[]"),
    ]);
    let in_own = expected.union(&lease).cloned().collect();
    for (namespace, expected) in [("team", &expected), ("privatekube-system", &in_own)] {
        let found = rights(&extender, namespace).await?;
        ensure!(found == *expected, "{:?}", found.symmetric_difference(expected));
    }
    ensure!(!is_allowed(&env, User::Extender.name(), "get", "", "secrets").await?);
    Ok(())
}

#[tokio::test]
async fn users_have_the_rights_of_their_roles() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    for (user, role) in [
        ("viewer", "view"),
        ("owner", "privatekube-data-owner"),
        ("chief", "admin"),
    ] {
        env.create_all([role_binding(user, role)]).await?;
    }
    let group = "privatekube.dev";
    let tenant = User::Tenant.name();
    eventually("the cluster's roles are put together", async || {
        let all = [
            ("viewer", "get", "privacyledgerentries"),
            (tenant, "create", "privacybudgetclaims"),
            ("chief", "delete", "privacybudgetclaims"),
        ];
        for (user, verb, resource) in all {
            if !is_allowed(&env, user, verb, group, resource).await? {
                return Ok(Err(format!("{user} may not {verb} {resource}")));
            }
        }
        Ok(Ok(()))
    })
    .await?;
    let resources = [
        "privatedatasets",
        "privatedatablocks",
        "privacybudgetclaims",
        "privacyledgerentries",
        "privacyledgercheckpoints",
        "privacyledgercheckpointpieces",
    ];
    for resource in resources {
        for (user, writes) in [
            ("viewer", false),
            (tenant, resource == "privacybudgetclaims"),
            ("chief", resource == "privacybudgetclaims"),
            ("owner", resource.starts_with("privatedata")),
        ] {
            for verb in ["get", "list", "watch"] {
                ensure!(
                    is_allowed(&env, user, verb, group, resource).await?,
                    "{user} may not {verb} {resource}"
                );
            }
            for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                let allowed = is_allowed(&env, user, verb, group, resource).await?;
                ensure!(allowed == writes, "{user} {verb} {resource}: {allowed}");
            }
            let status = format!("{resource}/status");
            ensure!(
                !is_allowed(&env, user, "patch", group, &status).await?,
                "{user} may patch {status}"
            );
        }
        ensure!(!is_allowed(&env, "nobody", "get", group, resource).await?);
    }
    Ok(())
}

/// A RoleBinding that gives a user a role in the namespace `team`.
fn role_binding(user: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": "team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}
