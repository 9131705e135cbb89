//! [`Outputs`]: what the programs of pods wrote, line by line, for their logs. Bounded: of a program that writes more,
//! the end is kept, and of many programs, the output of those that began last.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// The most bytes that are kept of one program.
const MOST_OF_ONE: usize = 1 << 20;
/// The most bytes that are kept of all programs.
const MOST_OF_ALL: usize = 64 << 20;
/// The most bytes of a line; a longer one is kept as several, as container runtimes do.
const MOST_OF_LINE: usize = 16 << 10;
/// What a line takes beside its bytes, about.
const LINE_OVERHEAD: usize = 64;

/// A line that a program wrote, with its line break if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) bytes: Arc<[u8]>,
}

/// The outputs of all programs, by the UIDs of their pods.
#[derive(Debug, Clone, Default)]
pub(super) struct Outputs(Arc<Mutex<ByPod>>);

#[derive(Debug, Default)]
struct ByPod {
    outputs: HashMap<String, Arc<Output>>,
    /// In the order in which they began.
    order: VecDeque<String>,
}

impl Outputs {
    /// A new, empty output, in place of one that the pod may have.
    pub(super) fn begin(&self, uid: &str) -> Arc<Output> {
        let mut by_pod = self.lock();
        by_pod.forget(uid);
        let output = Arc::new(Output::default());
        by_pod.outputs.insert(uid.to_owned(), Arc::clone(&output));
        by_pod.order.push_back(uid.to_owned());
        let mut kept: usize = by_pod.outputs.values().map(|output| output.size()).sum();
        while kept > MOST_OF_ALL
            && let Some(oldest) = by_pod.order.front().cloned()
        {
            kept -= by_pod.outputs.get(&oldest).map_or(0, |output| output.size());
            by_pod.forget(&oldest);
        }
        output
    }

    /// What a pod's program wrote; `None` if it has none, or if that was too long ago.
    pub(super) fn of(&self, uid: &str) -> Option<Arc<Output>> {
        self.lock().outputs.get(uid).cloned()
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().forget(uid);
    }

    /// Forgets the outputs of all pods but these.
    pub(super) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        let mut by_pod = self.lock();
        by_pod.outputs.retain(|uid, _| is_kept(uid));
        by_pod.order.retain(|uid| is_kept(uid));
    }

    fn lock(&self) -> MutexGuard<'_, ByPod> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ByPod {
    fn forget(&mut self, uid: &str) {
        if self.outputs.remove(uid).is_some() {
            self.order.retain(|other| other != uid);
        }
    }
}

/// What one program wrote.
#[derive(Debug, Default)]
pub(super) struct Output {
    lines: Mutex<Lines>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    size: usize,
    /// How many lines were dropped before the first that is kept.
    dropped: usize,
    is_complete: bool,
}

impl Output {
    /// Reads a program's pipe to its end.
    pub(super) fn read(&self, mut pipe: impl Read) {
        let mut line = Vec::new();
        let mut chunk = [0; 8192];
        loop {
            let read = match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => chunk.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for part in read.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.ends_with(b"\n") || line.len() >= MOST_OF_LINE {
                    self.append(&line);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.append(&line);
        }
    }

    fn append(&self, bytes: &[u8]) {
        let line = Line {
            at: Timestamp::now(),
            bytes: bytes.into(),
        };
        {
            let mut lines = self.lock();
            lines.size += line.bytes.len() + LINE_OVERHEAD;
            lines.kept.push_back(line);
            while lines.size > MOST_OF_ONE
                && let Some(first) = lines.kept.pop_front()
            {
                lines.size -= first.bytes.len() + LINE_OVERHEAD;
                lines.dropped += 1;
            }
        }
        self.changes.send_replace(());
    }

    /// Nothing more will be written.
    pub(super) fn complete(&self) {
        self.lock().is_complete = true;
        self.changes.send_replace(());
    }

    /// The lines from number `from` on, the number of the line after them, and whether no more will follow.
    pub(super) fn lines_from(&self, from: usize) -> (Vec<Line>, usize, bool) {
        let lines = self.lock();
        let skipped = from.saturating_sub(lines.dropped);
        let found = lines.kept.iter().skip(skipped).cloned().collect();
        (found, lines.dropped + lines.kept.len(), lines.is_complete)
    }

    /// Is notified of each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The last bytes that were written, at most `most` of them.
    pub(super) fn tail(&self, most: usize) -> Vec<u8> {
        let lines = self.lock();
        let mut tail = Vec::new();
        let mut first = lines.kept.len();
        let mut size = 0;
        while first > 0 && size < most {
            first -= 1;
            size += lines.kept.get(first).map_or(0, |line| line.bytes.len());
        }
        for line in lines.kept.iter().skip(first) {
            tail.extend_from_slice(&line.bytes);
        }
        tail.split_off(tail.len().saturating_sub(most))
    }

    fn size(&self) -> usize {
        self.lock().size
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_writes_much_keeps_its_end() {
        let output = Output::default();
        let mut written = Vec::new();
        for number in 0..100_000 {
            written.extend(format!("line {number}\n").into_bytes());
        }
        output.read(written.as_slice());
        let (lines, next, _) = output.lines_from(0);
        assert_eq!(next, 100_000);
        assert!(output.size() <= MOST_OF_ONE && lines.len() < 100_000);
        assert_eq!(&*lines.last().unwrap().bytes, b"line 99999\n");
        assert_eq!(output.lines_from(99_999).0.len(), 1);
        assert_eq!(output.tail(13), b"8\nline 99999\n");
    }

    #[test]
    fn a_line_without_end_is_kept_in_pieces() {
        let output = Output::default();
        output.read(vec![b'x'; 100_000].as_slice());
        let (lines, ..) = output.lines_from(0);
        let longest = lines.iter().map(|line| line.bytes.len()).max();
        assert!(lines.len() > 1 && longest < Some(MOST_OF_LINE + 8192));
        assert_eq!(lines.iter().map(|line| line.bytes.len()).sum::<usize>(), 100_000);
    }

    #[test]
    fn many_programs_keep_the_output_of_the_last() {
        let outputs = Outputs::default();
        for number in 0..80 {
            let output = outputs.begin(&number.to_string());
            output.read(vec![b'x'; MOST_OF_ONE].as_slice());
        }
        assert!(outputs.of("0").is_none() && outputs.of("79").is_some());
        outputs.retain(|uid| uid != "79");
        assert!(outputs.of("79").is_none());
    }
}
