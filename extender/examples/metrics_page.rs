//! Writes `docs/metrics.md`; with `--check`, only checks that it is up to date. Run as
//! `cargo run -p privatekube-extender --example metrics_page -- [--check]`.

use std::{error::Error, fs, process::ExitCode};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let page = privatekube_extender::metrics_page()?;
    let options: Vec<String> = std::env::args().skip(1).collect();
    match options.as_slice() {
        [] => fs::write(PATH, page)?,
        [option] if option == "--check" => {
            // A file that can't be read is stale, too.
            if fs::read_to_string(PATH).ok() != Some(page) {
                eprintln!(
                    "docs/metrics.md is stale: run cargo run -p privatekube-extender --example metrics_page"
                );
                return Ok(ExitCode::FAILURE);
            }
        }
        [unknown, ..] => return Err(format!("{unknown} is not known: write metrics_page [--check]").into()),
    }
    Ok(ExitCode::SUCCESS)
}
