//! The denial of claims, and its reasons.

use privatekube_policy::{Composition, Denial, Phase, Record, Time};

use super::Oracle;

impl Oracle {
    pub(super) fn can_never_be_granted(&self, at: usize) -> Option<Denial> {
        for part in &self.claims[at].parts {
            let block = &self.blocks[&part.block];
            let left = |at: usize| block.capacity[at] - block.consumed[at];
            let excess = |at: &usize| part.asked[*at] - left(*at);
            let mut coordinates = 0..part.asked.len();
            let coordinate = match self.rules.composition {
                Composition::Basic => coordinates.find(|at| excess(at) > 0),
                Composition::Renyi(_) => {
                    let least = coordinates
                        .filter(|at| block.capacity[*at] > 0)
                        .min_by_key(excess);
                    least.map_or(Some(0), |at| (excess(&at) > 0).then_some(at))
                }
            };
            if let Some(coordinate) = coordinate {
                return Some(Denial::TooLarge {
                    block: part.block.clone(),
                    coordinate: u32::try_from(coordinate).unwrap(),
                    asked: i64::try_from(part.asked[coordinate]).unwrap(),
                    left: i64::try_from(left(coordinate)).unwrap_or(i64::MIN),
                });
            }
        }
        None
    }

    pub(super) fn does_not_fit(&self, at: usize) -> Denial {
        let mut parts = self.claims[at].parts.iter();
        let part = parts.find(|part| !self.fits(part)).unwrap();
        let block = &self.blocks[&part.block];
        let unlocked = block.unlocked();
        let mut coordinates = 0..unlocked.len();
        let missing = |at: &usize| part.asked[*at] - unlocked[*at];
        let coordinate = match self.rules.composition {
            Composition::Basic => coordinates.find(|at| missing(at) > 0),
            Composition::Renyi(_) => coordinates
                .filter(|at| block.capacity[*at] > 0)
                .min_by_key(missing),
        };
        let coordinate = coordinate.unwrap();
        Denial::DoesNotFit {
            block: part.block.clone(),
            coordinate: u32::try_from(coordinate).unwrap(),
            asked: i64::try_from(part.asked[coordinate]).unwrap(),
            unlocked: i64::try_from(unlocked[coordinate]).unwrap_or(i64::MIN),
        }
    }

    pub(super) fn deny(&mut self, at: usize, reason: Denial, records: &mut Vec<Record>) {
        self.end_without_a_grant(at, Phase::Denied);
        records.push(Record::Denied {
            claim: self.claims[at].arrival.claim.clone(),
            reason,
            at: Time::from_micros(self.now),
        });
    }
}
