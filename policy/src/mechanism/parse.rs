//! The parser of mechanisms, such as `3*laplace(scale=10) + gaussian(sigma=2.1)`: recursive descent, one function for each
//! level. It goes on after a fault for as long as the text has the right form, so that its error names all of them.

mod form;
mod hint;
mod number;
mod parameters;

use std::str::FromStr;

use self::{
    form::{FORMS, Form},
    hint::nearest,
    number::{WHOLE, number_length, whole},
    parameters::Parameters,
};
use super::{Mechanism, MechanismError, Term};

const MOST_CHARACTERS: usize = 1000;
const MOST_TERMS: usize = 20;
const KNOWN: &str = "gaussian(sigma=...), laplace(scale=...), dp-sgd(noise-multiplier=...,sample-rate=...,steps=...), \
                     subsampled-laplace(scale=...,sample-rate=...), \
                     tree-aggregation(noise-multiplier=...,steps=...), \
                     randomized-response(noise-probability=...,categories=...), exponential(epsilon=...), \
                     pure(epsilon=...), zcdp(rho=...) or guarantee(epsilon=...,delta=...)";

/// A parser.
struct Reader<'a> {
    /// The rest of the text.
    rest: &'a str,
    /// What was wrong so far.
    faults: Vec<MechanismError>,
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
        let mut reader = Reader {
            rest: text,
            faults: Vec::new(),
        };
        let terms = reader.terms();
        let mut faults = reader.faults;
        match terms {
            Ok(terms) if faults.is_empty() => return Ok(Self { terms }),
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
        Err(match faults.pop() {
            Some(only) if faults.is_empty() => only,
            last => MechanismError::Several(faults.into_iter().chain(last).collect()),
        })
    }
}

impl<'a> Reader<'a> {
    /// Reads a sum. The terms are all of it only if there are no `faults`. The error is one after which nothing can be read.
    fn terms(&mut self) -> Result<Vec<Term>, MechanismError> {
        let mut terms = Vec::new();
        for _ in 0..MOST_TERMS {
            terms.extend(self.term()?);
            if self.is_at_end() {
                return Ok(terms);
            }
            self.expect('+', "+ or the end")?;
        }
        Err(MechanismError::TooManyTerms { most: MOST_TERMS })
    }

    /// Reads a term; none if it has faults.
    fn term(&mut self) -> Result<Option<Term>, MechanismError> {
        self.skip_space();
        let (number, rest) = self.rest.split_at(number_length(self.rest));
        self.rest = rest;
        let mut times = Some(1);
        if !number.is_empty() {
            self.expect('*', "* after a number")?;
            times = whole(number).filter(|times| *times > 0);
            if times.is_none() {
                self.faults.push(MechanismError::BadValue {
                    parameter: "a multiple",
                    text: number.to_owned(),
                    accepted: WHOLE.to_owned(),
                });
            }
        }
        if !self.next().is_some_and(char::is_alphabetic) {
            return Err(self.syntax("a mechanism"));
        }
        let name = self.take_while(is_in_name);
        let kind = if let Some(form) = self.form(name) {
            let mut given = self.parameters(form)?;
            let kind = form.kind(&mut given);
            self.faults.extend(given.faults());
            kind
        } else {
            self.skip_parameters()?;
            None
        };
        Ok(kind.zip(times).map(|(kind, times)| Term { times, kind }))
    }

    /// The mechanism of this name, or the one that it is most likely a slip of, so that its parameters are checked, too.
    fn form(&mut self, name: &str) -> Option<&'static Form> {
        let of = |name: &str| FORMS.iter().find(|form| form.name == name);
        if let Some(form) = of(name) {
            return Some(form);
        }
        let hint = nearest(name, FORMS.iter().map(|form| form.name));
        self.faults.push(MechanismError::UnknownMechanism {
            name: name.to_owned(),
            hint,
            known: KNOWN,
        });
        of(hint?)
    }

    /// Reads the parameters from `(` to `)`.
    fn parameters(&mut self, form: &'static Form) -> Result<Parameters<'a>, MechanismError> {
        let mut parameters = Parameters::of(form);
        self.expect('(', "(")?;
        // An empty list misses what the mechanism needs, which is told then.
        if self.next() != Some(')') {
            loop {
                let text = self.take_while(is_in_value).trim_end();
                if text.is_empty() {
                    return Err(self.syntax("the name of a parameter"));
                }
                if self.next() == Some('=') {
                    self.expect('=', "=")?;
                    let value = self.take_while(is_in_value);
                    parameters.set(text, value.trim_end());
                } else {
                    parameters.set_unnamed(text);
                }
                if self.next() != Some(',') {
                    break;
                }
                self.expect(',', ",")?;
            }
        }
        self.expect(')', ", or )")?;
        Ok(parameters)
    }

    /// Passes over what is most likely the parameters of a mechanism that isn't known.
    fn skip_parameters(&mut self) -> Result<(), MechanismError> {
        if self.next() == Some('(') {
            self.expect('(', "(")?;
            self.take_while(|c| is_in_value(c) || matches!(c, ',' | '='));
            self.expect(')', ", or )")?;
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn next(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.chars().next()
    }

    fn take_while(&mut self, accepts: impl Fn(char) -> bool) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c| !accepts(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn expect(&mut self, character: char, expected: &'static str) -> Result<(), MechanismError> {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.ok_or_else(|| self.syntax(expected))?;
        Ok(())
    }

    fn syntax(&self, expected: &'static str) -> MechanismError {
        MechanismError::Syntax {
            expected,
            found: self.rest.to_owned(),
        }
    }
}

fn is_in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

const fn is_in_value(c: char) -> bool {
    !matches!(c, ',' | '(' | ')' | '=')
}

#[cfg(test)]
mod tests;
