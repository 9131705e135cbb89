//! The program `privatekube-cluster`; see [`privatekube_cluster::cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    privatekube_cluster::cli::main()
}
