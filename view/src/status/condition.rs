//! Conditions, as the statuses of objects have them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;

/// A condition that has been true, or false, since `at`.
#[must_use]
pub fn condition(type_: &str, is_true: bool, reason: &str, message: &str, at: v1::Time) -> v1::Condition {
    v1::Condition {
        type_: type_.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: at,
        observed_generation: None,
    }
}
