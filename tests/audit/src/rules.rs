//! A dataset's rules, as its first entry states them: as much as it takes to add up.

use serde_json::Value;

use crate::json::{list, number, variant};

/// How a block's budget unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlocking {
    /// In this many equal steps, one for each recorded arrival.
    Arrivals(u64),
    /// Over a lifetime, in steps of a tick, both in microseconds.
    Lifetime { lifetime: u64, tick: u64 },
    /// At once.
    Immediate,
}

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) unlocking: Unlocking,
    /// The Renyi orders; none with basic composition.
    pub(crate) orders: Option<Vec<String>>,
    /// Whether every claim that fits is granted at once, whatever else waits.
    pub(crate) grants_what_fits: bool,
}

impl Rules {
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let unlocking = match variant(&value["unlocking"])? {
            ("arrivals", steps) => Unlocking::Arrivals(steps.as_u64()?),
            ("lifetime", of) => Unlocking::Lifetime {
                lifetime: number(of, &["lifetime"])?,
                tick: number(of, &["tick"])?.max(1),
            },
            ("immediate", _) => Unlocking::Immediate,
            _ => return None,
        };
        let orders = match variant(&value["composition"])? {
            ("basic", _) => None,
            ("renyi", _) => {
                let orders = list(value, &["composition", "renyi"]).iter();
                Some(
                    orders
                        .map(|order| order.as_str().map(str::to_owned))
                        .collect::<Option<_>>()?,
                )
            }
            _ => return None,
        };
        let (policy, _) = variant(&value["policy"])?;
        Some(Self {
            unlocking,
            orders,
            grants_what_fits: matches!(policy, "dpf" | "fcfs"),
        })
    }

    pub(crate) const fn is_renyi(&self) -> bool {
        self.orders.is_some()
    }

    /// Whether these amounts of a block are sound: with basic composition all of them, with Renyi composition one at an
    /// order at which the block has capacity.
    pub(crate) fn holds(&self, left: &[i128], capacity: &[i128]) -> bool {
        let mut pairs = left.iter().zip(capacity);
        if self.is_renyi() {
            pairs.any(|(left, capacity)| *capacity > 0 && *left >= 0)
        } else {
            pairs.all(|(left, _)| *left >= 0)
        }
    }
}

impl Unlocking {
    /// (steps taken, all steps) of a block that was added at `added`, at the time `now`, after `arrivals` recorded steps.
    pub(crate) fn steps(self, added: u64, now: u64, arrivals: u64) -> (u64, u64) {
        match self {
            Self::Immediate => (1, 1),
            Self::Arrivals(all) => (arrivals.min(all), all.max(1)),
            Self::Lifetime { lifetime, tick } => {
                let first = added.checked_next_multiple_of(tick).unwrap_or(u64::MAX);
                let end = added.saturating_add(lifetime);
                let all = end
                    .checked_sub(first)
                    .map_or(0, |rest| rest / tick)
                    .saturating_add(1);
                let due = now
                    .checked_sub(first)
                    .map_or(0, |since| (since / tick).saturating_add(1));
                (due.min(all), all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_unlocks_at_multiples_of_its_tick() {
        let unlocking = Unlocking::Lifetime {
            lifetime: 100,
            tick: 10,
        };
        let taken = [1004, 1010, 1019, 1020, 1100, 9999].map(|now| unlocking.steps(1004, now, 0));
        assert_eq!(taken, [(0, 10), (1, 10), (1, 10), (2, 10), (10, 10), (10, 10)]);
        assert_eq!(unlocking.steps(1000, 1000, 0), (1, 11));
    }
}
