//! A committed entry: durable, so its records may be published.

use std::ops::Range;

use privatekube_policy::{Record, Time};

use crate::{Hash, Head};

/// The index of an event among the events of its entry, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventIndex(pub(crate) usize);

/// A committed entry: its records are true and may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry's sequence number; that of the last entry if there was nothing to write.
    pub sequence: u64,
    /// That entry's hash.
    pub hash: Hash,
    /// That entry's time.
    pub time: Time,
    decisions: Decisions,
    bytes: usize,
}

/// The records of an entry, and which event each follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decisions {
    pub(crate) records: Vec<Record>,
    /// How many of them followed from the entry's time alone: they are the first.
    clock: usize,
    /// For each event, the index in `records` after its last record.
    ends: Vec<usize>,
}

impl Decisions {
    pub(crate) fn of_clock(records: Vec<Record>) -> Self {
        Self {
            clock: records.len(),
            records,
            ends: Vec::new(),
        }
    }

    /// Adds the next event's records.
    pub(crate) fn push(&mut self, records: Vec<Record>) -> EventIndex {
        self.records.extend(records);
        self.ends.push(self.records.len());
        EventIndex(self.ends.len() - 1)
    }

    fn range(&self, event: EventIndex) -> Range<usize> {
        let Some(end) = self.ends.get(event.0) else {
            return 0..0;
        };
        // The first event's records begin after the clock's.
        let before = event.0.checked_sub(1).and_then(|before| self.ends.get(before));
        before.copied().unwrap_or(self.clock)..*end
    }
}

impl Committed {
    pub(crate) const fn new(head: Head, decisions: Decisions, bytes: usize) -> Self {
        let Head { sequence, hash, time } = head;
        Self {
            sequence,
            hash,
            time,
            decisions,
            bytes,
        }
    }

    /// The records that followed from the entry's time alone, before any event.
    #[must_use]
    pub fn records_of_clock(&self) -> &[Record] {
        &self.decisions.records[..self.decisions.clock]
    }

    /// The records that followed from one event of this very entry; none if it has no such event.
    #[must_use]
    pub fn records_of(&self, event: EventIndex) -> &[Record] {
        &self.decisions.records[self.decisions.range(event)]
    }

    /// The records that followed from the entry's time alone, and then those of each event, with its index.
    pub fn by_event(&self) -> impl Iterator<Item = (Option<EventIndex>, &[Record])> + Clone {
        let events = (0..self.decisions.ends.len()).map(EventIndex);
        let events = events.map(|event| (Some(event), self.records_of(event)));
        std::iter::once((None, self.records_of_clock())).chain(events)
    }

    /// All records in order, including those that the entry [omits](crate::Omitted).
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.decisions.records
    }

    /// The size of the entry that was written, as JSON, in bytes, to within some dozens; 0 if there was nothing to write,
    /// or if the entry was read.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many events the entry has; 0 if there was nothing to write.
    #[must_use]
    pub fn events(&self) -> usize {
        self.decisions.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_belong_to_the_clock_or_to_one_event() {
        let record = |name: &str| Record::Waits { claim: name.into() };
        let mut decisions = Decisions::of_clock(vec![record("a")]);
        let events = [
            decisions.push(vec![record("b"), record("c")]),
            decisions.push(vec![]),
            decisions.push(vec![record("d")]),
        ];
        let committed = Committed::new(Head::ORIGIN, decisions, 0);
        assert_eq!(committed.records_of_clock(), [record("a")]);
        assert_eq!(committed.records_of(events[0]), [record("b"), record("c")]);
        assert_eq!(committed.records_of(events[1]), []);
        assert_eq!(committed.records_of(events[2]), [record("d")]);
        assert_eq!(committed.records_of(EventIndex(3)), []);
        let by_event: Vec<(Option<EventIndex>, &[Record])> = committed.by_event().collect();
        assert_eq!(by_event.len(), 4);
        assert_eq!(by_event[0], (None, committed.records_of_clock()));
        assert_eq!(by_event[3], (Some(events[2]), committed.records_of(events[2])));
        assert_eq!(committed.records().len(), 4);
        assert_eq!(committed.events(), 3);
    }
}
