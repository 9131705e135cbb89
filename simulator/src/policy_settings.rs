//! What a user chooses about the policy: its short name and its numbers, as arguments and traces write them.
//!
//! [`PolicySettings`] are the simulator's own. [`PolicySettings::dataset_rules`] checks them and turns them
//! into [`DatasetRules`], which the engine takes; those live in `privatekube-policy`. Begin reading at
//! [`PolicyChoice`].

use std::{fmt, str::FromStr};

use privatekube_policy::{Composition, DatasetRules, DatasetRulesError, Policy, Revision, Unlocking};
use thiserror::Error;

use crate::{TooLong, span};

/// A policy and how blocks unlock, as a short name: `fcfs`, `dpf-n`, `rr-t`, `dpack`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyChoice {
    /// The order in which waiting tasks are granted.
    pub kind: PolicyKind,
    /// How blocks unlock; `None` means as the experiment says.
    pub unlock: Option<Unlock>,
}

/// The order in which waiting tasks are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// `fcfs`: first come, first served. A task that doesn't fit when it arrives is denied. All budget is
    /// unlocked from the start.
    Fcfs,
    /// `fcfs-wait`: first come, first served. A task that doesn't fit waits.
    FcfsWait,
    /// `dpf`: the smallest dominant share first.
    Dpf,
    /// `rr`: round robin. Unlocked budget is divided among all waiting tasks.
    RoundRobin,
    /// `dpack`: the most efficient task first.
    Dpack,
    /// `blend`: a part of the budget by DPF, the rest by DPack.
    Blend,
    /// `optimum`: not a policy of the engine, but the largest set of tasks that any policy could grant if all
    /// arrive at once.
    Optimum,
}

impl PolicyKind {
    /// Whether blocks unlock gradually. Under the other policies all budget is unlocked from the start.
    pub(crate) const fn unlocks_later(self) -> bool {
        !matches!(self, Self::Fcfs | Self::Optimum)
    }
}

/// How a block unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// `-n`: by arrivals of tasks.
    Arrivals,
    /// `-t`: over time.
    Lifetime,
}

/// The error for a text that names no policy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no policy: accepted are fcfs, and fcfs-wait, dpf, rr, dpack and blend, each with -n (unlocking by arrivals) or -t (over time) or, \
     where the experiment unlocks otherwise, without; and optimum in dpack-orders and dpack-blocks"
)]
pub struct PolicyError(String);

const KINDS: [(&str, PolicyKind); 7] = [
    ("fcfs", PolicyKind::Fcfs),
    ("fcfs-wait", PolicyKind::FcfsWait),
    ("dpf", PolicyKind::Dpf),
    ("rr", PolicyKind::RoundRobin),
    ("dpack", PolicyKind::Dpack),
    ("blend", PolicyKind::Blend),
    ("optimum", PolicyKind::Optimum),
];

impl FromStr for PolicyChoice {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let name = text.to_ascii_lowercase().replace('_', "-");
        let (kind, unlock) = match (name.strip_suffix("-n"), name.strip_suffix("-t")) {
            (Some(kind), _) => (kind, Some(Unlock::Arrivals)),
            (_, Some(kind)) => (kind, Some(Unlock::Lifetime)),
            _ => (name.as_str(), None),
        };
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        match known {
            // These policies have all budget unlocked from the start.
            Some((_, PolicyKind::Fcfs | PolicyKind::Optimum)) if unlock.is_some() => {
                Err(PolicyError(text.to_owned()))
            }
            Some((_, kind)) => Ok(Self { kind: *kind, unlock }),
            None => Err(PolicyError(text.to_owned())),
        }
    }
}

impl fmt::Display for PolicyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS
            .iter()
            .find(|(_, kind)| *kind == self.kind)
            .map_or("", |(name, _)| name);
        let suffix = match self.unlock {
            Some(Unlock::Arrivals) => "-n",
            Some(Unlock::Lifetime) => "-t",
            None => "",
        };
        write!(f, "{name}{suffix}")
    }
}

