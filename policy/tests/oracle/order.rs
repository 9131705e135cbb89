//! The order of claims: exact shares, compared as fractions.

use std::cmp::Ordering;

use privatekube_policy::{ClaimId, Composition, Policy, Revision};

use super::{Oracle, waits};

impl Oracle {
    /// The waiting claims in the policy's order.
    pub(super) fn all_waiting(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = (0..self.claims.len())
            .filter(|at| waits(&self.claims[*at]))
            .collect();
        waiting.sort_by(|one, other| self.compare(*one, *other));
        waiting
    }

    /// How many waiting claims go before one, if all fit.
    pub(crate) fn ahead(&self, name: &ClaimId) -> usize {
        let order = match self.rules.policy {
            Policy::Dpack { .. } => self.in_order_of_prices(),
            _ => self.all_waiting(),
        };
        let mut names = order.iter().map(|at| &self.claims[*at].arrival.claim);
        names.position(|claim| claim == name).unwrap()
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        let (first, second) = (&self.claims[one].arrival, &self.claims[other].arrival);
        if first.priority != second.priority {
            return second.priority.cmp(&first.priority);
        }
        if matches!(self.rules.policy, Policy::Fcfs { .. }) {
            return one.cmp(&other);
        }
        let (shares, others) = (self.shares(one), self.shares(other));
        for at in 0..shares.len().max(others.len()) {
            match (shares.get(at), others.get(at)) {
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(share), Some(other)) => match compare_fractions(*share, *other) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (None, None) => {}
            }
        }
        one.cmp(&other)
    }

    /// The share of each block over the weight, largest first.
    fn shares(&self, at: usize) -> Vec<(i128, i128)> {
        let mut shares = Vec::new();
        for part in &self.claims[at].parts {
            let capacity = &self.blocks[&part.block].capacity;
            let usable = (0..capacity.len()).filter(|at| capacity[*at] > 0);
            let weight = i128::from(self.claims[at].arrival.weight.get());
            let fractions = usable.map(|at| (part.asked[at], capacity[at] * weight));
            let by_fraction = |one: &(i128, i128), other: &(i128, i128)| compare_fractions(*one, *other);
            let at_smallest = self.rules.revision == Revision::Third
                && matches!(self.rules.composition, Composition::Renyi(_));
            shares.extend(if at_smallest {
                fractions.min_by(by_fraction)
            } else {
                fractions.max_by(by_fraction)
            });
        }
        shares.sort_by(|one, other| compare_fractions(*other, *one));
        shares
    }
}

/// Compares two fractions by their whole parts, then by the remainders: without a product, which could be too
/// large. None is negative.
pub(super) fn compare_fractions(one: (i128, i128), other: (i128, i128)) -> Ordering {
    let wholes = (one.0 / one.1).cmp(&(other.0 / other.1));
    match (wholes, one.0 % one.1, other.0 % other.1) {
        (Ordering::Equal, 0, 0) => Ordering::Equal,
        (Ordering::Equal, 0, _) => Ordering::Less,
        (Ordering::Equal, _, 0) => Ordering::Greater,
        (Ordering::Equal, rest, other_rest) => compare_fractions((other.1, other_rest), (one.1, rest)),
        _ => wholes,
    }
}
