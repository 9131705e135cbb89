//! A round that is durable, and so can be told.

use std::ops::Range;

use privatekube_policy::{Record, Time};

use crate::{Hash, Head};

/// The place of an event among those of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub(crate) usize);

/// A round that is durable: what it decided is true and can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The sequence number of its entry; that of the last entry if the round had nothing to write.
    pub sequence: u64,
    /// That entry's hash.
    pub hash: Hash,
    /// That entry's time.
    pub time: Time,
    decisions: Decisions,
}

/// The records of a round, and which of them belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decisions {
    pub(crate) records: Vec<Record>,
    /// How many of them the clock decided, which are the first.
    clock: usize,
    /// Where each event's records end.
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
    pub(crate) fn push(&mut self, records: Vec<Record>) -> Place {
        self.records.extend(records);
        self.ends.push(self.records.len());
        Place(self.ends.len() - 1)
    }

    fn range(&self, place: Place) -> Range<usize> {
        let Some(end) = self.ends.get(place.0) else {
            return 0..0;
        };
        let before = place.0.checked_sub(1).and_then(|before| self.ends.get(before));
        before.copied().unwrap_or(self.clock)..*end
    }
}

impl Committed {
    pub(crate) const fn new(head: Head, decisions: Decisions) -> Self {
        let Head { sequence, hash, time } = head;
        Self {
            sequence,
            hash,
            time,
            decisions,
        }
    }

    /// What the clock decided, before any event.
    #[must_use]
    pub fn clock(&self) -> &[Record] {
        &self.decisions.records[..self.decisions.clock]
    }

    /// What followed from the event at `place` of this very round; nothing if the round has no such place.
    #[must_use]
    pub fn of(&self, place: Place) -> &[Record] {
        &self.decisions.records[self.decisions.range(place)]
    }

    /// All that was decided, in order, with what the entry [omits](crate::Omitted).
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.decisions.records
    }

    /// How many events the round has; none if it was not written.
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
        let places = [
            decisions.push(vec![record("b"), record("c")]),
            decisions.push(vec![]),
            decisions.push(vec![record("d")]),
        ];
        let committed = Committed::new(Head::ORIGIN, decisions);
        assert_eq!(committed.clock(), [record("a")]);
        assert_eq!(committed.of(places[0]), [record("b"), record("c")]);
        assert_eq!(committed.of(places[1]), []);
        assert_eq!(committed.of(places[2]), [record("d")]);
        assert_eq!(committed.of(Place(3)), []);
        assert_eq!(committed.records().len(), 4);
        assert_eq!(committed.events(), 3);
    }
}
