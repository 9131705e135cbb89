//! How a dataset goes on after its ledger lost entries, or was dated ahead: an explicit word of whoever answers for it.

use kube::KubeSchema;
use privatekube_policy::Time;
use serde::{Deserialize, Serialize};

use crate::{FieldError, parse_rfc3339};

/// The most characters of a reason.
const MOST_CHARACTERS: usize = 500;

/// How a dataset goes on that is stopped because its ledger lost entries, or is dated ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.writeOffAfter) || has(self.acceptTime)").message(
        "give writeOffAfter or acceptTime"),
)]
pub struct RecoverySpec {
    /// The number of the last ledger entry that is left, as the condition Ready states it; 0 if none is. The entries after it
    /// are lost for good, and all budget of the dataset's blocks that isn't allocated counts as consumed: nothing more is
    /// granted on them. It happens once, when the ledger is opened and this is its last entry. Example: 41.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(max = 9_999_999_999_i64))]
    pub write_off_after: Option<u64>,
    /// The time of the last ledger entry, as the condition Ready states it, if that is in the future. The ledger goes on
    /// with this time: what the clock unlocks until then is available, and no timeout is over before then. Example:
    /// "2099-01-01T00:00:00Z".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 40))]
    pub accept_time: Option<String>,
    /// Why, for those who audit the ledger, which keeps it: 1 to 500 characters. Example: etcd was restored from the backup
    /// of 28 November.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}

/// How a dataset goes on, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The last entry that is left, after which everything is written off.
    pub write_off_after: Option<u64>,
    /// The time up to which the ledger's last entry may be dated.
    pub accept_time: Option<Time>,
    /// Why.
    pub reason: String,
}

impl RecoverySpec {
    /// Checks and parses it.
    pub fn parse(&self) -> Result<Recovery, FieldError> {
        let characters = self.reason.chars().count();
        if self.reason.trim().is_empty() || characters > MOST_CHARACTERS {
            return Err(FieldError::new(
                "spec.recovery.reason",
                format_args!("has {characters} characters: write 1 to {MOST_CHARACTERS} that say why"),
            ));
        }
        if self.write_off_after.is_none() && self.accept_time.is_none() {
            return Err(FieldError::new(
                "spec.recovery",
                "give writeOffAfter or acceptTime",
            ));
        }
        let accept_time = self.accept_time.as_deref().map(|text| {
            parse_rfc3339(text).ok_or_else(|| {
                FieldError::new(
                    "spec.recovery.acceptTime",
                    format_args!("{text:?} is not a time like 2099-01-01T00:00:00Z"),
                )
            })
        });
        Ok(Recovery {
            write_off_after: self.write_off_after,
            accept_time: accept_time.transpose()?,
            reason: self.reason.clone(),
        })
    }
}
