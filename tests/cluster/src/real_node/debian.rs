//! Files of Debian packages that aren't installed: downloads the packages, and unpacks them into a folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Downloads packages, and unpacks them below `root`.
///
/// The lists of packages are the system's. If there are none, as in a new container, `lists` becomes a folder of lists.
pub(super) fn unpack(packages: &[String], root: &Path, lists: &Path) -> Result<()> {
    let downloads = root.with_extension("packages");
    for folder in [root, &downloads] {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    let mut arguments = vec!["download".to_owned()];
    arguments.extend_from_slice(packages);
    run_with_lists("apt-get", &arguments, &downloads, lists)?;
    let entries = fs::read_dir(&downloads).with_context(|| format!("can't read {}", downloads.display()))?;
    for entry in entries {
        let path = entry.context("can't read the downloads")?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            let mut command = Command::new("dpkg");
            command.arg("-x").arg(&path).arg(root);
            checked(command)?;
        }
    }
    fs::remove_dir_all(&downloads).with_context(|| format!("can't remove {}", downloads.display()))
}

/// The packages that `packages` need, with themselves, by name; without those whose names begin as one of `left_out`.
pub(super) fn with_dependencies(packages: &[&str], left_out: &[&str], lists: &Path) -> Result<Vec<String>> {
    let mut arguments: Vec<String> = ["depends", "--recurse"].map(str::to_owned).into();
    let others = [
        "recommends",
        "suggests",
        "conflicts",
        "breaks",
        "replaces",
        "enhances",
    ];
    arguments.extend(others.map(|kind| format!("--no-{kind}")));
    arguments.extend(packages.iter().map(|package| (*package).to_owned()));
    let output = run_with_lists("apt-cache", &arguments, Path::new("/"), lists)?;
    let text = String::from_utf8(output.stdout).context("apt-cache's output is not UTF-8")?;
    let mut names = names(&text);
    names.retain(|name| !left_out.iter().any(|prefix| name.starts_with(prefix)));
    Ok(names)
}

/// The real packages in the output of `apt-cache depends`: the lines that aren't indented. `<...>` are virtual.
fn names(depends: &str) -> Vec<String> {
    let lines = depends.lines().filter(|line| !line.starts_with([' ', '<', '|']));
    let mut names: Vec<String> = lines
        .map(|line| line.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Runs apt with the system's lists of packages; if that fails, once more with new ones in a folder of ours.
fn run_with_lists(program: &str, arguments: &[String], folder: &Path, lists: &Path) -> Result<Output> {
    let command = |own: &[String]| {
        let mut command = Command::new(program);
        command.args(own).args(arguments).current_dir(folder);
        command
    };
    let error = match checked(command(&[])) {
        Ok(output) => return Ok(output),
        Err(error) => error,
    };
    let own = own_lists(lists)?;
    let mut update = Command::new("apt-get");
    update.args(&own).arg("update");
    checked(update).with_context(|| format!("{error:#}"))?;
    checked(command(&own))
}

/// The options by which apt keeps its lists in `lists`.
fn own_lists(lists: &Path) -> Result<Vec<String>> {
    let partial: PathBuf = lists.join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    let options = [
        format!("Dir::State::Lists={}", lists.display()),
        format!("Dir::Cache::pkgcache={}", lists.join("pkgcache.bin").display()),
        format!(
            "Dir::Cache::srcpkgcache={}",
            lists.join("srcpkgcache.bin").display()
        ),
        // Otherwise its user may lack the right to write there.
        "APT::Sandbox::User=root".to_owned(),
    ];
    Ok(options
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect())
}

/// Runs a command. The error holds what it printed to standard error.
fn checked(mut command: Command) -> Result<Output> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run `{program}`, which Debian's packages take"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}: {}", output.status, complaint.trim());
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_packages_are_told_from_their_relations() {
        let text = "python3-minimal\n  Depends: python3.11-minimal\n |Depends: dpkg\n<debconf-2.0>\n  cdebconf\nlibc6\nlibc6\n";
        assert_eq!(names(text), ["libc6", "python3-minimal"]);
    }
}
