//! The largest demand that fits: as a part of a demand, and as the noise, the steps or the epsilon of its mechanism.

use privatekube_api::BudgetRequest;
use privatekube_policy::{Budget, Composition, Demand, Epsilon, Mechanism};
use serde::Serialize;

use crate::budget::{Direction, Found, Varied, least_noise, most_steps};

/// In how many parts a demand is divided.
const PARTS: i64 = 10_000;

/// The largest demand that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Largest {
    /// The part of the demand, from 0.0001 to 1; `None` if not even that fits.
    pub(crate) factor: Option<String>,
    /// The parameters of its mechanism with which it fits, each with the others as they are.
    pub(crate) parameters: Vec<Fits>,
}

/// A parameter with which a mechanism fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fits {
    /// Its name.
    pub(crate) parameter: String,
    /// What was asked.
    pub(crate) asked: String,
    /// The least noise, or the most of the others, that fits; `None` if none does.
    pub(crate) limit: Option<String>,
}

/// What is made smaller.
pub(crate) struct Asked<'a> {
    pub(crate) demands: &'a [Demand],
    /// The request that the demands were computed from, if it is the same on each block.
    pub(crate) request: Option<&'a BudgetRequest>,
    /// How many records the blocks have together.
    pub(crate) records: u64,
    pub(crate) composition: &'a Composition,
}

/// Finds the largest demand for which `fits` is true. If less is demanded, `fits` has to stay true.
pub(crate) fn largest(asked: &Asked<'_>, fits: impl Fn(&[Demand]) -> bool) -> Largest {
    let part = last(PARTS, |part| fits(&scaled(asked.demands, part)));
    Largest {
        factor: part.map(|part| decimal(part, PARTS)),
        parameters: parameters(asked, &fits),
    }
}

/// The largest number from 1 to `most` with which it is true; `None` if there is none.
fn last(most: i64, is_true: impl Fn(i64) -> bool) -> Option<i64> {
    let (mut good, mut bad) = (0, most + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if is_true(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good > 0).then_some(good)
}

/// A part of demands, rounded up.
fn scaled(demands: &[Demand], part: i64) -> Vec<Demand> {
    let scale = |units: &i64| {
        let product = i128::from(*units) * i128::from(part);
        let scaled = product / i128::from(PARTS) + i128::from(product % i128::from(PARTS) > 0);
        // It is no more than `units`.
        i64::try_from(scaled).unwrap_or(*units)
    };
    let demands = demands.iter().map(|demand| {
        let units = demand.budget.units().iter().map(scale).collect();
        Demand {
            blocks: demand.blocks.clone(),
            budget: Budget::new(units).unwrap_or_else(|_| demand.budget.clone()),
        }
    });
    demands.collect()
}

fn decimal(part: i64, of: i64) -> String {
    let text = format!("{}.{:04}", part / of, part % of);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn parameters(asked: &Asked<'_>, fits: &impl Fn(&[Demand]) -> bool) -> Vec<Fits> {
    let fits_with = |mechanism: &Mechanism| {
        let budget = mechanism.on_records(asked.records).demand(asked.composition);
        let demands = budget.map(|budget| {
            let with_budget = |demand: &Demand| Demand {
                blocks: demand.blocks.clone(),
                budget: budget.clone(),
            };
            asked.demands.iter().map(with_budget).collect::<Vec<_>>()
        });
        demands.is_ok_and(|demands| fits(&demands))
    };
    match asked.request {
        Some(BudgetRequest::Mechanism(mechanism, _)) => {
            let text = mechanism.to_string();
            let varied = Varied::all(mechanism).into_iter();
            let found = varied.filter_map(|varied| {
                let keeps = |value: &str| -> Result<bool, std::convert::Infallible> {
                    let mechanism = varied.with(value).parse::<Mechanism>();
                    Ok(mechanism.is_ok_and(|mechanism| fits_with(&mechanism)))
                };
                let Ok(found) = match varied.direction() {
                    Direction::Less => least_noise(&keeps),
                    Direction::More => most_steps(&keeps),
                };
                Some(Fits {
                    parameter: varied.parameter().to_owned(),
                    asked: varied.value_in(&text)?,
                    limit: match found {
                        Found::Value(value) => Some(value),
                        Found::Never | Found::Always => None,
                    },
                })
            });
            found.collect()
        }
        Some(BudgetRequest::Guarantee { epsilon, delta }) => {
            let of_part =
                |part: i64| Epsilon::from_units(epsilon.units() * i128::from(part) / i128::from(PARTS));
            let part = last(PARTS, |part| {
                let mechanism = Mechanism::for_guarantee(of_part(part), *delta);
                mechanism.is_ok_and(|mechanism| fits_with(&mechanism))
            });
            vec![Fits {
                parameter: "epsilon".to_owned(),
                asked: epsilon.to_string(),
                limit: part.map(|part| of_part(part).to_string()),
            }]
        }
        Some(BudgetRequest::Curve(_)) | None => Vec::new(),
    }
}

impl Largest {
    /// The sentence for people, without its end.
    pub(crate) fn sentence(&self) -> String {
        let Some(factor) = &self.factor else {
            return "nothing of it, however small".to_owned();
        };
        let mut text = format!("{factor} times the demand");
        let parameters = self.parameters.iter().filter_map(|of| {
            let fits = of.limit.as_ref()?;
            let at = if ["steps", "epsilon"].contains(&of.parameter.as_str()) {
                "at most"
            } else {
                "at least"
            };
            Some(format!("{} {at} {fits} (asked: {})", of.parameter, of.asked))
        });
        let parameters: Vec<String> = parameters.collect();
        if !parameters.is_empty() {
            text.push_str(", which is ");
            text.push_str(&parameters.join(", or "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fits a budget of so many millionths of epsilon at order 2.
    fn found(mechanism: &str, millionths: i64) -> Largest {
        let orders = vec!["2".parse().unwrap()];
        let composition = Composition::Renyi(privatekube_policy::Orders::new(orders).unwrap());
        let parsed: Mechanism = mechanism.parse().unwrap();
        let demands = [Demand {
            blocks: vec!["b1".into()],
            budget: parsed.demand(&composition).unwrap(),
        }];
        let request = BudgetRequest::Mechanism(parsed, mechanism.to_owned());
        let asked = Asked {
            demands: &demands,
            request: Some(&request),
            records: 0,
            composition: &composition,
        };
        largest(&asked, |demands| {
            demands[0].budget.units()[0] <= millionths * 1_000_000
        })
    }

    #[test]
    fn the_largest_part_and_the_least_noise_fit() {
        // A Gaussian costs 2 / (2 sigma^2) at order 2: 1 with sigma 1.
        let found = super::tests::found("gaussian(sigma=1)", 250_000);
        assert_eq!(
            found.sentence(),
            "0.2499 times the demand, which is sigma at least 2.00001 (asked: 1)"
        );
        let found = super::tests::found("4*tree-aggregation(noise-multiplier=2,steps=1000)", 3_000_000);
        assert_eq!(
            found.sentence(),
            "0.2999 times the demand, which is noise-multiplier at least 3.65149 (asked: 2), or steps at most 3 (asked: 1000)"
        );
    }

    #[test]
    fn where_nothing_fits_nothing_is_proposed() {
        assert_eq!(
            found("laplace(scale=1)", 0).sentence(),
            "nothing of it, however small"
        );
    }
}
