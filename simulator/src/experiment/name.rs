//! What a run is called: its parameters in one text, which is read back.

use std::str::FromStr;

use thiserror::Error;

use super::{CompositionKind, Experiment, NoExperiment, Parameters, VisitOrder};
use crate::PolicyError;

const EXPERIMENT: &str = "experiment";
const COMPOSITION: &str = "composition";
const POLICY: &str = "policy";
const ORDER: &str = "order";
/// In the names of runs of tasks that were drawn, where others are known too.
const SYNTHETIC: &str = "synthetic";

const COMPOSITIONS: [(&str, CompositionKind); 2] = [
    ("basic", CompositionKind::Basic),
    ("renyi", CompositionKind::Renyi),
];
const ORDERS: [(&str, VisitOrder); 2] = [("share", VisitOrder::Share), ("published", VisitOrder::Published)];

/// Why a text is no run's name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// It does not begin with an experiment.
    #[error(transparent)]
    Experiment(#[from] NoExperiment),
    /// A part that is neither a composition, nor an order, nor a policy.
    #[error("{0}, besides compositions (basic, renyi), orders (share, published) and KEY=VALUE")]
    Word(PolicyError),
    /// A key that no run has.
    #[error(
        "{key}={value}: {key} is no parameter: accepted are n, lifetime, recompute-after, fairness, spread, least, mice, \
         tasks, blocks, nodes, seed"
    )]
    Key {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A value that is none of its key's.
    #[error("{key}={value}: accepted is {accepted}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        accepted: &'static str,
    },
}

impl Parameters {
    /// What is given, by its name as an argument, in the order in which a run's name tells it.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, String)> {
        // Each field by its name here, so that the next one can't be forgotten.
        let Self {
            experiment,
            policy,
            n,
            lifetime,
            mice,
            composition,
            order,
            seed,
            recompute_after,
            fairness,
            spread,
            least,
            tasks,
            blocks,
            nodes,
        } = self;
        let composition = composition.map(|kind| match kind {
            CompositionKind::Basic => "basic",
            CompositionKind::Renyi => "renyi",
        });
        let order = order.map(|order| match order {
            VisitOrder::Share => "share",
            VisitOrder::Published => "published",
        });
        let values = [
            (EXPERIMENT, Some(experiment.to_string())),
            (COMPOSITION, composition.map(str::to_owned)),
            (POLICY, policy.map(|policy| policy.to_string())),
            (ORDER, order.map(str::to_owned)),
            ("n", text(n.as_ref())),
            ("lifetime", text(lifetime.as_ref())),
            ("recompute-after", text(recompute_after.as_ref())),
            ("fairness", text(fairness.as_ref())),
            ("spread", text(spread.as_ref())),
            ("least", text(least.as_ref())),
            ("mice", text(mice.as_ref())),
            ("tasks", text(tasks.as_ref())),
            ("blocks", text(blocks.as_ref())),
            ("nodes", text(nodes.as_ref())),
            ("seed", text(Some(seed))),
        ];
        let given = values.into_iter();
        given.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The run's name: all that is given, such as `micro-multi/renyi/dpf-n/share/n=7257/mice=75/seed=3345`. Runs of
    /// different parameters have different names.
    #[must_use]
    pub fn name(&self) -> String {
        let values = self.values().into_iter();
        let parts = values.map(|(key, value)| match key {
            // Whoever reads a result should know.
            EXPERIMENT if self.experiment == Experiment::Alibaba => format!("{value}/{SYNTHETIC}"),
            // What they are is plain.
            EXPERIMENT | COMPOSITION | POLICY | ORDER => value,
            _ => format!("{key}={value}"),
        });
        parts.collect::<Vec<String>>().join("/")
    }

    /// The same with the parts of `text`, such as `fcfs` or `dpf-n/n=50/mice=25`.
    pub fn with(self, text: &str) -> Result<Self, NameError> {
        let mut parts = text.split('/').filter(|part| !part.is_empty());
        parts.try_fold(self, Self::with_part)
    }

