//! Differentially private mechanisms by name, and the budget that each one costs.
//!
//! `parse` reads them, `kind` says which formula each has, and `curve` holds the formulas.

mod curve;
mod error;
mod kind;
mod neighbours;
mod parse;
mod sampling;

use std::fmt;

pub use error::{MechanismError, ParameterFault};

use crate::{Budget, Composition, Delta, Epsilon};
use kind::Kind;
use sampling::Sampling;

/// A differentially private mechanism, or a sum or multiple of several.
///
/// Written as one of
/// - `gaussian(sigma=2.1)`, `laplace(scale=10)`, of sensitivity 1
/// - `dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)`,
///   `subsampled-laplace(scale=10,sample-rate=0.01)`, on a Poisson sample; `batch-size=256` in place of the rate draws
///   so many on average, see [`on_records`](Self::on_records)
/// - `tree-aggregation(noise-multiplier=8.8,steps=1600)`, each record in one step
/// - `randomized-response(noise-probability=0.3,categories=10)`, of which another record replaces one; with
///   `neighbours=replace-special`, a record without a value does
/// - `exponential(epsilon=0.5)`, `pure(epsilon=0.5)`, `zcdp(rho=0.05)` with an optional `xi`
/// - `guarantee(epsilon=0.5,delta=1e-9)`, what [`for_guarantee`](Self::for_guarantee) says
///
/// as a sum of these (`a + b`), or as a multiple (`3*laplace(scale=10)`). Amounts of privacy that are stated
/// (`epsilon`, `delta`) are exact decimals; the other parameters are double-precision numbers, as the
/// programs that draw the noise have them.
///
/// # Examples
///
/// ```
/// use privatekube_policy::{Composition, Epsilon, Mechanism, Orders};
///
/// let orders = Orders::new(vec!["2".parse()?, "8".parse()?])?;
/// let mechanism: Mechanism = "gaussian(sigma=10) + 2*laplace(scale=100)".parse()?;
/// let demand = mechanism.demand(&Composition::Renyi(orders))?;
/// assert_eq!(Epsilon::from_units(demand.units()[0].into()).to_string(), "0.010199328385");
///
/// let demand = "3*laplace(scale=10)".parse::<Mechanism>()?.demand(&Composition::Basic)?;
/// assert_eq!(demand.units(), [300_000_000_000, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    /// The terms of the sum: at least one.
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    /// At least 1.
    times: u64,
    kind: Kind,
}

impl Mechanism {
    /// The mechanism that (`epsilon`, `delta`) stands for. On a Renyi dataset this is, for a delta above 0,
    /// the Gaussian with sigma = sqrt(2 ln(1.25/delta)) / epsilon (Dwork and Roth 2014, Theorem A.1); for a
    /// delta of 0, `pure(epsilon=...)`, the most that any epsilon-DP mechanism can cost.
    pub fn for_guarantee(epsilon: Epsilon, delta: Delta) -> Result<Self, MechanismError> {
        if epsilon <= Epsilon::ZERO {
            return Err(MechanismError::NoEpsilon(epsilon));
        }
        let most = Delta::from_units(10_i128.pow(Delta::DECIMALS));
        if delta < Delta::ZERO || delta > most {
            return Err(MechanismError::NoProbability(delta));
        }
        let kind = Kind::Guarantee { epsilon, delta };
        Ok(Self {
            terms: vec![Term { times: 1, kind }],
        })
    }

    /// Whether it draws records by a rate below 1, which is the same on however many records: a program that draws batches of
    /// one size has this rate on one number of records only.
    #[must_use]
    pub fn has_sample_rate(&self) -> bool {
        let mut samplings = self.terms.iter().filter_map(|term| term.kind.sampling());
        samplings.any(|sampling| matches!(sampling, Sampling::Rate(rate) if rate < 1.0))
    }

    /// Whether it draws batches of a size, so that its demand depends on how many records there are.
    #[must_use]
    pub fn has_batch_size(&self) -> bool {
        let mut samplings = self.terms.iter().filter_map(|term| term.kind.sampling());
        samplings.any(|sampling| matches!(sampling, Sampling::BatchSize(_)))
    }

    /// The same mechanism on so many records: each batch size becomes the rate at which records are drawn, rounded up (1 if
    /// there are no more records than that).
    ///
    /// # Examples
    ///
    /// ```
    /// use privatekube_policy::Mechanism;
    ///
    /// let planned: Mechanism = "dp-sgd(noise-multiplier=1.1,batch-size=256,steps=1000)".parse()?;
    /// let run = planned.on_records(1024);
    /// assert_eq!(run.to_string(), "dp-sgd(noise-multiplier=1.1,sample-rate=0.25,steps=1000)");
    /// # Ok::<(), privatekube_policy::MechanismError>(())
    /// ```
    #[must_use]
    pub fn on_records(&self, records: u64) -> Self {
        let on_records = |term: &Term| Term {
            times: term.times,
            kind: term.kind.on_records(records),
        };
        Self {
            terms: self.terms.iter().map(on_records).collect(),
        }
    }

