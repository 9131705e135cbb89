//! The commands, one file each: arguments in, lines out. What they do is the library's.

pub(crate) mod compare;
pub(crate) mod experiment;
pub(crate) mod generate;
pub(crate) mod output;
pub(crate) mod parameters;
pub(crate) mod plot;
pub(crate) mod replay;
pub(crate) mod sweep;