    fn with_part(mut self, part: &str) -> Result<Self, NameError> {
        if let Some((key, value)) = part.split_once('=') {
            match key {
                "n" => self.n = Some(whole(key, value)?),
                "lifetime" => self.lifetime = Some(number(key, value)?),
                "recompute-after" => self.recompute_after = Some(whole(key, value)?),
                "fairness" => self.fairness = Some(whole(key, value)?),
                "spread" => self.spread = Some(number(key, value)?),
                "least" => self.least = Some(number(key, value)?),
                "mice" => self.mice = Some(number(key, value)?),
                "tasks" => self.tasks = Some(whole(key, value)?),
                "blocks" => self.blocks = Some(whole(key, value)?),
                "nodes" => self.nodes = Some(whole(key, value)?),
                "seed" => self.seed = whole(key, value)?,
                _ => {
                    return Err(NameError::Key {
                        key: key.to_owned(),
                        value: value.to_owned(),
                    });
                }
            }
        } else if let Some(kind) = find(&COMPOSITIONS, part) {
            self.composition = Some(kind);
        } else if let Some(order) = find(&ORDERS, part) {
            self.order = Some(order);
        } else if !(part == SYNTHETIC && self.experiment == Experiment::Alibaba) {
            self.policy = Some(part.parse().map_err(NameError::Word)?);
        }
        Ok(self)
    }
}

/// A run by its name, or by a part of it that begins with the experiment: the rest is the experiment's own.
impl FromStr for Parameters {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let (experiment, rest) = name.split_once('/').unwrap_or((name, ""));
        Self::of(experiment.parse()?).with(rest)
    }
}

fn find<T: Copy>(known: &[(&str, T)], name: &str) -> Option<T> {
    known
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, value)| *value)
}

fn whole<T: FromStr>(key: &str, value: &str) -> Result<T, NameError> {
    parse(key, value, "a whole number")
}

fn number(key: &str, value: &str) -> Result<f64, NameError> {
    parse(key, value, "a number")
}

fn parse<T: FromStr>(key: &str, value: &str, accepted: &'static str) -> Result<T, NameError> {
    value.parse().map_err(|_| NameError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        accepted,
    })
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_parameters() {
        let run = Parameters {
            policy: "blend-t".parse().ok(),
            lifetime: Some(9.765_625),
            composition: Some(CompositionKind::Renyi),
            mice: Some(75.0),
            recompute_after: Some(10),
            fairness: Some(500),
            spread: Some(0.5),
            least: Some(0.01),
            ..Parameters::of(Experiment::MicroMulti)
        };
        assert_eq!(
            run.name(),
            "micro-multi/renyi/blend-t/lifetime=9.765625/recompute-after=10/fairness=500/spread=0.5/least=0.01/mice=75/seed=3345"
        );
    }

    #[test]
    fn a_name_is_read_back() {
        for run in Experiment::ALL
            .into_iter()
            .flat_map(|experiment| experiment.grid(7))
        {
            assert_eq!(run.name().parse(), Ok(run));
        }
        let run: Parameters = "macro".parse().unwrap();
        assert_eq!(run, Parameters::of(Experiment::Macro));
        let other = run.with("fcfs/seed=1").unwrap();
        assert_eq!((other.policy, other.seed), ("fcfs".parse().ok(), 1));
    }

    #[test]
    fn what_is_wrong_in_a_name_is_told() {
        for (name, says) in [
            (
                "mikro/fcfs",
                "\"mikro\" is no experiment: accepted are micro-single",
            ),
            ("macro/fcsf", "\"fcsf\" is no policy: accepted are fcfs"),
            ("macro/cats=3", "cats=3: cats is no parameter: accepted are n,"),
            ("macro/n=many", "n=many: accepted is a whole number"),
            ("macro/mice=", "mice=: accepted is a number"),
        ] {
            let error = name.parse::<Parameters>().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
