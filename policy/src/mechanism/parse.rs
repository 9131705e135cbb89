//! The parser of mechanisms, such as `3*laplace(scale=10) + gaussian(sigma=2.1)`: recursive descent, one
//! function for each form.

use std::str::FromStr;

use super::{Mechanism, MechanismError, Term, kind::Kind, neighbours::Neighbours, sampling::Sampling};
use crate::{DecimalError, Epsilon};

const MOST_CHARACTERS: usize = 1000;
const MOST_TERMS: usize = 20;
const KNOWN: &str = "gaussian(sigma=...), laplace(scale=...), dp-sgd(noise-multiplier=...,sample-rate=...,steps=...), \
                     subsampled-laplace(scale=...,sample-rate=...), \
                     tree-aggregation(noise-multiplier=...,steps=...), \
                     randomized-response(noise-probability=...,categories=...), exponential(epsilon=...), \
                     pure(epsilon=...), zcdp(rho=...) or guarantee(epsilon=...,delta=...)";
const WHOLE: &str = "a whole number from 1 to 18446744073709551615";

/// A parser: the rest of the text.
struct Reader<'a>(&'a str);

/// The parameters of a mechanism, as text.
struct Parameters<'a> {
    mechanism: &'static str,
    /// How the mechanism is written.
    accepted: &'static str,
    given: Vec<(&'static str, &'a str)>,
}

impl FromStr for Mechanism {
    type Err = MechanismError;

    fn from_str(text: &str) -> Result<Self, MechanismError> {
        let length = text.chars().count();
        if length > MOST_CHARACTERS {
            return Err(MechanismError::TooLong {
                length,
                most: MOST_CHARACTERS,
            });
        }
        let mut reader = Reader(text);
        let mut terms = Vec::new();
        loop {
            if terms.len() == MOST_TERMS {
                return Err(MechanismError::TooManyTerms { most: MOST_TERMS });
            }
            terms.push(reader.term()?);
            if reader.is_at_end() {
                return Ok(Self { terms });
            }
            reader.expect('+', "+ or the end")?;
        }
    }
}

impl<'a> Reader<'a> {
    fn term(&mut self) -> Result<Term, MechanismError> {
        let digits = self.take_while(|c| c.is_ascii_digit());
        let times = if digits.is_empty() {
            1
        } else {
            self.expect('*', "* after a number")?;
            whole("a multiple", digits)?
        };
        let name = self.take_while(|c| c.is_alphanumeric() || c == '-' || c == '_');
        let kind = match name {
            "" => return Err(self.syntax("a mechanism")),
            "gaussian" => {
                let given = self.parameters("gaussian", "gaussian(sigma=2.1)", &["sigma"])?;
                Kind::Gaussian {
                    sigma: given.positive("sigma")?,
                }
            }
            "laplace" => {
                let given = self.parameters("laplace", "laplace(scale=10)", &["scale"])?;
                Kind::Laplace {
                    scale: given.positive("scale")?,
                }
            }
            "dp-sgd" => self.dp_sgd()?,
            "subsampled-laplace" => {
                let accepted = "subsampled-laplace(scale=10,sample-rate=0.01)";
                let names = &["scale", "sample-rate", "batch-size"];
                let given = self.parameters("subsampled-laplace", accepted, names)?;
                Kind::SubsampledLaplace {
                    scale: given.positive("scale")?,
                    sampling: given.sampling()?,
                }
            }
            "tree-aggregation" => {
                let accepted = "tree-aggregation(noise-multiplier=8.8,steps=1600)";
                let given = self.parameters("tree-aggregation", accepted, &["noise-multiplier", "steps"])?;
                Kind::TreeAggregation {
                    noise_multiplier: given.positive("noise-multiplier")?,
                    steps: whole("steps", given.need("steps")?)?,
                }
            }
            "randomized-response" => self.randomized_response()?,
            "exponential" => {
                let given = self.parameters("exponential", "exponential(epsilon=0.5)", &["epsilon"])?;
                Kind::Exponential {
                    epsilon: given.epsilon()?,
                }
            }
            "pure" => {
                let given = self.parameters("pure", "pure(epsilon=0.5)", &["epsilon"])?;
                Kind::Pure {
                    epsilon: given.epsilon()?,
                }
            }
            "zcdp" => {
                let given =
                    self.parameters("zcdp", "zcdp(rho=0.05) or zcdp(rho=0.05,xi=0.1)", &["rho", "xi"])?;
                Kind::Zcdp {
                    rho: given.positive("rho")?,
                    xi: given.get("xi").map_or(Ok(0.0), not_negative)?,
                }
            }
            "guarantee" => {
                let accepted = "guarantee(epsilon=0.5,delta=1e-9)";
                let given = self.parameters("guarantee", accepted, &["epsilon", "delta"])?;
                Kind::Guarantee {
                    epsilon: given.epsilon()?,
                    delta: given.amount("delta")?,
                }
            }
            _ => {
                return Err(MechanismError::UnknownMechanism {
                    name: name.to_owned(),
                    known: KNOWN,
                });
            }
        };
        Ok(Term { times, kind })
    }

