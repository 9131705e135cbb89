//! [`Watchdog`]: ends the test process when a test never ends.

use std::{
    io::{Write as _, stderr},
    process::exit,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// Many times what the longest test takes on a slow machine.
const LONGEST: Duration = Duration::from_secs(900);

/// Ends the process, and names the test, when it is not dropped in time.
pub(crate) struct Watchdog {
    _ends: Sender<()>,
}

impl Watchdog {
    pub(crate) fn start() -> Self {
        Self::after(LONGEST)
    }

    /// Ends the process after `longest`.
    pub(crate) fn after(longest: Duration) -> Self {
        let (ends, ended) = channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(longest) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln!`: the test harness captures that until the test ends. The processes of every
                // cluster end with this one.
                let _ = writeln!(
                    stderr(),
                    "\n{test} has not ended within {longest:?}: all tests end here"
                );
                exit(1);
            }
        });
        Self { _ends: ends }
    }
}
