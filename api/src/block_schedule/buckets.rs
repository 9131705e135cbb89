//! Buckets of users: the first so many users, the next so many, and so on.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::pattern::{Pattern, Placeholder};
use crate::{BudgetAmount, Dimension, FieldError, SpentBefore};

/// The most users of a bucket, and of all buckets together: as JSON numbers exact for every reader.
const MOST_USERS: u64 = 1_000_000_000_000;

pub(super) const DEFAULT_NAME: &str = "{dataset}-users-{bucket}";

/// The blocks of buckets of users, who are numbered from 0 as they come. Texts may have the placeholders {bucket} (its number, from
/// 0), {first-user} and {last-user} (the numbers of its first and last user), and {dataset}.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserBlocks {
    /// How many users a block has. Never changes. Example: 1000.
    #[schemars(range(min = 1, max = MOST_USERS))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the size of buckets never changes: blocks were made by it"))]
    pub bucket_size: u64,
    /// How many users there are, by a count that is differentially private itself: the true number would tell who came. A
    /// block comes once its bucket is full. It may only grow. Example: 25310.
    #[serde(default)]
    #[schemars(range(max = MOST_USERS))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("the count of users may only grow: blocks have come by it"))]
    pub count: u64,
    /// What counting the users costs each of them over all the time that the count is published, which is taken off each block.
    /// Example: {budget: {mechanism: "17*laplace(scale=100)"}, reason: the count of users}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SpentBefore")]
    pub counted: Option<SpentBefore>,
    /// The name of each block, different for each bucket. If absent: {dataset}-users-{bucket}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Where the data of each block is. Example: s3://lake/taxi/users/{bucket}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 2048))]
    pub data_source: Option<String>,
    /// The dimensions of each block. A value that is {bucket}, {first-user} or {last-user} and nothing else becomes an integer,
    /// unless the dataset declares the dimension as a String. Example: {bucket: "{bucket}"}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub dimensions: BTreeMap<String, Dimension>,
    /// The budget of each block. If absent: the guarantee of the dataset. Example: {epsilon: 10, delta: "1e-7"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BudgetAmount")]
    pub initial_budget: Option<BudgetAmount>,
}

/// Buckets of users, parsed.
#[derive(Clone, Debug)]
pub(super) struct UserBuckets {
    size: u64,
    count: u64,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) number: u64,
    size: u64,
}

impl Bucket {
    /// The number of its first user.
    pub(super) const fn first(&self) -> u64 {
        self.number.saturating_mul(self.size)
    }

    /// The number of the user after its last one.
    pub(super) const fn end(&self) -> u64 {
        self.first().saturating_add(self.size)
    }
}

impl UserBuckets {
    pub(super) fn parse(field: &str, spec: &UserBlocks) -> Result<Self, FieldError> {
        for (name, value, least) in [("bucketSize", spec.bucket_size, 1), ("count", spec.count, 0)] {
            if !(least..=MOST_USERS).contains(&value) {
                let problem =
                    format!("{value} is out of range: write an integer between {least} and {MOST_USERS}");
                return Err(FieldError::new(format!("{field}.{name}"), problem));
            }
        }
        Ok(Self {
            size: spec.bucket_size,
            count: spec.count,
        })
    }

    pub(super) const fn bucket(&self, number: u64) -> Bucket {
        Bucket {
            number,
            size: self.size,
        }
    }

    /// The next bucket that is full, after so many `users` have blocks; none if none is. Should the size have changed, it is the
    /// first that has none of these users.
    pub(super) fn next(&self, users: u64) -> Option<Bucket> {
        let bucket = self.bucket(users.div_ceil(self.size));
        (bucket.end() <= self.count).then_some(bucket)
    }

    /// How many buckets are full, after so many `users` have blocks.
    pub(super) const fn count(&self, users: u64) -> u64 {
        (self.count / self.size).saturating_sub(users.div_ceil(self.size))
    }
}

/// Whether a name is that of one bucket only; if not, returns what it needs.
pub(super) fn tells_apart(name: &Pattern) -> Result<(), &'static str> {
    let mut enough = [Placeholder::Bucket, Placeholder::FirstUser, Placeholder::LastUser].into_iter();
    if enough.any(|placeholder| name.has(placeholder)) {
        Ok(())
    } else {
        Err("{bucket}")
    }
}
