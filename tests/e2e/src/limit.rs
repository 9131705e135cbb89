//! An end for a test that waits for something that nobody thought could fail to come.

use std::{
    io::{Write as _, stderr},
    process::exit,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// Many times what the longest test takes on a slow machine.
const LONGEST: Duration = Duration::from_secs(900);

/// Ends all tests when one goes on for ever, and names that one. Nothing happens once this is dropped.
pub(crate) struct Limit {
    _ends: Sender<()>,
}

impl Limit {
    pub(crate) fn start() -> Self {
        let (ends, ended) = channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                // What is printed in the usual way is kept for the test's own end, which won't come. The processes of
                // every cluster go with this one.
                let _ = writeln!(
                    stderr(),
                    "\n{test} has not ended within {LONGEST:?}: all tests end here"
                );
                exit(1);
            }
        });
        Self { _ends: ends }
    }
}
