//! Under which name the API server keeps what this process writes, in `metadata.managedFields`. Without one it is `unknown`, which
//! tells nobody whose a field is, and is the name of every other program that states none.

use kube::api::{PatchParams, PostParams};

/// The extender's name as a field manager.
pub const FIELD_MANAGER: &str = "privatekube-extender";

/// The parameters with which the extender creates objects and subresources.
#[must_use]
pub fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// The parameters with which the extender patches objects and their statuses. It never applies (server-side), so that it takes
/// over only fields whose values it changes.
#[must_use]
pub fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
