//! Time on the processor, which what else runs on the machine hardly changes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// For how long this thread has run.
pub(crate) fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap_or(0));
    seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or(0))
}
