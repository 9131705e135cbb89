//! A queue of claim requests, each in it once, in the order in which they arrived.

use std::collections::{BTreeMap, HashMap};

use privatekube_policy::ClaimId;

use crate::bookkeeper::ClaimInput;

/// Claim requests by their place in the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    in_order: BTreeMap<u64, ClaimInput>,
    places: HashMap<ClaimId, u64>,
    next: u64,
}

impl Queue {
    /// Adds a request at the end and returns its place, unless its claim is queued.
    pub(super) fn push(&mut self, input: ClaimInput) -> Option<u64> {
        let id = input.subject.id();
        if self.places.contains_key(&id) {
            return None;
        }
        let place = self.next;
        self.places.insert(id, place);
        self.in_order.insert(place, input);
        self.next += 1;
        Some(place)
    }

    pub(super) fn contains(&self, claim: &ClaimId) -> bool {
        self.places.contains_key(claim)
    }

    pub(super) fn get(&self, claim: &ClaimId) -> Option<&ClaimInput> {
        self.in_order.get(self.places.get(claim)?)
    }

    /// The place of a claim's request. A request keeps its place, and no later one gets the same.
    pub(super) fn place(&self, claim: &ClaimId) -> Option<u64> {
        self.places.get(claim).copied()
    }

    /// The request at a place.
    pub(super) fn at(&self, place: u64) -> Option<&ClaimInput> {
        self.in_order.get(&place)
    }

    /// The places of all requests, in order.
    pub(super) fn places(&self) -> impl Iterator<Item = u64> {
        self.in_order.keys().copied()
    }

    pub(super) fn remove(&mut self, claim: &ClaimId) -> Option<ClaimInput> {
        let place = self.places.remove(claim)?;
        self.in_order.remove(&place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ClaimInput> {
        self.in_order.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Takes the first request.
    pub(super) fn pop(&mut self) -> Option<ClaimInput> {
        let (_, input) = self.in_order.pop_first()?;
        self.places.remove(&input.subject.id());
        Some(input)
    }

    /// Takes every request, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = ClaimInput> + use<> {
        self.places.clear();
        std::mem::take(&mut self.in_order).into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privatekube_api::{PrivacyBudgetClaim, Subject};
    use serde_json::json;

    use super::*;

    fn input(name: &str) -> ClaimInput {
        let object = json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivacyBudgetClaim",
            "metadata": {"namespace": "data", "name": name, "uid": name},
            "spec": {"dataset": "taxi", "budget": {"epsilon": 1, "delta": 0}},
        });
        let object: PrivacyBudgetClaim = serde_json::from_value(object).unwrap();
        ClaimInput {
            subject: Subject::of_object(&object).unwrap(),
            request: Arc::new(object.request().unwrap()),
            was_granted: false,
            was_denied: None,
            requester: None,
        }
    }

    #[test]
    fn each_claim_is_queued_once_and_in_the_order_of_arrival() {
        let mut queue = Queue::default();
        for name in ["c", "a", "c", "b", "a"] {
            queue.push(input(name));
        }
        let gone = input("a").subject.id();
        assert_eq!(queue.remove(&gone).unwrap().subject.name, "a");
        assert!(!queue.contains(&gone) && queue.remove(&gone).is_none());
        queue.push(input("a"));
        let names: Vec<String> = queue.take().map(|input| input.subject.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(!queue.contains(&gone) && queue.iter().next().is_none());
    }
}
