//! The rules that are tried, as options name them.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result};
use privatekube_policy::{DatasetRules, Policy, Revision, Span, Unlocking};

/// How often the clock unlocks, if nothing else is said: 1000 times in a lifetime.
const DEFAULT_TICKS: u64 = 1000;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PolicyOption(pub(crate) Policy);

impl FromStr for PolicyOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase().replace('_', "-");
        let policy = match name.split_once('=') {
            None => match name.as_str() {
                "dpf" => Policy::Dpf,
                "fcfs" => Policy::Fcfs { refusing: false },
                "fcfs-refusing" => Policy::Fcfs { refusing: true },
                "round-robin" | "roundrobin" | "rr" => Policy::RoundRobin,
                "dpack" => Policy::Dpack { recompute_after: 1 },
                _ => {
                    return Err(
                        "write dpf, fcfs, fcfs-refusing, round-robin, dpack, or blend=PART like blend=0.5"
                            .to_owned(),
                    );
                }
            },
            Some(("blend", part)) => Policy::Blend {
                fairness: thousandths(part)?,
                recompute_after: 1,
            },
            Some((other, _)) => {
                return Err(format!(
                    "{other:?} has no parameter: only blend has, like blend=0.5"
                ));
            }
        };
        Ok(Self(policy))
    }
}

/// A part between 0 and 1 in thousandths.
fn thousandths(part: &str) -> Result<u16, String> {
    let wrong = || format!("{part:?} is no part: write a number between 0 and 1 with at most 3 decimals");
    let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 3 || part.is_empty() {
        return Err(wrong());
    }
    let number = format!("{whole}{fraction:0<3}")
        .parse::<u16>()
        .map_err(|_| wrong())?;
    if number <= 1000 { Ok(number) } else { Err(wrong()) }
}

/// A way of unlocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnlockOption(pub(crate) Unlocking);

impl FromStr for UnlockOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = || {
            format!(
                "{text:?} is no way of unlocking: write arrivals=100, lifetime=30d, lifetime=30d,tick=1h, or immediate"
            )
        };
        let span = |text: &str| -> Result<Span, String> {
            text.parse()
                .map_err(|error: privatekube_policy::SpanError| error.to_string())
        };
        if text == "immediate" {
            return Ok(Self(Unlocking::Immediate));
        }
        let (name, value) = text.split_once('=').ok_or_else(help)?;
        match name {
            "arrivals" => Ok(Self(Unlocking::Arrivals(value.parse().map_err(|_| help())?))),
            "lifetime" => {
                let (lifetime, tick) = match value.split_once(',') {
                    None => (span(value)?, None),
                    Some((lifetime, tick)) => {
                        let tick = tick.trim().strip_prefix("tick=").ok_or_else(help)?;
                        (span(lifetime)?, Some(span(tick)?))
                    }
                };
                let tick = tick.unwrap_or(Span::from_micros((lifetime.micros() / DEFAULT_TICKS).max(1)));
                Ok(Self(Unlocking::Lifetime { lifetime, tick }))
            }
            _ => Err(help()),
        }
    }
}

impl fmt::Display for PolicyOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Policy::Dpf => f.write_str("dpf"),
            Policy::Fcfs { refusing: false } => f.write_str("fcfs"),
            Policy::Fcfs { refusing: true } => f.write_str("fcfs-refusing"),
            Policy::RoundRobin => f.write_str("round-robin"),
            Policy::Dpack { .. } => f.write_str("dpack"),
            Policy::Blend { fairness, .. } => write!(f, "blend={}.{:03}", fairness / 1000, fairness % 1000),
        }
    }
}

impl fmt::Display for UnlockOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unlocking::Arrivals(count) => write!(f, "arrivals={count}"),
            Unlocking::Lifetime { lifetime, tick } => write!(f, "lifetime={lifetime},tick={tick}"),
            Unlocking::Immediate => f.write_str("immediate"),
        }
    }
}

/// The ledger's rules with another policy, another way of unlocking, or both, and a name for them.
pub(super) fn rules(
    own: &DatasetRules,
    policy: Option<&PolicyOption>,
    unlock: Option<&UnlockOption>,
) -> Result<(String, DatasetRules)> {
    let policy = policy.copied().unwrap_or(PolicyOption(own.policy));
    let unlock = unlock.copied().unwrap_or(UnlockOption(own.unlocking));
    let name = format!("{policy}, {unlock}");
    let rules = DatasetRules {
        policy: policy.0,
        unlocking: unlock.0,
        composition: own.composition.clone(),
        // What a new dataset would have.
        revision: Revision::CURRENT,
    };
    rules.check().with_context(|| name.clone())?;
    Ok((name, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_written() {
        for text in [
            "dpf",
            "fcfs",
            "fcfs-refusing",
            "round-robin",
            "dpack",
            "blend=0.500",
        ] {
            assert_eq!(text.parse::<PolicyOption>().unwrap().to_string(), text);
        }
        for text in ["arrivals=100", "lifetime=30d,tick=1h", "immediate"] {
            assert_eq!(text.parse::<UnlockOption>().unwrap().to_string(), text);
        }
        for wrong in ["", "lottery", "dpf=1", "blend=2", "blend=x"] {
            assert!(wrong.parse::<PolicyOption>().is_err(), "{wrong}");
        }
        for wrong in ["", "arrivals", "arrivals=x", "lifetime=1", "lifetime=1d,2h"] {
            assert!(wrong.parse::<UnlockOption>().is_err(), "{wrong}");
        }
    }
}
