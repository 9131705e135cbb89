//! Writes the custom resource definitions as YAML, one file each, and the JSON schema of the grant; with `--check`, only
//! checks that the files are up to date. Run as `cargo run -p privatekube-api --bin crdgen -- [--check] [FOLDER]`.

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use privatekube_api::{crd_files, grant_schema};

/// The folder of the definitions.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");
/// The file of the grant's schema.
const GRANT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grant.schema.json");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (options, folders): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| *option != "--check") {
        return Err(format!("{unknown} is not known: write crdgen [--check] [FOLDER]").into());
    }
    let folder = PathBuf::from(folders.first().map_or(FOLDER, String::as_str));
    let mut files: Vec<(PathBuf, String)> = crd_files()?
        .into_iter()
        .map(|(name, text)| (folder.join(name), text))
        .collect();
    if folders.is_empty() {
        files.push((PathBuf::from(GRANT), grant_schema()?));
    }
    let mut stale = false;
    for (path, text) in files {
        if options.is_empty() {
            fs::create_dir_all(&folder)?;
            fs::write(&path, text)?;
        // A file that can't be read is stale, too.
        } else if fs::read_to_string(&path).ok() != Some(text) {
            let name = path.file_name().unwrap_or_default().display();
            eprintln!("{name} is stale: run cargo run -p privatekube-api --bin crdgen");
            stale = true;
        }
    }
    Ok(if stale {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
