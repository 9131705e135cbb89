//! Who asked what, as long as it may have to be matched with blocks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use privatekube_api::ClaimRequest;
use privatekube_policy::ClaimId;

use crate::subject::Subject;

/// Who asked what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) subject: Subject,
    pub(super) request: Arc<ClaimRequest>,
}

/// What was asked, in the order in which it came, each once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    in_order: BTreeMap<u64, Asked>,
    places: HashMap<ClaimId, u64>,
    next: u64,
}

impl Queue {
    /// Puts it last, unless it is there.
    pub(super) fn push(&mut self, asked: Asked) {
        let id = asked.subject.id();
        if self.places.contains_key(&id) {
            return;
        }
        self.places.insert(id, self.next);
        self.in_order.insert(self.next, asked);
        self.next += 1;
    }

    pub(super) fn contains(&self, claim: &ClaimId) -> bool {
        self.places.contains_key(claim)
    }

    pub(super) fn remove(&mut self, claim: &ClaimId) -> Option<Asked> {
        let place = self.places.remove(claim)?;
        self.in_order.remove(&place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Asked> {
        self.in_order.values()
    }

    /// Takes all that is there.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Asked> + use<> {
        self.places.clear();
        std::mem::take(&mut self.in_order).into_values()
    }
}

#[cfg(test)]
mod tests {
    use privatekube_api::PrivacyBudgetClaim;
    use serde_json::json;

    use super::*;

    fn asked(name: &str) -> Asked {
        let object = json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivacyBudgetClaim",
            "metadata": {"namespace": "data", "name": name, "uid": name},
            "spec": {"dataset": "taxi", "budget": {"epsilon": 1, "delta": 0}},
        });
        let object: PrivacyBudgetClaim = serde_json::from_value(object).unwrap();
        Asked {
            subject: Subject::shown_by(&object).unwrap(),
            request: Arc::new(object.request().unwrap()),
        }
    }

    #[test]
    fn each_is_there_once_and_in_the_order_in_which_it_came() {
        let mut queue = Queue::default();
        for name in ["c", "a", "c", "b", "a"] {
            queue.push(asked(name));
        }
        let gone = asked("a").subject.id();
        assert_eq!(queue.remove(&gone).unwrap().subject.name, "a");
        assert!(!queue.contains(&gone) && queue.remove(&gone).is_none());
        queue.push(asked("a"));
        let names: Vec<String> = queue.take().map(|asked| asked.subject.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(!queue.contains(&gone) && queue.iter().next().is_none());
    }
}