/// A policy with its numbers, as arguments and traces give them: not yet checked, and with seconds instead of
/// spans.
///
/// Not to be confused with [`DatasetRules`], which [`dataset_rules`](Self::dataset_rules) makes of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicySettings {
    /// The policy and how blocks unlock.
    pub policy: PolicyChoice,
    /// `-n`: number of arrivals that unlock a block.
    pub n: Option<u32>,
    /// `-t`: seconds in which a block unlocks.
    pub lifetime: Option<f64>,
    /// `-t`: seconds between two steps of unlocking. Required with `-t`, ignored otherwise.
    pub tick: Option<f64>,
    /// DPack and blend: number of grants after which costs are recomputed.
    pub recompute_after: u32,
    /// Blend: the part of the budget that DPF allocates, in thousandths.
    pub fairness: u16,
    /// The revision of the rules. The papers' experiments and traces have the first, under which an arrival that is
    /// refused unlocks budget all the same, and what round robin has gathered for a task that ends is lost.
    pub revision: Revision,
}

/// Why settings make no [`DatasetRules`], with the names that traces and arguments use.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PolicySettingsError {
    /// The optimum is not a policy of the engine.
    #[error(
        "policy optimum is the most that could be granted of tasks that are all there at once: it is accepted in \
         experiments dpack-orders and dpack-blocks only"
    )]
    Optimum,
    /// A number is missing.
    #[error(
        "policy {0} unlocks by arrivals: it needs n, the number of arrivals that unlock a block, 1 or more"
    )]
    NoN(PolicyChoice),
    /// A number is missing.
    #[error("policy {0} unlocks over time: it needs a lifetime in seconds")]
    NoLifetime(PolicyChoice),
    /// A number is missing.
    #[error("policy {0} unlocks in steps: it needs a tick, the seconds between two of them")]
    NoTick(PolicyChoice),
    /// A number outside the engine's limits.
    #[error("{field} is {given}: it must be {accepted}")]
    Number {
        /// The name of the setting.
        field: &'static str,
        /// The given value, with its unit.
        given: String,
        /// The accepted values.
        accepted: &'static str,
    },
    /// A number that the policy does not use.
    #[error(
        "n is {n}, but policy {policy} does not unlock by arrivals: leave n out, or choose a policy with -n"
    )]
    UselessN {
        /// The given value.
        n: u32,
        /// The policy and how blocks unlock.
        policy: PolicyChoice,
    },
    /// A number that the policy does not use.
    #[error(
        "lifetime is {lifetime}, but policy {policy} does not unlock over time: leave lifetime out, or choose a policy with -t"
    )]
    UselessLifetime {
        /// The given value.
        lifetime: f64,
        /// The policy and how blocks unlock.
        policy: PolicyChoice,
    },
    /// A time that can't be simulated.
    #[error("{field}: {error}")]
    Time {
        /// The name of the setting.
        field: &'static str,
        /// The reason.
        error: TooLong,
    },
    /// The engine refuses the combination.
    #[error(transparent)]
    DatasetRules(DatasetRulesError),
}

impl PolicySettings {
    /// Checks the settings and returns the rules that an engine is made with. Under a policy that names no
    /// unlocking, everything is unlocked at once.
    pub fn dataset_rules(&self, composition: Composition) -> Result<DatasetRules, PolicySettingsError> {
        let policy = self.policy;
        let recompute_after = self.recompute_after;
        let decides = match policy.kind {
            PolicyKind::Fcfs => Policy::Fcfs { refusing: true },
            PolicyKind::FcfsWait => Policy::Fcfs { refusing: false },
            PolicyKind::Dpf => Policy::Dpf,
            PolicyKind::RoundRobin => Policy::RoundRobin,
            PolicyKind::Dpack => Policy::Dpack { recompute_after },
            PolicyKind::Blend => Policy::Blend {
                fairness: self.fairness,
                recompute_after,
            },
            PolicyKind::Optimum => return Err(PolicySettingsError::Optimum),
        };
        let unlocking = match (policy.unlock, self.n, self.lifetime) {
            (Some(Unlock::Arrivals), Some(n), None) => Unlocking::Arrivals(n),
            (Some(Unlock::Arrivals), None, _) => return Err(PolicySettingsError::NoN(policy)),
            (Some(Unlock::Lifetime), None, Some(lifetime)) => Unlocking::Lifetime {
                lifetime: span(lifetime).map_err(|error| PolicySettingsError::Time {
                    field: "lifetime",
                    error,
                })?,
                tick: span(self.tick.ok_or(PolicySettingsError::NoTick(policy))?)
                    .map_err(|error| PolicySettingsError::Time { field: "tick", error })?,
            },
            (Some(Unlock::Lifetime), _, None) => return Err(PolicySettingsError::NoLifetime(policy)),
            (None, None, None) => Unlocking::Immediate,
            (Some(Unlock::Lifetime) | None, Some(n), _) => {
                return Err(PolicySettingsError::UselessN { n, policy });
            }
            (Some(Unlock::Arrivals) | None, _, Some(lifetime)) => {
                return Err(PolicySettingsError::UselessLifetime { lifetime, policy });
            }
        };
        let dataset_rules = DatasetRules {
            policy: decides,
            unlocking,
            composition,
            revision: self.revision,
        };
        dataset_rules.check().map_err(|error| self.refused(error))?;
        Ok(dataset_rules)
    }

