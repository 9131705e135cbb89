//! An amount that may be beyond 64 bits, stored as a decimal in a string.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest amount that is read, and the negative of the least. An engine has at most 2^32 claims of 2^63
/// each, so amounts that begin here stay within 127 bits.
const MOST: i128 = 1 << 120;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::engine) struct Units(i128);

/// A text that is no such amount.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not an amount: write an integer between -2^120 and 2^120 without superfluous characters")]
pub(in crate::engine) struct NotUnits(String);

impl Units {
    pub(in crate::engine) const fn get(self) -> i128 {
        self.0
    }
}

impl From<i128> for Units {
    fn from(units: i128) -> Self {
        Self(units)
    }
}

impl TryFrom<String> for Units {
    type Error = NotUnits;

    fn try_from(text: String) -> Result<Self, NotUnits> {
        match text.parse::<i128>() {
            // Each amount has one form, so that equal states have equal bytes.
            Ok(units) if (-MOST..=MOST).contains(&units) && units.to_string() == text => Ok(Self(units)),
            _ => Err(NotUnits(text)),
        }
    }
}

impl From<Units> for String {
    fn from(units: Units) -> Self {
        units.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_amount_has_one_form() {
        for text in [
            "0",
            "-1",
            "9223372036854775808",
            "1329227995784915872903807060280344576",
        ] {
            let units = Units::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(units), text);
        }
        for text in [
            "",
            "-0",
            "+1",
            "01",
            " 1",
            "1.0",
            "1329227995784915872903807060280344577",
            "999999999999999999999999999999999999999999",
        ] {
            assert!(Units::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
