//! The names of runs: all parameters in one text, which can be parsed again.

use std::str::FromStr;

use thiserror::Error;

use super::{CompositionKind, Experiment, NoExperiment, Parameters, VisitOrder, revision};
use crate::PolicyError;

const EXPERIMENT: &str = "experiment";
const COMPOSITION: &str = "composition";
const POLICY: &str = "policy";
const ORDER: &str = "order";
/// Part of the name of a run of experiment alibaba, to tell drawn tasks from the published trace.
const SYNTHETIC: &str = "synthetic";

const COMPOSITIONS: [(&str, CompositionKind); 2] = [
    ("basic", CompositionKind::Basic),
    ("renyi", CompositionKind::Renyi),
];
const ORDERS: [(&str, VisitOrder); 2] = [("share", VisitOrder::Share), ("published", VisitOrder::Published)];

/// The reason why a text is not a run's name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text does not begin with an experiment.
    #[error(transparent)]
    Experiment(#[from] NoExperiment),
    /// A part is neither a composition, an order nor a policy.
    #[error("{0}, besides compositions (basic, renyi), orders (share, published) and KEY=VALUE")]
    Word(PolicyError),
    /// A part has an unknown key.
    #[error(
        "{key}={value}: {key} is no parameter: accepted are n, lifetime, recompute-after, fairness, spread, least, mice, \
         tasks, blocks, nodes, revision, seed"
    )]
    Key {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A value is not valid for its key.
    #[error("{key}={value}: accepted is {accepted}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The accepted values.
        accepted: &'static str,
    },
}

impl Parameters {
    /// Returns the given parameters and their values, by the names of the command-line arguments, in the
    /// order of a run's name.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, String)> {
        // Destructured, so that a new field can't be forgotten.
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
            revision,
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
            (
                "revision",
                revision.map(|revision| u32::from(revision).to_string()),
            ),
            ("seed", text(Some(seed))),
        ];
        let given = values.into_iter();
        given.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// Returns the run's name, which contains all given parameters, such as
    /// `micro-multi/renyi/dpf-n/share/n=7257/mice=75/seed=3345`. Runs with different parameters have
    /// different names.
    #[must_use]
    pub fn name(&self) -> String {
        let values = self.values().into_iter();
        let parts = values.map(|(key, value)| match key {
            // A reader of results should see this.
            EXPERIMENT if self.experiment == Experiment::Alibaba => format!("{value}/{SYNTHETIC}"),
            // These need no key.
            EXPERIMENT | COMPOSITION | POLICY | ORDER => value,
            _ => format!("{key}={value}"),
        });
        parts.collect::<Vec<String>>().join("/")
    }

    /// Replaces the parameters that `text` names, such as `fcfs` or `dpf-n/n=50/mice=25`.
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
                "revision" => {
                    self.revision = Some(revision(value).map_err(|_| NameError::Value {
                        key: key.to_owned(),
                        value: value.to_owned(),
                        accepted: "1, 2 or 3",
                    })?);
                }
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

/// Parses a run's name. It must begin with the experiment; parameters that are left out get the experiment's
/// defaults.
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
    fn a_name_has_all_parameters() {
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
        let run: Parameters = "macro/revision=3".parse().unwrap();
        assert_eq!(run.name(), "macro/revision=3/seed=3345");
        let run: Parameters = "macro".parse().unwrap();
        assert_eq!(run, Parameters::of(Experiment::Macro));
        let other = run.with("fcfs/seed=1").unwrap();
        assert_eq!((other.policy, other.seed), ("fcfs".parse().ok(), 1));
    }

    #[test]
    fn errors_in_a_name_are_named() {
        for (name, says) in [
            (
                "mikro/fcfs",
                "\"mikro\" is no experiment: accepted are micro-single",
            ),
            ("macro/fcsf", "\"fcsf\" is no policy: accepted are fcfs"),
            ("macro/cats=3", "cats=3: cats is no parameter: accepted are n,"),
            ("macro/revision=4", "revision=4: accepted is 1, 2 or 3"),
            ("macro/n=many", "n=many: accepted is a whole number"),
            ("macro/mice=", "mice=: accepted is a number"),
        ] {
            let error = name.parse::<Parameters>().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
