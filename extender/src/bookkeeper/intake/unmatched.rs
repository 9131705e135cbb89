//! Claims that wait in the ledger for more blocks to match, and the index that tells when they have enough.

use std::collections::BTreeSet;

use privatekube_api::{Candidate, ClaimRequest, DemandRequest, LeftOut, MatchIndex, are_enough};
use privatekube_policy::{ClaimId, Composition, Demand, Event};

use super::{IntakeOutput, Notice, queue::Queue, too_many_to_grant};
use crate::bookkeeper::ClaimInput;

/// The requests of claims that match too few blocks, and the blocks that they are matched with.
#[derive(Debug, Default)]
pub(super) struct Unmatched {
    /// The requests, in the order in which they arrived.
    queue: Queue,
    /// The blocks that are in the ledger, or will be before any match; the requests under their places in the queue.
    index: MatchIndex<u64>,
    /// The places of requests that may have enough blocks now.
    ready: BTreeSet<u64>,
    /// Claims whose matching blocks take too many bytes of an entry.
    oversized: BTreeSet<ClaimId>,
    /// The places of requests that leave out other blocks than before, because their selectors have no answer for them.
    leaving_out: BTreeSet<u64>,
}

impl Unmatched {
    pub(super) fn contains(&self, claim: &ClaimId) -> bool {
        self.queue.contains(claim)
    }

    /// Adds a request whose claim waits for blocks.
    pub(super) fn push(&mut self, input: ClaimInput) {
        let request = input.request.clone();
        let Some(place) = self.queue.push(input) else {
            return;
        };
        if self.index.add_request(place, &request) {
            self.ready.insert(place);
        }
        if self.index.left_out(&request).is_some() {
            self.leaving_out.insert(place);
        }
    }

    /// Removes a claim, because it has its blocks or has ended.
    pub(super) fn remove(&mut self, claim: &ClaimId) {
        if let Some(place) = self.queue.place(claim) {
            self.index.remove_request(&place);
            self.ready.remove(&place);
            self.leaving_out.remove(&place);
            self.queue.remove(claim);
        }
        self.oversized.remove(claim);
    }

    /// Adds a block that claims can be matched with.
    pub(super) fn add_block(&mut self, block: Candidate<'_>) {
        let (name, ready) = (block.name, self.index.add_block(block));
        self.leaving_out.extend(self.index.leaving_out(name));
        for place in ready {
            // With one more block, a claim that matched too many blocks for an entry matches even more, unless it takes only
            // the newest ones.
            let is_stuck = self.queue.at(place).is_some_and(|input| {
                !takes_newest(&input.request) && self.oversized.contains(&input.subject.id())
            });
            if !is_stuck {
                self.ready.insert(place);
            }
        }
    }

    /// Removes a block that claims can't be matched with any more.
    pub(super) fn remove_block(&mut self, name: &str) {
        self.leaving_out.extend(self.index.leaving_out(name));
        self.index.remove_block(name);
        // A claim whose matching blocks took too much of an entry may fit without this one.
        let places = self.oversized.iter().filter_map(|claim| self.queue.place(claim));
        self.ready.extend(places);
    }

    /// The blocks that a request leaves out because its selector has no answer for them.
    pub(super) fn left_out(&self, request: &ClaimRequest) -> Option<LeftOut> {
        self.index.left_out(request)
    }

    /// The demands of a request on the blocks that exist.
    pub(super) fn demands(
        &mut self,
        request: &ClaimRequest,
        composition: &Composition,
    ) -> Result<Vec<Demand>, String> {
        self.index.demands(request, composition)
    }

    /// Adds an event for each claim that has enough blocks now. The claims stay here until the match is committed.
    pub(super) fn take_matches(&mut self, composition: &Composition, out: &mut IntakeOutput) {
        for place in std::mem::take(&mut self.leaving_out) {
            if let Some(input) = self.queue.at(place) {
                let left_out = self.index.left_out(&input.request);
                out.notices.push(Notice::LeftOut(input.subject.id(), left_out));
            }
        }
        for place in std::mem::take(&mut self.ready) {
            let Some(input) = self.queue.at(place) else {
                continue;
            };
            let claim = input.subject.id();
            // An error is impossible: the same request was matched on arrival, and a ledger's composition never changes.
            if let Ok(demands) = self.index.demands(&input.request, composition)
                && are_enough(&demands, input.request.min_blocks())
            {
                if let Some(problem) = too_many_to_grant(&input.subject, &demands) {
                    self.oversized.insert(claim.clone());
                    out.notices.push(Notice::Oversized(claim, problem));
                } else {
                    out.events.push(Event::Match { claim, demands }.into());
                }
            } else if self.oversized.remove(&claim) {
                // A claim that matches too few blocks doesn't match too many.
                out.notices.push(Notice::NotOversized(claim));
            }
        }
    }

    /// Keeps that a claim's matching blocks take too many bytes of an entry.
    pub(super) fn is_too_large(&mut self, claim: ClaimId) {
        self.oversized.insert(claim);
    }

    /// Matches a claim again with the next events, since its match was refused.
    pub(super) fn match_again(&mut self, claim: &ClaimId) {
        let place = self.queue.place(claim);
        self.ready
            .extend(place.filter(|place| self.index.is_enough(place)));
    }

    /// Matches every claim that has enough blocks again with the next events, since earlier matches may be lost.
    pub(super) fn match_all_again(&mut self) {
        let places = self.queue.places();
        self.ready = places.filter(|place| self.index.is_enough(place)).collect();
    }

    /// How often a selector was evaluated for a block.
    pub(super) const fn evaluations(&self) -> u64 {
        self.index.evaluations()
    }
}

/// Whether a request takes a limited number of blocks, the newest.
fn takes_newest(request: &ClaimRequest) -> bool {
    matches!(request.demand, DemandRequest::Selected { max: Some(_), .. })
}

#[cfg(test)]
impl Unmatched {
    /// Whether a claim's matching blocks take too many bytes of an entry.
    pub(super) fn is_oversized(&self, claim: &ClaimId) -> bool {
        self.oversized.contains(claim)
    }
}
