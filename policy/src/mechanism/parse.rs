//! The language of mechanisms: `3*laplace(scale=10) + gaussian(sigma=2.1)`.

use std::str::FromStr;

use super::{Kind, Mechanism, MechanismError, Term};
use crate::Epsilon;

const MOST_CHARACTERS: usize = 1000;
const MOST_TERMS: usize = 20;
const KNOWN: &str = "gaussian(sigma=...), laplace(scale=...), dp-sgd(noise-multiplier=...,sample-rate=...,steps=...) or \
                     guarantee(epsilon=...,delta=...)";
const WHOLE: &str = "a whole number of 1 or more";

/// What is left to read.
struct Reader<'a>(&'a str);

/// A mechanism's parameters as they were written, in the order in which they are documented.
struct Parameters<'a, const N: usize> {
    mechanism: &'static str,
    accepted: &'static str,
    names: [&'static str; N],
    texts: [Option<&'a str>; N],
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
                let [sigma] = self.parameters("gaussian", "gaussian(sigma=2.1)", ["sigma"])?;
                Kind::Gaussian {
                    sigma: positive("sigma", sigma)?,
                }
            }
            "laplace" => {
                let [scale] = self.parameters("laplace", "laplace(scale=10)", ["scale"])?;
                Kind::Laplace {
                    scale: positive("scale", scale)?,
                }
            }
            "dp-sgd" => {
                let [noise_multiplier, sample_rate, steps] = self.parameters(
                    "dp-sgd",
                    "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)",
                    ["noise-multiplier", "sample-rate", "steps"],
                )?;
                Kind::DpSgd {
                    noise_multiplier: positive("noise-multiplier", noise_multiplier)?,
                    sample_rate: rate("sample-rate", sample_rate)?,
                    steps: whole("steps", steps)?,
                }
            }
            "guarantee" => {
                let accepted = "guarantee(epsilon=0.5,delta=1e-9)";
                let [epsilon, delta] = self.parameters("guarantee", accepted, ["epsilon", "delta"])?;
                let epsilon: Epsilon = epsilon.parse().map_err(|problem| MechanismError::BadAmount {
                    parameter: "epsilon",
                    problem,
                })?;
                let delta = delta.parse().map_err(|problem| MechanismError::BadAmount {
                    parameter: "delta",
                    problem,
                })?;
                if epsilon == Epsilon::ZERO {
                    return Err(MechanismError::NoEpsilon(epsilon));
                }
                Kind::Guarantee { epsilon, delta }
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

    /// The texts of `names`, from `(` to `)`.
    fn parameters<const N: usize>(
        &mut self,
        mechanism: &'static str,
        accepted: &'static str,
        names: [&'static str; N],
    ) -> Result<[&'a str; N], MechanismError> {
        let mut parameters = Parameters {
            mechanism,
            accepted,
            names,
            texts: [None; N],
        };
        self.expect('(', "(")?;
        // An empty list says which parameter is missing.
        if self.next() != Some(')') {
            loop {
                let name = self.take_while(|c| c.is_alphanumeric() || c == '-' || c == '_');
                if name.is_empty() {
                    return Err(self.syntax("the name of a parameter"));
                }
                self.expect('=', "= after the name of a parameter")?;
                let text = self.take_while(|c| !matches!(c, ',' | '(' | ')' | '='));
                parameters.set(name, text.trim_end())?;
                if self.next() != Some(',') {
                    break;
                }
                self.expect(',', ",")?;
            }
        }
        self.expect(')', ", or )")?;
        parameters.finish()
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

impl<'a, const N: usize> Parameters<'a, N> {
    fn set(&mut self, name: &str, text: &'a str) -> Result<(), MechanismError> {
        let Some(at) = self.names.iter().position(|known| *known == name) else {
            return Err(MechanismError::UnknownParameter {
                mechanism: self.mechanism,
                parameter: name.to_owned(),
                accepted: self.accepted,
            });
        };
        if self.texts[at].replace(text).is_some() {
            return Err(MechanismError::ParameterTwice {
                mechanism: self.mechanism,
                parameter: self.names[at],
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<[&'a str; N], MechanismError> {
        let missing = self.texts.iter().position(Option::is_none);
        match missing {
            Some(at) => Err(MechanismError::MissingParameter {
                mechanism: self.mechanism,
                parameter: self.names[at],
                accepted: self.accepted,
            }),
            None => Ok(self.texts.map(Option::unwrap_or_default)),
        }
    }
}

fn bad(parameter: &'static str, text: &str, accepted: &'static str) -> MechanismError {
    MechanismError::BadValue {
        parameter,
        text: text.to_owned(),
        accepted,
    }
}

fn positive(parameter: &'static str, text: &str) -> Result<f64, MechanismError> {
    let value = text.parse::<f64>().ok();
    let value = value.filter(|value| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| bad(parameter, text, "a finite number above 0, like 2.1 or 1e3"))
}

fn rate(parameter: &'static str, text: &str) -> Result<f64, MechanismError> {
    let value = text.parse::<f64>().ok();
    let value = value.filter(|value| *value > 0.0 && *value <= 1.0);
    value.ok_or_else(|| bad(parameter, text, "a number above 0 and at most 1, like 0.01"))
}

fn whole(parameter: &'static str, text: &str) -> Result<u64, MechanismError> {
    let value = text.parse::<u64>().ok().filter(|value| *value > 0);
    value.ok_or_else(|| bad(parameter, text, WHOLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_written_as_they_are_read() {
        for (text, written) in [
            ("gaussian(sigma=2.1)", "gaussian(sigma=2.1)"),
            ("  laplace ( scale = 10 ) ", "laplace(scale=10)"),
            (
                "dp-sgd(steps=10000,\n sample-rate=.01, noise-multiplier=1.10)",
                "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)",
            ),
            (
                "3 * laplace(scale=1e+1)+gaussian(sigma=1e-9)",
                "3*laplace(scale=10) + gaussian(sigma=1e-9)",
            ),
            (
                "1*guarantee(epsilon=0.50,delta=1e-9)",
                "guarantee(epsilon=0.5,delta=0.000000001)",
            ),
        ] {
            let mechanism: Mechanism = text.parse().unwrap();
            assert_eq!(mechanism.to_string(), written);
            assert_eq!(written.parse(), Ok(mechanism));
        }
    }

    #[test]
    fn what_is_not_a_mechanism_says_what_is_accepted() {
        let known = "gaussian(sigma=...), laplace(scale=...), \
                     dp-sgd(noise-multiplier=...,sample-rate=...,steps=...) or guarantee(epsilon=...,delta=...)";
        let like = "write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)";
        let finite = "it must be a finite number above 0, like 2.1 or 1e3";
        for (text, message) in [
            ("", format!("expected a mechanism at \"\": {like}")),
            (
                "gauss(sigma=1)",
                format!("\"gauss\" is not a known mechanism: use {known}"),
            ),
            (
                "Gaussian(sigma=1)",
                format!("\"Gaussian\" is not a known mechanism: use {known}"),
            ),
            ("gaussian", format!("expected ( at \"\": {like}")),
            ("gaussian(sigma=1", format!("expected , or ) at \"\": {like}")),
            (
                "gaussian(sigma=1) laplace",
                format!("expected + or the end at \"laplace\": {like}"),
            ),
            (
                "gaussian(sigma=1)+",
                format!("expected a mechanism at \"\": {like}"),
            ),
            (
                "3 laplace(scale=1)",
                format!("expected * after a number at \"laplace(scale=1)\": {like}"),
            ),
            (
                "-1*laplace(scale=1)",
                "\"-1\" is not a known mechanism: use ".to_owned() + known,
            ),
            (
                "0*laplace(scale=1)",
                "a multiple is \"0\": it must be a whole number of 1 or more".to_owned(),
            ),
            (
                "gaussian()",
                "gaussian needs sigma: write gaussian(sigma=2.1)".to_owned(),
            ),
            (
                "gaussian(scale=1)",
                "gaussian has no parameter \"scale\": write gaussian(sigma=2.1)".to_owned(),
            ),
            (
                "gaussian(sigma=1,sigma=2)",
                "sigma of gaussian is given twice".to_owned(),
            ),
            (
                "gaussian(1)",
                format!("expected = after the name of a parameter at \")\": {like}"),
            ),
            ("gaussian(sigma=)", format!("sigma is \"\": {finite}")),
            ("gaussian(sigma=0)", format!("sigma is \"0\": {finite}")),
            ("gaussian(sigma=-1)", format!("sigma is \"-1\": {finite}")),
            ("gaussian(sigma=inf)", format!("sigma is \"inf\": {finite}")),
            ("gaussian(sigma=1e999)", format!("sigma is \"1e999\": {finite}")),
            ("laplace(scale=NaN)", format!("scale is \"NaN\": {finite}")),
            ("laplace(scale=ten)", format!("scale is \"ten\": {finite}")),
            (
                "dp-sgd(noise-multiplier=1,sample-rate=1.1,steps=1)",
                "sample-rate is \"1.1\": it must be a number above 0 and at most 1, like 0.01".to_owned(),
            ),
            (
                "dp-sgd(noise-multiplier=1,sample-rate=1,steps=1.5)",
                "steps is \"1.5\": it must be a whole number of 1 or more".to_owned(),
            ),
            (
                "dp-sgd(noise-multiplier=1,sample-rate=1)",
                "dp-sgd needs steps: write dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)"
                    .to_owned(),
            ),
            (
                "guarantee(epsilon=0,delta=0)",
                "epsilon is 0: a demand needs an epsilon above 0".to_owned(),
            ),
            (
                "guarantee(epsilon=x,delta=0)",
                "epsilon: \"x\" is not a number: write a decimal like 0.5 or 1e-9".to_owned(),
            ),
        ] {
            let error = text.parse::<Mechanism>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
        let long = "laplace(scale=1)+".repeat(60);
        assert!(matches!(
            long.parse::<Mechanism>(),
            Err(MechanismError::TooLong {
                length: 1020,
                most: 1000
            })
        ));
        let many = format!("{}laplace(scale=1)", "laplace(scale=1)+".repeat(20));
        assert_eq!(
            many.parse::<Mechanism>(),
            Err(MechanismError::TooManyTerms { most: 20 })
        );
    }
}
