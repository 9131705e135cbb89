//! The kinds of mechanisms: the formula of each one's cost, and how it is written.

use std::fmt;

use super::{MechanismError, curve, neighbours::Neighbours, sampling::Sampling};
use crate::{Composition, Delta, Epsilon, Order, budget::saturate};

/// A mechanism with its parameters. All numbers are finite and above 0 unless a field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Gaussian {
        sigma: f64,
    },
    Laplace {
        scale: f64,
    },
    /// The Gaussian on a Poisson sample, once for each step.
    DpSgd {
        noise_multiplier: f64,
        sampling: Sampling,
        steps: u64,
    },
    /// The Laplace mechanism on a Poisson sample.
    SubsampledLaplace {
        scale: f64,
        sampling: Sampling,
    },
    /// The sums of a binary tree over the steps, each with Gaussian noise.
    TreeAggregation {
        noise_multiplier: f64,
        steps: u64,
    },
    /// With some probability a uniformly drawn answer, else the true one.
    RandomizedResponse {
        /// At most 1.
        noise_probability: f64,
        /// At least 2.
        categories: u64,
        neighbours: Neighbours,
    },
    /// The exponential mechanism, or any other of bounded range.
    Exponential {
        epsilon: Epsilon,
    },
    /// A mechanism of which only epsilon-DP is known.
    Pure {
        epsilon: Epsilon,
    },
    /// A mechanism of which only (xi, rho)-zCDP is known.
    Zcdp {
        rho: f64,
        /// At least 0.
        xi: f64,
    },
    /// A mechanism of which only (epsilon, delta)-DP is known. Delta may be 0 and is at most 1.
    Guarantee {
        epsilon: Epsilon,
        delta: Delta,
    },
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gaussian { .. } => "gaussian",
            Self::Laplace { .. } => "laplace",
            Self::DpSgd { .. } => "dp-sgd",
            Self::SubsampledLaplace { .. } => "subsampled-laplace",
            Self::TreeAggregation { .. } => "tree-aggregation",
            Self::RandomizedResponse { .. } => "randomized-response",
            Self::Exponential { .. } => "exponential",
            Self::Pure { .. } => "pure",
            Self::Zcdp { .. } => "zcdp",
            Self::Guarantee { .. } => "guarantee",
        }
    }

    /// How it samples records, if it does.
    pub(super) const fn sampling(self) -> Option<Sampling> {
        match self {
            Self::DpSgd { sampling, .. } | Self::SubsampledLaplace { sampling, .. } => Some(sampling),
            _ => None,
        }
    }

    /// The same mechanism on so many records.
    pub(super) fn on_records(mut self, records: u64) -> Self {
        if let Self::DpSgd { sampling, .. } | Self::SubsampledLaplace { sampling, .. } = &mut self {
            *sampling = sampling.on_records(records);
        }
        self
    }

    /// The cost at each coordinate, in the coordinate's unit, rounded up.
    pub(super) fn cost(self, composition: &Composition) -> Result<Vec<i64>, MechanismError> {
        match composition {
            Composition::Renyi(orders) => Ok(orders.iter().map(|order| self.renyi(order)).collect()),
            Composition::Basic => self.basic().map(Vec::from).ok_or(MechanismError::NeedsRenyi {
                mechanism: self.name(),
            }),
        }
    }

    /// The cost as epsilon and delta, if the mechanism has them.
    fn basic(self) -> Option<[i64; 2]> {
        let pure = match self {
            Self::Laplace { scale } => curve::inverse_units(scale),
            Self::SubsampledLaplace { scale, sampling } => curve::sampled_pure(scale, sampling.rate()),
            Self::RandomizedResponse {
                noise_probability,
                categories,
                neighbours,
            } => curve::randomized_response_pure(noise_probability, categories, neighbours),
            Self::Exponential { epsilon } | Self::Pure { epsilon } => saturate(epsilon.units()),
            Self::Guarantee { epsilon, delta } => {
                return Some([saturate(epsilon.units()), saturate(delta.units())]);
            }
            Self::Gaussian { .. } | Self::DpSgd { .. } | Self::TreeAggregation { .. } | Self::Zcdp { .. } => {
                return None;
            }
        };
        Some([pure, 0])
    }

    fn renyi(self, order: Order) -> i64 {
        let order = order.value();
        match self {
            Self::Gaussian { sigma } => curve::gaussian(sigma, order),
            Self::Laplace { scale } => curve::laplace(scale, order),
            Self::DpSgd {
                noise_multiplier,
                sampling,
                steps,
            } => curve::sampled_gaussian(noise_multiplier, sampling.rate(), steps, order),
            Self::SubsampledLaplace { scale, sampling } => {
                curve::sampled_laplace(scale, sampling.rate(), order)
            }
            Self::TreeAggregation {
                noise_multiplier,
                steps,
            } => curve::tree_aggregation(noise_multiplier, steps, order),
            Self::RandomizedResponse {
                noise_probability,
                categories,
                neighbours,
            } => curve::randomized_response(noise_probability, categories, neighbours, order),
            Self::Exponential { epsilon } => curve::exponential(epsilon, order),
            Self::Pure { epsilon } => curve::pure(epsilon, order),
            Self::Zcdp { rho, xi } => curve::zcdp(rho, xi, order),
            Self::Guarantee { epsilon, delta } => curve::guarantee(epsilon, delta, order),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        match *self {
            Self::Gaussian { sigma } => write!(f, "sigma={}", Number(sigma)),
            Self::Laplace { scale } => write!(f, "scale={}", Number(scale)),
            Self::DpSgd {
                noise_multiplier,
                sampling,
                steps,
            } => write!(
                f,
                "noise-multiplier={},{sampling},steps={steps}",
                Number(noise_multiplier)
            ),
            Self::SubsampledLaplace { scale, sampling } => {
                write!(f, "scale={},{sampling}", Number(scale))
            }
            Self::TreeAggregation {
                noise_multiplier,
                steps,
            } => write!(f, "noise-multiplier={},steps={steps}", Number(noise_multiplier)),
            Self::RandomizedResponse {
                noise_probability,
                categories,
                neighbours,
            } => {
                let noise_probability = Number(noise_probability);
                write!(f, "noise-probability={noise_probability},categories={categories}")?;
                if neighbours == Neighbours::default() {
                    Ok(())
                } else {
                    write!(f, ",neighbours={}", neighbours.name())
                }
            }
            Self::Exponential { epsilon } | Self::Pure { epsilon } => write!(f, "epsilon={epsilon}"),
            Self::Zcdp { rho, xi: 0.0 } => write!(f, "rho={}", Number(rho)),
            Self::Zcdp { rho, xi } => write!(f, "rho={},xi={}", Number(rho), Number(xi)),
            Self::Guarantee { epsilon, delta } => write!(f, "epsilon={epsilon},delta={delta}"),
        }?;
        f.write_str(")")
    }
}

/// A float as the shortest text that is read as the same float.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (1e-6..1e15).contains(&self.0) {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:e}", self.0)
        }
    }
}
