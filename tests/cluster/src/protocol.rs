//! The lines of JSON between a cluster's owner and the process that started it: requests on the owner's standard
//! input, messages on its standard output.

use serde::{Deserialize, Serialize};

use crate::description::Description;
use crate::part::Part;

/// What the owner is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// End a part in an orderly way.
    Stop(Part),
    /// End a part by SIGKILL.
    Kill(Part),
    /// Start a part that isn't running, with the ports it had.
    Start(Part),
    /// Start the default scheduler, with or without its extender.
    StartScheduler {
        /// Whether it calls the extender.
        extender: bool,
    },
    /// Start another scheduler, for pods with this `schedulerName`.
    StartSecondScheduler {
        /// Its name.
        name: String,
    },
}

/// What the owner says. The first line is `Ready` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The cluster is ready.
    Ready(Box<Description>),
    /// The request before is done.
    Done,
    /// The request before could not be done; the cluster lives on.
    Refused(String),
    /// The cluster is over.
    Failed(String),
}
