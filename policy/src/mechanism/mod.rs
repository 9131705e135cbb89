//! Mechanisms by name, and the budget each one costs.

mod curve;
mod parse;

use std::fmt;

use thiserror::Error;

use crate::{Budget, Composition, DecimalError, Delta, Epsilon, Order, budget::saturate};

/// A differentially private mechanism, or a sum or multiple of several.
///
/// Written as `gaussian(sigma=2.1)`, `laplace(scale=10)`,
/// `dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)` or `guarantee(epsilon=0.5,delta=1e-9)`, as a sum of
/// these (`a + b`), or as a multiple (`3*laplace(scale=10)`); sensitivity is 1. The parameters are double-precision
/// numbers, as the programs that draw the noise have them.
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
    /// At least one.
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    /// At least 1.
    times: u64,
    kind: Kind,
}

/// All numbers are finite and above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gaussian {
        sigma: f64,
    },
    Laplace {
        scale: f64,
    },
    /// The Gaussian on a Poisson sample, once for each step.
    DpSgd {
        noise_multiplier: f64,
        /// At most 1.
        sample_rate: f64,
        steps: u64,
    },
    /// What is only known to be (epsilon, delta)-DP. Delta may be 0 and is at most 1.
    Guarantee {
        epsilon: Epsilon,
        delta: Delta,
    },
}

/// Why a text is not a mechanism, or can't be charged. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MechanismError {
    /// A very long text.
    #[error("the mechanism is {length} characters long: at most {most} are accepted")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// A very long sum.
    #[error(
        "the mechanism is a sum of more than {most}: write equal ones as a multiple, like 3*laplace(scale=10)"
    )]
    TooManyTerms {
        /// How many there may be.
        most: usize,
    },
    /// A text that isn't of the form expected.
    #[error(
        "expected {expected} at {found:?}: write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)"
    )]
    Syntax {
        /// What should be there.
        expected: &'static str,
        /// What is there, from that place on.
        found: String,
    },
    /// A name that isn't known.
    #[error("{name:?} is not a known mechanism: use {known}")]
    UnknownMechanism {
        /// What was written.
        name: String,
        /// The known ones, with their parameters.
        known: &'static str,
    },
    /// A parameter that the mechanism doesn't have.
    #[error("{mechanism} has no parameter {parameter:?}: write {accepted}")]
    UnknownParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What was written.
        parameter: String,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that isn't given.
    #[error("{mechanism} needs {parameter}: write {accepted}")]
    MissingParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What is missing.
        parameter: &'static str,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that is given again.
    #[error("{parameter} of {mechanism} is given twice")]
    ParameterTwice {
        /// The mechanism.
        mechanism: &'static str,
        /// What is given twice.
        parameter: &'static str,
    },
    /// A parameter with a value that it can't have.
    #[error("{parameter} is {text:?}: it must be {accepted}")]
    BadValue {
        /// The parameter.
        parameter: &'static str,
        /// What was written.
        text: String,
        /// What it may be.
        accepted: &'static str,
    },
    /// An epsilon or delta that isn't one.
    #[error("{parameter}: {problem}")]
    BadAmount {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with it.
        problem: DecimalError,
    },
    /// A guarantee of nothing.
    #[error("epsilon is {0}: a demand needs an epsilon above 0")]
    NoEpsilon(Epsilon),
    /// A delta that isn't a probability.
    #[error("delta is {0}: it must be between 0 and 1")]
    NoProbability(Delta),
    /// A mechanism without a pure epsilon on a dataset that sums epsilons and deltas.
    #[error(
        "{mechanism} has no epsilon and delta of its own: on a dataset with Basic composition give epsilon and \
         delta, or use a dataset with Renyi composition"
    )]
    NeedsRenyi {
        /// The mechanism.
        mechanism: &'static str,
    },
}

impl Mechanism {
    /// The mechanism that (`epsilon`, `delta`) stands for. On a Renyi dataset this is, for a delta above 0, the Gaussian
    /// with sigma = sqrt(2 ln(1.25/delta)) / epsilon (Dwork and Roth 2014, Theorem A.1); for a delta of 0,
    /// pure epsilon-DP, whose curve is at most min(epsilon, order x epsilon^2 / 2) (Bun and Steinke 2016,
    /// Proposition 3.3).
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

    /// What it costs under `composition`, rounded up. What is beyond 64 bits costs the most that 64 bits hold.
    pub fn demand(&self, composition: &Composition) -> Result<Budget, MechanismError> {
        let mut total = vec![0; composition.coordinates()];
        for term in &self.terms {
            let times = i64::try_from(term.times).unwrap_or(i64::MAX);
            for (total, cost) in total.iter_mut().zip(term.kind.cost(composition)?) {
                *total = cost.saturating_mul(times).saturating_add(*total);
            }
        }
        Ok(Budget::from_computed(total.into_iter()))
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gaussian { .. } => "gaussian",
            Self::Laplace { .. } => "laplace",
            Self::DpSgd { .. } => "dp-sgd",
            Self::Guarantee { .. } => "guarantee",
        }
    }

    /// At each coordinate, in its unit.
    fn cost(self, composition: &Composition) -> Result<Vec<i64>, MechanismError> {
        match (composition, self) {
            (Composition::Renyi(orders), _) => Ok(orders.iter().map(|order| self.renyi(order)).collect()),
            (Composition::Basic, Self::Laplace { scale }) => Ok(vec![curve::inverse_units(scale), 0]),
            (Composition::Basic, Self::Guarantee { epsilon, delta }) => {
                Ok(vec![saturate(epsilon.units()), saturate(delta.units())])
            }
            (Composition::Basic, Self::Gaussian { .. } | Self::DpSgd { .. }) => {
                let mechanism = self.name();
                Err(MechanismError::NeedsRenyi { mechanism })
            }
        }
    }

    fn renyi(self, order: Order) -> i64 {
        let order = order.value();
        match self {
            Self::Gaussian { sigma } => curve::gaussian(sigma, order),
            Self::Laplace { scale } => curve::laplace(scale, order),
            Self::DpSgd {
                noise_multiplier,
                sample_rate,
                steps,
            } => curve::sampled_gaussian(noise_multiplier, sample_rate, steps, order),
            Self::Guarantee { epsilon, delta } => curve::guarantee(epsilon, delta, order),
        }
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match *self {
            Self::Gaussian { sigma } => write!(f, "{name}(sigma={})", Number(sigma)),
            Self::Laplace { scale } => write!(f, "{name}(scale={})", Number(scale)),
            Self::DpSgd {
                noise_multiplier,
                sample_rate,
                steps,
            } => write!(
                f,
                "{name}(noise-multiplier={},sample-rate={},steps={steps})",
                Number(noise_multiplier),
                Number(sample_rate)
            ),
            Self::Guarantee { epsilon, delta } => write!(f, "{name}(epsilon={epsilon},delta={delta})"),
        }
    }
}

/// A float as the shortest text that is read as the same float.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (1e-6..1e15).contains(&self.0) {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:e}", self.0)
        }
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
    fn what_is_beyond_64_bits_costs_the_most() {
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
        assert_eq!(guarantee("0.1", "0"), Ok(vec![10_000_000_001, 100_000_000_000]));
        assert!(matches!(
            guarantee("0", "1e-9"),
            Err(MechanismError::NoEpsilon(_))
        ));
    }
}