    /// The demand that it makes under `composition`, rounded up; with a batch size, as on no more records than that. A
    /// cost beyond 64 bits is `i64::MAX`, which
    /// never fits a block (no parsed capacity is above 9e18 units). An error under basic composition if it
    /// has no epsilon and delta.
    pub fn demand(&self, composition: &Composition) -> Result<Budget, MechanismError> {
        let mut total = vec![0; composition.coordinates()];
        for term in &self.terms {
            // Rounded up, like all that saturates here.
            let times = i64::try_from(term.times).unwrap_or(i64::MAX);
            for (total, cost) in total.iter_mut().zip(term.kind.cost(composition)?) {
                *total = cost.saturating_mul(times).saturating_add(*total);
            }
        }
        Ok(Budget::from_computed(total.into_iter()))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            if at > 0 {
                f.write_str(" + ")?;
            }
            if term.times > 1 {
                write!(f, "{}*", term.times)?;
            }
            write!(f, "{}", term.kind)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Orders;

    fn renyi() -> Composition {
        Composition::Renyi(Orders::default())
    }

    fn demand(text: &str, composition: &Composition) -> Vec<i64> {
        let mechanism: Mechanism = text.parse().unwrap();
        mechanism.demand(composition).unwrap().units().to_vec()
    }

    #[test]
    fn sums_and_multiples_add_what_is_rounded_up() {
        let one = demand("laplace(scale=10)", &renyi());
        let two = demand("gaussian(sigma=3)", &renyi());
        let sum = demand("3*laplace(scale=10) + gaussian(sigma=3)", &renyi());
        for ((one, two), sum) in one.iter().zip(two).zip(sum) {
            assert_eq!(3 * one + two, sum);
        }
    }

    #[test]
    fn a_cost_beyond_64_bits_is_the_largest_amount() {
        let most = vec![i64::MAX; 12];
        assert_eq!(demand("9223372036854775807*laplace(scale=1)", &renyi()), most);
        assert_eq!(demand("gaussian(sigma=1e-300)", &renyi()), most);
        assert_eq!(demand("laplace(scale=1e-300) + laplace(scale=1)", &renyi()), most);
        assert_eq!(
            demand("laplace(scale=1e-300)", &Composition::Basic),
            [i64::MAX, 0]
        );
    }

    #[test]
    fn basic_composition_charges_pure_epsilons_exactly() {
        for (text, units) in [
            ("laplace(scale=10)", 100_000_000_000),
            ("laplace(scale=3)", 333_333_333_334),
            ("7*laplace(scale=0.1)", 70_000_000_000_000),
            ("laplace(scale=1e300)", 1),
            ("guarantee(epsilon=0.3,delta=0)", 300_000_000_000),
        ] {
            assert_eq!(demand(text, &Composition::Basic), [units, 0], "{text}");
        }
        assert_eq!(
            demand("2*guarantee(epsilon=0.3,delta=1e-9)", &Composition::Basic),
            [600_000_000_000, 2_000_000_000]
        );
        for text in [
            "gaussian(sigma=1)",
            "laplace(scale=1)+dp-sgd(noise-multiplier=1,sample-rate=1,steps=1)",
        ] {
            let mechanism: Mechanism = text.parse().unwrap();
            let error = mechanism.demand(&Composition::Basic).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("Basic composition give epsilon and delta")
            );
        }
    }

    #[test]
    fn a_guarantee_is_a_gaussian_or_a_pure_epsilon() {
        let composition =
            Composition::Renyi(Orders::new(vec!["2".parse().unwrap(), "64".parse().unwrap()]).unwrap());
        let guarantee = |epsilon: &str, delta: &str| {
            Mechanism::for_guarantee(epsilon.parse().unwrap(), delta.parse().unwrap())
                .and_then(|mechanism| mechanism.demand(&composition))
                .map(|budget| budget.units().to_vec())
        };
        // 2 x 0.01 / (4 ln 1.25e9) and 32 times that.
        assert_eq!(guarantee("0.1", "1e-9"), Ok(vec![238_704_396, 7_638_540_670]));
        assert_eq!(guarantee("0.1", "0"), Ok(vec![9_958_584_395, 89_771_530_017]));
        assert!(matches!(
            guarantee("0", "1e-9"),
            Err(MechanismError::NoEpsilon(_))
        ));
    }
}
