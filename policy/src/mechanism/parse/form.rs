//! How each mechanism is written: its name, its parameters, and the values that it takes.

use super::parameters::Parameters;
use crate::mechanism::{kind::Kind, neighbours::Neighbours};

/// How a mechanism is written.
#[derive(Debug)]
pub(super) struct Form {
    /// Its name.
    pub(super) name: &'static str,
    /// The names of its parameters, those that it needs first, in the order of `accepted`.
    pub(super) parameters: &'static [&'static str],
    /// An example.
    pub(super) accepted: &'static str,
    read: fn(&mut Parameters<'_>) -> Option<Kind>,
}

/// Every mechanism.
pub(super) const FORMS: [Form; 10] = [
    Form {
        name: "gaussian",
        parameters: &["sigma"],
        accepted: "gaussian(sigma=2.1)",
        read: |given| {
            let sigma = given.positive("sigma")?;
            Some(Kind::Gaussian { sigma })
        },
    },
    Form {
        name: "laplace",
        parameters: &["scale"],
        accepted: "laplace(scale=10)",
        read: |given| {
            let scale = given.positive("scale")?;
            Some(Kind::Laplace { scale })
        },
    },
    Form {
        name: "dp-sgd",
        parameters: &["noise-multiplier", "sample-rate", "steps", "batch-size"],
        accepted: "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)",
        read: |given| {
            let noise_multiplier = given.positive("noise-multiplier");
            let sampling = given.sampling();
            let steps = given.whole("steps", 1);
            Some(Kind::DpSgd {
                noise_multiplier: noise_multiplier?,
                sampling: sampling?,
                steps: steps?,
            })
        },
    },
    Form {
        name: "subsampled-laplace",
        parameters: &["scale", "sample-rate", "batch-size"],
        accepted: "subsampled-laplace(scale=10,sample-rate=0.01)",
        read: |given| {
            let scale = given.positive("scale");
            let sampling = given.sampling();
            Some(Kind::SubsampledLaplace {
                scale: scale?,
                sampling: sampling?,
            })
        },
    },
    Form {
        name: "tree-aggregation",
        parameters: &["noise-multiplier", "steps"],
        accepted: "tree-aggregation(noise-multiplier=8.8,steps=1600)",
        read: |given| {
            let noise_multiplier = given.positive("noise-multiplier");
            let steps = given.whole("steps", 1);
            Some(Kind::TreeAggregation {
                noise_multiplier: noise_multiplier?,
                steps: steps?,
            })
        },
    },
    Form {
        name: "randomized-response",
        parameters: &["noise-probability", "categories", "neighbours"],
        accepted: "randomized-response(noise-probability=0.3,categories=10)",
        read: |given| {
            let noise_probability = given.probability("noise-probability");
            let categories = given.whole("categories", 2);
            let neighbours = given.neighbours();
            Some(Kind::RandomizedResponse {
                noise_probability: noise_probability?,
                categories: categories?,
                neighbours: neighbours?,
            })
        },
    },
    Form {
        name: "exponential",
        parameters: &["epsilon"],
        accepted: "exponential(epsilon=0.5)",
        read: |given| {
            let epsilon = given.epsilon()?;
            Some(Kind::Exponential { epsilon })
        },
    },
    Form {
        name: "pure",
        parameters: &["epsilon"],
        accepted: "pure(epsilon=0.5)",
        read: |given| {
            let epsilon = given.epsilon()?;
            Some(Kind::Pure { epsilon })
        },
    },
    Form {
        name: "zcdp",
        parameters: &["rho", "xi"],
        accepted: "zcdp(rho=0.05) or zcdp(rho=0.05,xi=0.1)",
        read: |given| {
            let rho = given.positive("rho");
            let xi = given.not_negative("xi");
            Some(Kind::Zcdp { rho: rho?, xi: xi? })
        },
    },
    Form {
        name: "guarantee",
        parameters: &["epsilon", "delta"],
        accepted: "guarantee(epsilon=0.5,delta=1e-9)",
        read: |given| {
            let epsilon = given.epsilon();
            let delta = given.amount("delta");
            Some(Kind::Guarantee {
                epsilon: epsilon?,
                delta: delta?,
            })
        },
    },
];

impl Form {
    /// The mechanism with the given parameters. `None` if one is missing or wrong: `given` has the faults.
    pub(super) fn kind(&self, given: &mut Parameters<'_>) -> Option<Kind> {
        (self.read)(given)
    }
}

/// The names of the neighbours of a randomized response.
pub(super) fn neighbours() -> impl Iterator<Item = &'static str> {
    Neighbours::ALL.into_iter().map(Neighbours::name)
}
