//! `kubectl_complete-privacy`, which kubectl runs with the words after `kubectl privacy`, the last of which is to be completed.
#![forbid(unsafe_code)]

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1).collect();
    match stdout().write_all(kubectl_privacy::completions(words).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
