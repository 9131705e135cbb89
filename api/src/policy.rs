//! The policy of a dataset in its spec: its name, and the parameters of some policies in fields of their own.

use kube::KubeSchema;
use privatekube_policy::{Epsilon, Policy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decimal, FieldError, PrivateDatasetSpec};

/// The order in which claims are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyName {
    /// Dominant Private Block Fairness.
    #[default]
    #[serde(rename = "DPF")]
    Dpf,
    /// First come, first served.
    #[serde(rename = "FCFS")]
    Fcfs,
    /// Unlocked budget is divided among the waiting claims.
    RoundRobin,
    /// The claim that costs least for its weight first.
    #[serde(rename = "DPack")]
    Dpack,
    /// A part by DPF, the rest by DPack.
    Blend,
}

/// Parameters of policy FCFS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct FcfsSpec {
    /// Whether a claim that does not fit when it arrives is denied, so that none ever waits for budget. If
    /// absent: false.
    #[serde(default)]
    pub refusing: bool,
}

/// Parameters of policy DPack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DpackSpec {
    /// After how many grants the costs of claims are computed again. 1 grants most claims; a larger number
    /// decides faster when thousands wait. If absent: 1. Example: 100.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub recompute_after: u32,
}

/// Parameters of policy Blend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlendSpec {
    /// The part of the unlocked budget that is granted by DPF; the rest is granted by DPack. Between 0
    /// (DPack) and 1 (DPF), an integer or a decimal in quotes with at most 3 decimals. Example: "0.5".
    pub fairness: Decimal,
    /// After how many of DPack's grants the costs of claims are computed again. 1 grants most claims; a
    /// larger number decides faster when thousands wait. If absent: 1. Example: 100.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub recompute_after: u32,
}

const fn one() -> u32 {
    1
}

/// A thousandth in units of [`Epsilon`], since fairness is parsed as an epsilon.
const THOUSANDTH: i128 = 10_i128.pow(Epsilon::DECIMALS - 3);

impl PolicyName {
    /// The name as a spec has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dpf => "DPF",
            Self::Fcfs => "FCFS",
            Self::RoundRobin => "RoundRobin",
            Self::Dpack => "DPack",
            Self::Blend => "Blend",
        }
    }

    /// Whether the policy uses claims' weights.
    pub(crate) const fn uses_weights(self) -> bool {
        match self {
            Self::Dpf | Self::Dpack | Self::Blend => true,
            Self::Fcfs | Self::RoundRobin => false,
        }
    }
}

impl From<Policy> for PolicyName {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Dpf => Self::Dpf,
            Policy::Fcfs { .. } => Self::Fcfs,
            Policy::RoundRobin => Self::RoundRobin,
            Policy::Dpack { .. } => Self::Dpack,
            Policy::Blend { .. } => Self::Blend,
        }
    }
}

impl DpackSpec {
    fn parse(&self) -> Result<Policy, FieldError> {
        let recompute_after = recomputation("spec.dpack.recomputeAfter", self.recompute_after)?;
        Ok(Policy::Dpack { recompute_after })
    }
}

impl BlendSpec {
    fn parse(&self) -> Result<Policy, FieldError> {
        Ok(Policy::Blend {
            fairness: thousandths("spec.blend.fairness", &self.fairness)?,
            recompute_after: recomputation("spec.blend.recomputeAfter", self.recompute_after)?,
        })
    }
}

impl PrivateDatasetSpec {
    pub(crate) fn policy(&self) -> Result<Policy, FieldError> {
        let parameters = [
            ("fcfs", PolicyName::Fcfs, self.fcfs.is_some()),
            ("dpack", PolicyName::Dpack, self.dpack.is_some()),
            ("blend", PolicyName::Blend, self.blend.is_some()),
        ];
        let foreign = parameters
            .iter()
            .find(|(_, of, given)| *given && *of != self.policy);
        if let Some((field, of, _)) = foreign {
            let (of, policy) = (of.as_str(), self.policy.as_str());
            return Err(FieldError::new(
                format!("spec.{field}"),
                format_args!(
                    "goes with policy {of}, and policy is {policy}: leave it out, or set policy: {of}"
                ),
            ));
        }
        match self.policy {
            PolicyName::Dpf => Ok(Policy::Dpf),
            PolicyName::RoundRobin => Ok(Policy::RoundRobin),
            PolicyName::Fcfs => Ok(Policy::Fcfs {
                refusing: self.fcfs.as_ref().is_some_and(|fcfs| fcfs.refusing),
            }),
            PolicyName::Dpack => self.dpack.as_ref().map_or(
                Ok(Policy::Dpack {
                    recompute_after: one(),
                }),
                DpackSpec::parse,
            ),
            PolicyName::Blend => match &self.blend {
                Some(blend) => blend.parse(),
                None => Err(FieldError::new(
                    "spec.blend",
                    "policy Blend needs the part that goes by DPF: write blend: {fairness: \"0.5\"}",
                )),
            },
        }
    }
}

fn recomputation(field: &str, after: u32) -> Result<u32, FieldError> {
    if after == 0 {
        return Err(FieldError::new(
            field,
            "0 would never work anything out: write 1 or more",
        ));
    }
    Ok(after)
}

/// Parses a number between 0 and 1 to thousandths.
fn thousandths(field: &str, part: &Decimal) -> Result<u16, FieldError> {
    const ACCEPTED: &str = "write a part between 0 and 1 with at most 3 decimals, like \"0.5\"";
    let units = part.epsilon(field)?.units();
    let refusal = |is: &str| FieldError::new(field, format_args!("{:?} {is}: {ACCEPTED}", part.to_string()));
    if units > 1000 * THOUSANDTH {
        return Err(refusal("is above 1"));
    }
    if units % THOUSANDTH != 0 {
        return Err(refusal("has too many digits"));
    }
    u16::try_from(units / THOUSANDTH).map_err(|_| refusal("is above 1"))
}
