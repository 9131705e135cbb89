//! The commands, one file each. A command parses its arguments, calls the library, and prints the result.

pub(crate) mod compare;
pub(crate) mod experiment;
pub(crate) mod generate;
pub(crate) mod output;
pub(crate) mod parameters;
pub(crate) mod plot;
pub(crate) mod replay;
pub(crate) mod sweep;
