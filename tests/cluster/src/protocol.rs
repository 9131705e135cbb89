//! The lines of JSON between a cluster's owner and the process that started it: requests on the owner's
//! standard input, messages on its standard output.

use serde::{Deserialize, Serialize};

use crate::description::Description;
use crate::part::Part;

/// A request to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Stop a part by SIGTERM.
    Stop(Part),
    /// Kill a part by SIGKILL.
    Kill(Part),
    /// Start a part that isn't running, at the ports it had.
    Start(Part),
    /// Start the default scheduler, with or without its extender.
    StartScheduler {
        /// Whether it calls the extender.
        extender: bool,
    },
    /// Start another scheduler, without extender, for pods with this `schedulerName`.
    StartSecondScheduler {
        /// Its name.
        name: String,
    },
}

impl Request {
    /// Whether it decides if the extender runs.
    pub(crate) fn is_of_extender(&self) -> bool {
        matches!(
            self,
            Self::Stop(Part::Extender) | Self::Kill(Part::Extender) | Self::Start(Part::Extender)
        )
    }
}

/// A message of the owner. The first one is `Ready` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The cluster is ready.
    Ready(Box<Description>),
    /// The last request is done.
    Done,
    /// The last request failed; the cluster goes on.
    Refused(String),
    /// The cluster has ended with an error.
    Failed(String),
}
