//! Conditions, as objects' statuses have them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;

/// A condition that is true or not since `at`.
pub(super) fn condition(type_: &str, is: bool, reason: &str, message: &str, at: v1::Time) -> v1::Condition {
    v1::Condition {
        type_: type_.to_owned(),
        status: if is { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: at,
        observed_generation: None,
    }
}