    fn dp_sgd(&mut self) -> Result<Kind, MechanismError> {
        let given = self.parameters(
            "dp-sgd",
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)",
            &["noise-multiplier", "sample-rate", "batch-size", "steps"],
        )?;
        Ok(Kind::DpSgd {
            noise_multiplier: given.positive("noise-multiplier")?,
            sampling: given.sampling()?,
            steps: whole("steps", given.need("steps")?)?,
        })
    }

    fn randomized_response(&mut self) -> Result<Kind, MechanismError> {
        let given = self.parameters(
            "randomized-response",
            "randomized-response(noise-probability=0.3,categories=10)",
            &["noise-probability", "categories", "neighbours"],
        )?;
        let noise_probability = given.probability("noise-probability")?;
        let categories = given.need("categories")?;
        let neighbours = given.get("neighbours");
        Ok(Kind::RandomizedResponse {
            noise_probability,
            categories: whole("categories", categories)
                .ok()
                .filter(|categories| *categories > 1)
                .ok_or_else(|| bad("categories", categories, "a whole number of 2 or more"))?,
            neighbours: neighbours.map_or(Ok(Neighbours::default()), |text| {
                let named = Neighbours::ALL.into_iter().find(|known| known.name() == text);
                named.ok_or_else(|| bad("neighbours", text, "replace-one or replace-special"))
            })?,
        })
    }

    /// Parses the parameters from `(` to `)`, whose names must be among `names`.
    fn parameters(
        &mut self,
        mechanism: &'static str,
        accepted: &'static str,
        names: &'static [&'static str],
    ) -> Result<Parameters<'a>, MechanismError> {
        let given = Vec::new();
        let mut parameters = Parameters {
            mechanism,
            accepted,
            given,
        };
        self.expect('(', "(")?;
        // The caller says which parameter an empty list misses.
        if self.next() != Some(')') {
            loop {
                let name = self.take_while(|c| c.is_alphanumeric() || c == '-' || c == '_');
                if name.is_empty() {
                    return Err(self.syntax("the name of a parameter"));
                }
                self.expect('=', "= after the name of a parameter")?;
                let text = self.take_while(|c| !matches!(c, ',' | '(' | ')' | '='));
                parameters.set(names, name, text.trim_end())?;
                if self.next() != Some(',') {
                    break;
                }
                self.expect(',', ",")?;
            }
        }
        self.expect(')', ", or )")?;
        Ok(parameters)
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.0.is_empty()
    }

    fn next(&mut self) -> Option<char> {
        self.skip_space();
        self.0.chars().next()
    }

    fn take_while(&mut self, accepts: impl Fn(char) -> bool) -> &'a str {
        self.skip_space();
        let end = self.0.find(|c| !accepts(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn expect(&mut self, character: char, expected: &'static str) -> Result<(), MechanismError> {
        self.skip_space();
        let rest = self.0.strip_prefix(character);
        self.0 = rest.ok_or_else(|| self.syntax(expected))?;
        Ok(())
    }

    fn syntax(&self, expected: &'static str) -> MechanismError {
        MechanismError::Syntax {
            expected,
            found: self.0.to_owned(),
        }
    }
}

impl<'a> Parameters<'a> {
    fn set(
        &mut self,
        names: &'static [&'static str],
        name: &str,
        text: &'a str,
    ) -> Result<(), MechanismError> {
        let Some(known) = names.iter().find(|known| **known == name) else {
            return Err(MechanismError::UnknownParameter {
                mechanism: self.mechanism,
                parameter: name.to_owned(),
                accepted: self.accepted,
            });
        };
        if self.get(known).is_some() {
            return Err(MechanismError::ParameterTwice {
                mechanism: self.mechanism,
                parameter: known,
            });
        }
        self.given.push((known, text));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let given = self.given.iter().find(|(given, _)| *given == name);
        given.map(|(_, text)| *text)
    }

    fn need(&self, parameter: &'static str) -> Result<&'a str, MechanismError> {
        self.get(parameter).ok_or(MechanismError::MissingParameter {
            mechanism: self.mechanism,
            parameter,
            accepted: self.accepted,
        })
    }

    fn positive(&self, parameter: &'static str) -> Result<f64, MechanismError> {
        let text = self.need(parameter)?;
        let value = finite(text).filter(|value| *value > 0.0);
        value.ok_or_else(|| bad(parameter, text, "a finite number above 0, like 2.1 or 1e3"))
    }

    fn probability(&self, parameter: &'static str) -> Result<f64, MechanismError> {
        let text = self.need(parameter)?;
        let value = finite(text).filter(|value| *value > 0.0 && *value <= 1.0);
        value.ok_or_else(|| bad(parameter, text, "a number above 0 and at most 1, like 0.01"))
    }

    /// One of sample-rate and batch-size.
    fn sampling(&self) -> Result<Sampling, MechanismError> {
        match (self.get("sample-rate"), self.get("batch-size")) {
            (Some(_), Some(_)) => Err(MechanismError::RateAndSize {
                mechanism: self.mechanism,
            }),
            (None, Some(size)) => Ok(Sampling::BatchSize(whole("batch-size", size)?)),
            (_, None) => Ok(Sampling::Rate(self.probability("sample-rate")?)),
        }
    }

    fn epsilon(&self) -> Result<Epsilon, MechanismError> {
        match self.amount("epsilon")? {
            epsilon if epsilon == Epsilon::ZERO => Err(MechanismError::NoEpsilon(epsilon)),
            epsilon => Ok(epsilon),
        }
    }

    fn amount<T: FromStr<Err = DecimalError>>(&self, parameter: &'static str) -> Result<T, MechanismError> {
        let amount = self.need(parameter)?.parse();
        amount.map_err(|problem| MechanismError::BadAmount { parameter, problem })
    }
}

fn bad(parameter: &'static str, text: &str, accepted: &'static str) -> MechanismError {
    MechanismError::BadValue {
        parameter,
        text: text.to_owned(),
        accepted,
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn not_negative(text: &str) -> Result<f64, MechanismError> {
    // The absolute value takes the sign of a zero away.
    let value = finite(text).filter(|value| *value >= 0.0).map(f64::abs);
    value.ok_or_else(|| bad("xi", text, "a finite number of 0 or more"))
}

fn whole(parameter: &'static str, text: &str) -> Result<u64, MechanismError> {
    let value = text.parse::<u64>().ok().filter(|value| *value > 0);
    value.ok_or_else(|| bad(parameter, text, WHOLE))
}

#[cfg(test)]
mod tests;