    /// Translates the engine's error, which uses the field names of Kubernetes resources, into names of
    /// settings.
    fn refused(&self, error: DatasetRulesError) -> PolicySettingsError {
        let tick = || format!("{} seconds", self.tick.unwrap_or_default());
        let (field, given, accepted) = match error {
            DatasetRulesError::NoArrivals => ("n", "0".to_owned(), "at least 1"),
            DatasetRulesError::NoTick => ("tick", tick(), "longer"),
            DatasetRulesError::TooManyTicks => (
                "tick",
                tick(),
                "so long that a lifetime has at most 1000000 ticks under round robin",
            ),
            DatasetRulesError::NoRecomputation => ("recompute_after", "0".to_owned(), "at least 1"),
            DatasetRulesError::TooFair(thousandths) => {
                ("fairness", format!("{thousandths} thousandths"), "at most 1000")
            }
            DatasetRulesError::RoundRobinRenyi => return PolicySettingsError::DatasetRules(error),
        };
        PolicySettingsError::Number {
            field,
            given,
            accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "fcfs",
            "fcfs-wait",
            "fcfs-wait-n",
            "dpf",
            "dpf-n",
            "dpf-t",
            "rr-n",
            "dpack-t",
            "blend-n",
            "optimum",
        ] {
            assert_eq!(name.parse::<PolicyChoice>().unwrap().to_string(), name);
        }
        assert_eq!("DPF_N".parse::<PolicyChoice>().unwrap().to_string(), "dpf-n");
    }

    #[test]
    fn an_unknown_policy_is_refused_with_the_known_ones() {
        for wrong in ["", "dpf-x", "lottery", "-n", "fcfs-n", "optimum-t"] {
            let error = wrong.parse::<PolicyChoice>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("dpack"),
                "{error}"
            );
        }
    }

    fn dataset_rules(
        policy: &str,
        n: Option<u32>,
        lifetime: Option<f64>,
    ) -> Result<DatasetRules, PolicySettingsError> {
        let settings = PolicySettings {
            policy: policy.parse().unwrap(),
            n,
            lifetime,
            tick: Some(0.5),
            recompute_after: 1,
            fairness: 500,
            revision: Revision::CURRENT,
        };
        settings.dataset_rules(Composition::Basic)
    }

    #[test]
    fn missing_and_useless_numbers_are_named() {
        for (policy, n, lifetime, says) in [
            ("dpf-n", None, None, "needs n"),
            ("dpf-t", None, None, "needs a lifetime"),
            ("dpf-t", Some(3), None, "needs a lifetime"),
            ("dpf-t", Some(3), Some(4.0), "n is 3"),
            ("dpf-n", Some(3), Some(4.0), "lifetime is 4"),
            ("fcfs", Some(3), None, "n is 3"),
            ("fcfs", None, Some(3.0), "lifetime is 3"),
            (
                "optimum",
                None,
                None,
                "experiments dpack-orders and dpack-blocks only",
            ),
            ("dpf-n", Some(0), None, "0"),
            ("dpf-t", None, Some(-1.0), "lifetime: -1 seconds"),
        ] {
            let error = dataset_rules(policy, n, lifetime).unwrap_err().to_string();
            assert!(error.contains(says), "{policy}: {error}");
        }
        assert_eq!(
            dataset_rules("fcfs", None, None).unwrap().unlocking,
            Unlocking::Immediate
        );
        assert_eq!(
            dataset_rules("rr-n", Some(7), None).unwrap().unlocking,
            Unlocking::Arrivals(7)
        );
    }
}
