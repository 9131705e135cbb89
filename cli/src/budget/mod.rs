//! `kubectl privacy budget`: what a mechanism costs, what that proves, and which parameter keeps to a target. Needs no
//! cluster.

mod account;
mod solve;
mod varied;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use privatekube_policy::{Conversion, Delta, Epsilon, Mechanism, Order, Orders};

use account::Account;
pub(crate) use account::beyond;
pub(crate) use solve::{Found, Solved, Target, least_noise, most_steps, solve};
pub(crate) use varied::{Direction, Varied};

use crate::{exit::Exit, output::OutputOption};

pub(crate) const HELP: &str = "\
Examples:
  kubectl privacy budget 'dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + laplace(scale=10)' --delta 1e-9
  kubectl privacy budget 'dp-sgd(noise-multiplier=1.1,batch-size=256,steps=1000)' --records 60000 -o json
  kubectl privacy budget 'dp-sgd(sample-rate=0.01,steps=1000)' --target-epsilon 2 --solve noise-multiplier
  kubectl privacy budget 'gaussian(sigma=?) + laplace(scale=10)' --target-epsilon 1 --solve sigma

The costs at the orders are those that the ledger charges. The improved conversion states what one job, fixed beforehand,
proves; blocks are computed with the classical one. docs/mechanisms.md has the mechanisms and both formulas.";

/// Accounts for a mechanism: its Renyi curve and the (epsilon, delta) that it proves, or the parameter that keeps to a target.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Budget {
    /// What the program does, like 'gaussian(sigma=20) + 3*laplace(scale=10)'. With --solve, the parameter to find may be
    /// left out, or written as ?.
    #[arg(value_name = "MECHANISM")]
    mechanism: String,
    /// The delta for which an epsilon is proven.
    #[arg(long, value_name = "DELTA", default_value = "1e-9", value_parser = delta)]
    delta: Delta,
    /// The Renyi orders, separated by commas. Default: those of datasets that name none.
    #[arg(long, value_name = "ORDERS", value_parser = orders)]
    orders: Option<Orders>,
    /// How many records the blocks have together, for a mechanism with a batch-size.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// The most epsilon that the answer may prove.
    #[arg(long, value_name = "EPSILON", requires = "solve", value_parser = epsilon)]
    target_epsilon: Option<Epsilon>,
    /// The parameter to find: the least noise, or the most steps, that keep to --target-epsilon.
    #[arg(long, value_enum, value_name = "PARAMETER", requires = "target_epsilon")]
    solve: Option<Parameter>,
    /// The conversion by which the target is kept.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = By::Improved)]
    conversion: By,
}

/// A parameter that can be solved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Parameter {
    /// Of dp-sgd and tree-aggregation.
    NoiseMultiplier,
    /// Of gaussian.
    Sigma,
    /// Of laplace and subsampled-laplace.
    Scale,
    /// Of dp-sgd and tree-aggregation.
    Steps,
}

/// A conversion of a curve to an epsilon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Canonne, Kamath and Steinke 2020: the smaller one.
    Improved,
    /// Mironov 2017: that of blocks.
    Classical,
}

impl Parameter {
    /// Its name, as mechanisms write it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoiseMultiplier => "noise-multiplier",
            Self::Sigma => "sigma",
            Self::Scale => "scale",
            Self::Steps => "steps",
        }
    }
}

impl From<By> for Conversion {
    fn from(by: By) -> Self {
        match by {
            By::Improved => Self::Improved,
            By::Classical => Self::Basic,
        }
    }
}

fn delta(text: &str) -> Result<Delta, String> {
    let delta: Delta = text
        .parse()
        .map_err(|error: privatekube_policy::DecimalError| error.to_string())?;
    if delta == Delta::ZERO {
        return Err("it must be above 0 and at most 1: for a delta of 0, see the pure epsilon".to_owned());
    }
    Ok(delta)
}

fn epsilon(text: &str) -> Result<Epsilon, String> {
    let epsilon: Epsilon = text
        .parse()
        .map_err(|error: privatekube_policy::DecimalError| error.to_string())?;
    if epsilon == Epsilon::ZERO {
        return Err("it must be above 0".to_owned());
    }
    Ok(epsilon)
}

fn orders(text: &str) -> Result<Orders, String> {
    let orders: Result<Vec<Order>, _> = text.split(',').map(|order| order.trim().parse()).collect();
    orders.and_then(Orders::new).map_err(|error| error.to_string())
}

impl Budget {
    /// Prints the answer.
    pub(crate) fn run(self, output: OutputOption) -> Result<Exit> {
        let orders = self.orders.unwrap_or_default();
        let (Some(parameter), Some(most)) = (self.solve, self.target_epsilon) else {
            let mechanism = on_records(self.mechanism.parse()?, self.records)?;
            output.print(&Account::of(&mechanism, &orders, self.delta)?)?;
            return Ok(Exit::Done);
        };
        let varied = Varied::parse(&self.mechanism, parameter.name())?;
        let target = Target {
            epsilon: most,
            delta: self.delta,
            conversion: self.conversion.into(),
        };
        let solution = solve(&varied, &target, &orders, |mechanism| {
            on_records(mechanism, self.records).map_err(|error| error.to_string())
        })?;
        let mechanism = on_records(solution.mechanism.parse()?, self.records)?;
        let account = Account::of(&mechanism, &orders, self.delta)?;
        output.print(&Solved::new(solution, &target, account))?;
        Ok(Exit::Done)
    }
}

/// The mechanism on so many records; an error if it needs to know how many, and doesn't.
fn on_records(mechanism: Mechanism, records: Option<u64>) -> Result<Mechanism> {
    match records {
        Some(records) => Ok(mechanism.on_records(records)),
        None if mechanism.has_batch_size() => bail!(
            "the mechanism has a batch-size: say by --records how many records the blocks have together, from which the \
             sample rate follows"
        ),
        None => Ok(mechanism),
    }
}
