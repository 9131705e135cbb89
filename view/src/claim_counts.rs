//! How many claims of each namespace there are on each dataset.

use papaya::{HashMap, Operation};
use privatekube_api::{ClaimPhase, DatasetKey};

use crate::ClaimView;

/// The claims of one namespace on one dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimCount {
    /// How many are in the view.
    pub all: u64,
    /// How many of them wait.
    pub waiting: u64,
    /// How many have come into the view since the first of those that are there.
    pub seen: u64,
}

/// The counts by dataset and namespace. A pair without claims isn't kept.
#[derive(Debug, Default)]
pub(crate) struct ClaimCounts(HashMap<(DatasetKey, String), ClaimCount>);

impl ClaimCounts {
    pub(crate) fn of(&self, dataset: &DatasetKey, namespace: &str) -> ClaimCount {
        let key = (dataset.clone(), namespace.to_owned());
        self.0.pin().get(&key).copied().unwrap_or_default()
    }

    /// Counts that a claim came into the view, changed or left it: `before` and `after` are what the view had and has.
    pub(crate) fn change(&self, before: Option<&ClaimView>, after: Option<&ClaimView>) {
        let waits = |claim: Option<&ClaimView>| claim.is_some_and(|claim| claim.phase == ClaimPhase::Waiting);
        let (waited, waits) = (waits(before), waits(after));
        if before.is_some() == after.is_some() && waited == waits {
            return;
        }
        let Some(claim) = after.or(before) else {
            return;
        };
        let Some(subject) = claim.subject() else {
            return;
        };
        let key = ((*claim.dataset).clone(), subject.namespace);
        let (came, left) = (before.is_none(), after.is_none());
        self.0.pin().compute(key, |entry| {
            let before = entry.map(|(_, count)| *count).unwrap_or_default();
            let count = ClaimCount {
                all: (before.all + u64::from(came)).saturating_sub(u64::from(left)),
                waiting: (before.waiting + u64::from(waits)).saturating_sub(u64::from(waited)),
                seen: before.seen + u64::from(came),
            };
            if count.all == 0 {
                Operation::Remove::<_, ()>
            } else {
                Operation::Insert(count)
            }
        });
    }

    /// Forgets all counts of a dataset.
    pub(crate) fn forget(&self, dataset: &DatasetKey) {
        self.0.pin().retain(|(of, _), _| of != dataset);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privatekube_api::{ClaimReason, Subject, SubjectKind, meta_time};
    use privatekube_policy::{ClaimId, Time};

    use super::*;
    use crate::{View, claim::Known};

    fn claim(namespace: &str, name: &str, phase: ClaimPhase) -> (ClaimId, ClaimView) {
        let subject = Subject {
            kind: SubjectKind::Claim,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
        };
        let view = ClaimView {
            id: subject.id(),
            dataset: Arc::new(dataset()),
            phase,
            reason: ClaimReason::Undecided,
            message: "".into(),
            known: Known::NotInLedger(meta_time(Time::from_micros(0))),
        };
        (subject.id(), view)
    }

    fn dataset() -> DatasetKey {
        DatasetKey {
            namespace: "data".to_owned(),
            name: "taxi".to_owned(),
        }
    }

    #[test]
    fn claims_are_counted_for_each_namespace_and_forgotten_with_the_last_one() {
        let view = View::default();
        let put = |namespace, name, phase| {
            view.put_claim(claim(namespace, name, phase).1);
        };
        let count = |namespace| {
            let count = view.claim_count(&dataset(), namespace);
            (count.all, count.waiting, count.seen)
        };
        put("team", "a", ClaimPhase::Waiting);
        put("team", "a", ClaimPhase::Waiting);
        put("team", "b", ClaimPhase::Waiting);
        put("other", "c", ClaimPhase::Denied);
        assert_eq!((count("team"), count("other")), ((2, 2, 2), (1, 0, 1)));
        put("team", "a", ClaimPhase::Granted);
        assert_eq!(count("team"), (2, 1, 2));
        view.forget_claim(&claim("team", "b", ClaimPhase::Waiting).0);
        view.forget_claim(&claim("team", "b", ClaimPhase::Waiting).0);
        assert_eq!(count("team"), (1, 0, 2));
        view.forget_claim(&claim("team", "a", ClaimPhase::Waiting).0);
        assert_eq!(count("team"), (0, 0, 0));
        view.forget_all_of(&dataset());
        assert_eq!(count("other"), (0, 0, 0));
    }
}
