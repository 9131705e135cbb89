//! Names that users, controllers and manifests share: annotations, labels, datasets.

use std::fmt;

use thiserror::Error;

use crate::excerpt;

/// The API group of all kinds.
pub const GROUP: &str = "privatekube.dev";
/// The API version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// The prefix of all annotations by which a pod requests budget. Others, like `x.privatekube.dev/`, don't
/// count.
pub const ANNOTATION_PREFIX: &str = "privatekube.dev/";
/// The dataset: `name` in the pod's namespace, or `namespace/name`.
pub const ANNOTATION_DATASET: &str = "privatekube.dev/dataset";
/// Epsilon requested on each block.
pub const ANNOTATION_EPSILON: &str = "privatekube.dev/epsilon";
/// Delta requested on each block.
pub const ANNOTATION_DELTA: &str = "privatekube.dev/delta";
/// A mechanism requested on each block, in place of epsilon and delta.
pub const ANNOTATION_MECHANISM: &str = "privatekube.dev/mechanism";
/// Which blocks: a CEL expression, see [`Selector`](crate::Selector), or `all`.
pub const ANNOTATION_BLOCKS: &str = "privatekube.dev/blocks";
/// How many blocks are needed at least. 1 if absent.
pub const ANNOTATION_MIN_BLOCKS: &str = "privatekube.dev/min-blocks";
/// How many blocks are taken at most: the newest. All if absent.
pub const ANNOTATION_MAX_BLOCKS: &str = "privatekube.dev/max-blocks";
/// How long the claim waits at most.
pub const ANNOTATION_TIMEOUT: &str = "privatekube.dev/timeout";
/// The claim's priority: higher is granted before lower. 0 if absent.
pub const ANNOTATION_PRIORITY: &str = "privatekube.dev/priority";
/// Existing claims in the pod's namespace, in place of all other annotations but [`ANNOTATION_RESTARTS`].
pub const ANNOTATION_CLAIM: &str = "privatekube.dev/claim";
/// With the value `free`, its author states that a container that starts again spends nothing new.
pub const ANNOTATION_RESTARTS: &str = "privatekube.dev/restarts";
/// What the budget is for, in the words of whoever asks.
pub const ANNOTATION_PURPOSE: &str = "privatekube.dev/purpose";
/// The user who made a pod or a claim object, as the API server knows them. Written at admission, whatever was there.
pub const ANNOTATION_REQUESTED_BY: &str = "privatekube.dev/requested-by";
/// The [`Grant`](crate::Grant) as JSON. Written by the extender with the pod's Binding.
pub const ANNOTATION_GRANT: &str = "privatekube.dev/grant";
/// The value of [`ENV_GRANT`]: the same grant, or the file that has it if it is too large for a variable. Written by the
/// extender with the pod's Binding.
pub const ANNOTATION_GRANT_VARIABLE: &str = "privatekube.dev/grant-variable";

/// Written by the system on a pod that had no gate any more when its budget was granted. Its only purpose is to be a change
/// of the pod, which makes the scheduler try it again.
pub const ANNOTATION_WOKEN: &str = "extender.privatekube.dev/granted-at";

/// The scheduling gate that a managed pod has until its budget is granted.
pub const GATE: &str = "privatekube.dev/budget";
/// The extended resource that a managed pod requests. The scheduler calls the extender for pods that request
/// it.
pub const RESOURCE: &str = "privatekube.dev/privacy-budget";
/// The label, with value `true`, of every managed pod.
pub const LABEL_MANAGED: &str = "privatekube.dev/managed";
/// The label of a ledger entry that names its dataset.
pub const LABEL_DATASET: &str = "privatekube.dev/dataset";
/// The environment variable in which a container finds its pod's grant.
pub const ENV_GRANT: &str = "PRIVATEKUBE_GRANT";
/// The volume of a pod that has the grant as a file.
pub const VOLUME_GRANT: &str = "privatekube-grant";
/// The folder of a container in which that volume is mounted.
pub const GRANT_FOLDER: &str = "/var/run/privatekube";
/// The file in which a container finds its pod's grant.
pub const GRANT_FILE: &str = "/var/run/privatekube/grant.json";
/// The same file within its volume.
pub const GRANT_FILE_NAME: &str = "grant.json";

/// The longest DNS label, and the longest value of a Kubernetes label.
const LABEL_LENGTH: usize = 63;
/// The longest name of a Kubernetes object.
const NAME_LENGTH: usize = 253;

/// Why a text doesn't name a dataset or an object. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    #[error("is empty: write the dataset's name, or namespace/name")]
    EmptyDataset,
    /// The text does not name a dataset.
    #[error(
        "{0:?} is not a dataset: write its name, or namespace/name, each at most 63 lower-case letters, digits and '-', \
         like taxi or data/taxi"
    )]
    NotADataset(String),
    /// The text is not the name of an object.
    #[error(
        "{0:?} is not a name: write lower-case letters, digits, '-' and '.', at most 253, like weekly-count"
    )]
    NotAName(String),
}

/// Whether `text` is a DNS label (RFC 1123), as the names of namespaces and datasets are.
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_LENGTH
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
}

/// Whether `text` is a DNS subdomain (RFC 1123), as the names of claims and blocks are.
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
    };
    text.len() <= NAME_LENGTH && text.split('.').all(part)
}

/// Whether `text` is the key of a label: a name, or a DNS subdomain, `/` and a name.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_object_name) && !name.is_empty() && is_label_value(name)
}

/// Whether `text` is the value of a label, which may be empty.
pub(crate) fn is_label_value(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_LENGTH
        && bytes.first().is_none_or(edge)
        && bytes.last().is_none_or(edge)
        && bytes.iter().all(|byte| edge(byte) || b"-_.".contains(byte))
}

/// A dataset's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetKey {
    /// Its namespace, which is that of its blocks.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl DatasetKey {
    /// Parses `name`, which is in `default_namespace`, or `namespace/name`.
    pub fn parse(text: &str, default_namespace: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::EmptyDataset);
        }
        let (namespace, name) = text.split_once('/').unwrap_or((default_namespace, text));
        if is_label_name(namespace) && is_label_name(name) {
            Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        } else {
            Err(NameError::NotADataset(
                excerpt(text, 2 * NAME_LENGTH).into_owned(),
            ))
        }
    }
}

impl fmt::Display for DatasetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
