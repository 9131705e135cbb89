//! Requests: what their paths address, their log, and filters over them.

use std::collections::HashMap;

use axum::{
    extract::Query,
    http::{Method, header, request::Parts},
};
use serde_json::Value;

use crate::answer::Refusal;

/// A request that was received.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// Whose request it is: the name of [`FakeApiServer::client_named`](crate::FakeApiServer::client_named), or empty.
    pub client: String,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, such as `watch=true&labelSelector=a%3Db`; empty when there is none.
    pub query: String,
    /// The resource's plural name; empty when the path addresses none.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
    /// The body; null when there is none.
    pub body: Value,
    /// The HTTP status of the answer. None until the request was answered, and when no answer was sent at
    /// all.
    pub code: Option<u16>,
}

/// Chooses requests: by default all, narrowed by each method.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    writes: bool,
    method: Option<String>,
    path_prefix: String,
    resource: Option<String>,
    subresource: Option<String>,
    client: Option<String>,
}

impl RequestFilter {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Every request but `GET`.
    #[must_use]
    pub fn writes() -> Self {
        Self {
            writes: true,
            ..Self::default()
        }
    }

    /// Only requests with this method, such as `PATCH`.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path begins with this, such as `/api/v1/namespaces/data/`.
    #[must_use]
    pub fn path_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.path_prefix);
        self
    }

    /// Only requests about objects of this resource (its plural name), with or without a subresource.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only requests about this subresource, such as `status`.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Only requests of the client of this name.
    #[must_use]
    pub fn client(mut self, name: &str) -> Self {
        self.client = Some(name.to_owned());
        self
    }

    /// Whether the filter chooses the request.
    #[must_use]
    pub fn matches(&self, request: &LoggedRequest) -> bool {
        let is = |wanted: &Option<String>, actual: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| actual == Some(wanted))
        };
        !(self.writes && request.method == Method::GET.as_str())
            && is(&self.method, Some(&request.method))
            && is(&self.resource, Some(&request.resource))
            && is(&self.client, Some(&request.client))
            && is(&self.subresource, request.subresource.as_deref())
            && request.path.starts_with(&self.path_prefix)
    }
}

/// Identifies an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The plural name.
    pub(crate) resource: String,
    /// Empty for cluster-wide objects.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a path addresses: a collection, an object, or a subresource of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `v1` or `GROUP/VERSION`.
    pub(crate) api_version: String,
    pub(crate) resource: String,
    /// None: cluster-wide, or the objects of all namespaces.
    pub(crate) namespace: Option<String>,
    /// None: the collection.
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (api_version, rest) = match *segments.as_slice() {
            ["api", version, ref rest @ ..] => (version.to_owned(), rest),
            ["apis", group, version, ref rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match *rest {
            // Subresources of the namespace itself.
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, _, ..] => (Some(namespace.to_owned()), &rest[2..]),
            _ => (None, rest),
        };
        let (resource, name, subresource) = match *rest {
            [resource] => (resource, None, None),
            [resource, name] => (resource, Some(name), None),
            [resource, name, subresource] => (resource, Some(name), Some(subresource)),
            _ => return None,
        };
        Some(Self {
            api_version,
            resource: resource.to_owned(),
            namespace,
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }

    /// The key of a namespace's object.
    pub(crate) fn of_namespace(name: Option<&str>) -> Key {
        Key {
            resource: "namespaces".into(),
            name: name.unwrap_or_default().to_owned(),
            ..Key::default()
        }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key {
            resource: self.resource.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    /// Whether an object belongs to the collection.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        key.resource == self.resource
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == key.namespace)
    }
}

/// A request's parts in the form in which they are used.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Whose it is.
    pub(crate) client: String,
    pub(crate) target: Target,
    query: HashMap<String, String>,
    pub(crate) content_type: String,
    /// Whether only metadata is accepted.
    pub(crate) metadata_only: bool,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn parse(client: &str, parts: &Parts, body: Value) -> Result<Self, Refusal> {
        let path = parts.uri.path();
        let target =
            Target::parse(path).ok_or_else(|| Refusal::new(404, format!("nothing is served at {path}")))?;
        let Query(query) =
            Query::try_from_uri(&parts.uri).map_err(|error| Refusal::new(400, error.to_string()))?;
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            method: parts.method.clone(),
            client: client.to_owned(),
            target,
            query,
            content_type: header(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            metadata_only: header(header::ACCEPT)
                .is_some_and(|accepted| accepted.contains("as=PartialObjectMetadata")),
            body,
        })
    }

    /// A parameter of the query; None when it is absent or empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.parameter(name) == Some("true")
    }

    /// A parameter that is a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.parameter(name)
            .map(str::parse)
            .transpose()
            .map_err(|_| Refusal::new(400, format!("{name} is no number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> [String; 5] {
        let target = Target::parse(path).unwrap();
        [
            target.api_version,
            target.resource,
            target.namespace.unwrap_or_default(),
            target.name.unwrap_or_default(),
            target.subresource.unwrap_or_default(),
        ]
    }

    #[test]
    fn paths_of_objects_and_collections_are_told_apart() {
        assert_eq!(target("/api/v1/pods"), ["v1", "pods", "", "", ""]);
        assert_eq!(
            target("/api/v1/namespaces/data/pods/train/binding"),
            ["v1", "pods", "data", "train", "binding"]
        );
        assert_eq!(
            target("/apis/privatekube.dev/v1alpha1/namespaces/data/privatedatasets/taxi"),
            ["privatekube.dev/v1alpha1", "privatedatasets", "data", "taxi", ""]
        );
        assert_eq!(Target::parse("/readyz"), None);
    }

    #[test]
    fn a_namespace_is_an_object_too() {
        assert_eq!(
            target("/api/v1/namespaces/data"),
            ["v1", "namespaces", "", "data", ""]
        );
        assert_eq!(
            target("/api/v1/namespaces/data/status"),
            ["v1", "namespaces", "", "data", "status"]
        );
    }
}
