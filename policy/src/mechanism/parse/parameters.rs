//! The parameters of one mechanism, and all that is wrong with them.

use std::str::FromStr;

use super::{
    form::{Form, neighbours},
    hint::nearest,
    number::{WHOLE, whole},
};
use crate::{
    DecimalError, Epsilon,
    mechanism::{MechanismError, error::ParameterFault, neighbours::Neighbours, sampling::Sampling},
};

/// The parameters that a mechanism is given, as text.
pub(super) struct Parameters<'a> {
    form: &'static Form,
    given: Vec<(&'static str, &'a str)>,
    /// Names that are unknown, missing or there twice.
    names: Vec<ParameterFault>,
    /// Values that are wrong.
    values: Vec<MechanismError>,
}

impl<'a> Parameters<'a> {
    /// None yet.
    pub(super) const fn of(form: &'static Form) -> Self {
        Self {
            form,
            given: Vec::new(),
            names: Vec::new(),
            values: Vec::new(),
        }
    }

    /// All that was wrong: names first.
    pub(super) fn faults(self) -> Vec<MechanismError> {
        let names = (!self.names.is_empty()).then_some(MechanismError::Parameters {
            mechanism: self.form.name,
            faults: self.names,
            accepted: self.form.accepted,
        });
        names.into_iter().chain(self.values).collect()
    }

    /// Takes a parameter with its value. A name with a slip counts as the name that was meant, so that its value is checked,
    /// too, and nothing is called missing that isn't.
    pub(super) fn set(&mut self, written: &str, text: &'a str) {
        let is_known = |known: &&&str| **known == written;
        let name = if let Some(known) = self.form.parameters.iter().find(is_known) {
            Some(*known)
        } else {
            let hint = nearest(written, self.form.parameters.iter().copied());
            self.names.push(ParameterFault::Unknown {
                name: written.to_owned(),
                hint,
            });
            hint.filter(|hint| self.get(hint).is_none())
        };
        match name {
            Some(name) if self.get(name).is_some() => self.names.push(ParameterFault::Twice(name)),
            Some(name) => self.given.push((name, text)),
            None => {}
        }
    }

    /// Takes a value without a name as that of the first parameter that isn't given.
    pub(super) fn set_unnamed(&mut self, text: &'a str) {
        let missing = |name: &&&'static str| self.get(name).is_none();
        let hint = self.form.parameters.iter().find(missing).copied();
        self.names.push(ParameterFault::Unnamed {
            text: text.to_owned(),
            hint,
        });
        self.given.extend(hint.map(|name| (name, text)));
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let given = self.given.iter().find(|(given, _)| *given == name);
        given.map(|(_, text)| *text)
    }

    fn need(&mut self, parameter: &'static str) -> Option<&'a str> {
        let text = self.get(parameter);
        if text.is_none() {
            self.names.push(ParameterFault::Missing(parameter));
        }
        text
    }

    fn bad<T>(&mut self, parameter: &'static str, text: &str, accepted: impl Into<String>) -> Option<T> {
        self.values.push(MechanismError::BadValue {
            parameter,
            text: text.to_owned(),
            accepted: accepted.into(),
        });
        None
    }

    pub(super) fn positive(&mut self, parameter: &'static str) -> Option<f64> {
        let text = self.need(parameter)?;
        let value = finite(text).filter(|value| *value > 0.0);
        value.or_else(|| self.bad(parameter, text, "a finite number above 0, like 2.1 or 1e3"))
    }

    /// 0 if it is left out.
    pub(super) fn not_negative(&mut self, parameter: &'static str) -> Option<f64> {
        let Some(text) = self.get(parameter) else {
            return Some(0.0);
        };
        // The absolute value takes the sign of a zero away.
        let value = finite(text).filter(|value| *value >= 0.0).map(f64::abs);
        value.or_else(|| self.bad(parameter, text, "a finite number of 0 or more"))
    }

    pub(super) fn probability(&mut self, parameter: &'static str) -> Option<f64> {
        let text = self.need(parameter)?;
        let value = finite(text).filter(|value| *value > 0.0 && *value <= 1.0);
        value.or_else(|| self.bad(parameter, text, "a number above 0 and at most 1, like 0.01"))
    }

    /// A whole number from `least` on.
    pub(super) fn whole(&mut self, parameter: &'static str, least: u64) -> Option<u64> {
        let text = self.need(parameter)?;
        let value = whole(text).filter(|value| *value >= least);
        value.or_else(|| match least {
            ..=1 => self.bad(parameter, text, WHOLE),
            _ => self.bad(parameter, text, format!("a whole number of {least} or more")),
        })
    }

    /// One of sample-rate and batch-size.
    pub(super) fn sampling(&mut self) -> Option<Sampling> {
        match (self.get("sample-rate"), self.get("batch-size")) {
            (Some(_), Some(_)) => {
                self.values.push(MechanismError::RateAndSize {
                    mechanism: self.form.name,
                });
                None
            }
            (None, Some(_)) => self.whole("batch-size", 1).map(Sampling::BatchSize),
            (Some(_), None) => self.probability("sample-rate").map(Sampling::Rate),
            (None, None) => {
                self.names
                    .push(ParameterFault::Missing("sample-rate or batch-size"));
                None
            }
        }
    }

    pub(super) fn neighbours(&mut self) -> Option<Neighbours> {
        let Some(text) = self.get("neighbours") else {
            return Some(Neighbours::default());
        };
        let named = Neighbours::ALL.into_iter().find(|known| known.name() == text);
        named.or_else(|| {
            let accepted = "replace-one or replace-special";
            match nearest(text, neighbours()) {
                Some(hint) => self.bad("neighbours", text, format!("{accepted} (did you mean {hint}?)")),
                None => self.bad("neighbours", text, accepted),
            }
        })
    }

    /// An epsilon above 0.
    pub(super) fn epsilon(&mut self) -> Option<Epsilon> {
        let epsilon = self.amount("epsilon")?;
        if epsilon == Epsilon::ZERO {
            self.values.push(MechanismError::NoEpsilon(epsilon));
            return None;
        }
        Some(epsilon)
    }

    /// An exact amount.
    pub(super) fn amount<T: FromStr<Err = DecimalError>>(&mut self, parameter: &'static str) -> Option<T> {
        match self.need(parameter)?.parse() {
            Ok(amount) => Some(amount),
            Err(problem) => {
                self.values.push(MechanismError::BadAmount { parameter, problem });
                None
            }
        }
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}
