//! Makes an image with Python and packages of PyPI: Debian's Python in one layer, which all such images share, and the
//! packages in another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::home::Home;
use super::image::{self, ImageOptions};
use super::{build, debian};
use crate::binaries;

/// What the base has: Python with its standard library, what compiled packages often need, and a shell (busybox).
const PACKAGES: [&str; 5] = [
    "python3-minimal",
    "libpython3-stdlib",
    "libstdc++6",
    "libgomp1",
    "busybox-static",
];
/// What packages name as needed for installing them, and no program that runs needs.
const LEFT_OUT: [&str; 12] = [
    "cdebconf",
    "debconf",
    "dpkg",
    "install-info",
    "libdebian",
    "libgdbm",
    "libperl",
    "mailcap",
    "media-types",
    "mime-support",
    "perl",
    "tar",
];
/// The users of the image.
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Makes the image `name` with the packages that a file of requirements lists and with wheels of this machine, unless it
/// exists with the same ones. Returns its archive.
pub(crate) fn make(
    home: &Home,
    name: &str,
    requirements: Option<&Path>,
    wheels: &[PathBuf],
) -> Result<PathBuf> {
    image::check_name(name)?;
    let archive = home.image(name);
    let wanted = match requirements {
        Some(path) => fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?,
        None => String::new(),
    };
    let base = ensure_base(home)?;
    let stamp_path = archive.with_extension("made-from");
    let digests = [&base]
        .into_iter()
        .chain(wheels)
        .map(|file| image::digest_of(file));
    let stamp = format!("{}\n{wanted}", digests.collect::<Result<Vec<_>>>()?.join("\n"));
    if archive.is_file() && fs::read_to_string(&stamp_path).is_ok_and(|made_from| made_from == stamp) {
        return Ok(archive);
    }
    fs::create_dir_all(home.images()).with_context(|| format!("can't make {}", home.images().display()))?;
    let mut layers = vec![base];
    let work = archive.with_extension("packages");
    if requirements.is_some() || !wheels.is_empty() {
        build::clear(&work)?;
        let root = work.join("root");
        install(home, requirements, wheels, &root)?;
        let layer = work.join("layer.tar");
        image::make_layer(&root, &layer)?;
        layers.push(layer);
    }
    let options = ImageOptions {
        name: name.to_owned(),
        entrypoint: Vec::new(),
        environment: vec![
            "PYTHONUNBUFFERED=1".to_owned(),
            "PYTHONDONTWRITEBYTECODE=1".to_owned(),
        ],
    };
    image::make(&options, &layers, &archive)?;
    build::remove(&work)?;
    fs::write(&stamp_path, stamp).with_context(|| format!("can't write {}", stamp_path.display()))?;
    Ok(archive)
}

fn base_root(home: &Home) -> PathBuf {
    home.dir().join("python/root")
}

/// Makes the layer with Python, unless it exists, and returns it.
fn ensure_base(home: &Home) -> Result<PathBuf> {
    let layer = home.dir().join("python/base.tar");
    if layer.is_file() {
        return Ok(layer);
    }
    let root = base_root(home);
    build::clear(&root)?;
    let lists = home.dir().join("apt");
    let packages = debian::with_dependencies(&PACKAGES, &LEFT_OUT, &lists)?;
    debian::unpack(&packages, &root, &lists)?;
    let version = python_version(&root)?;
    build::add_busybox(&root)?;
    link(&format!("python{version}"), &root.join("usr/bin/python3"))?;
    link("python3", &root.join("usr/bin/python"))?;
    for folder in ["etc", "root", "tmp", "proc", "sys", "dev", "run", "var/tmp"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("can't make {folder} of the image"))?;
    }
    build::set_mode(&root.join("tmp"), 0o1777)?;
    for (name, text) in [("passwd", USERS), ("group", GROUPS)] {
        let path = root.join("etc").join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    // Nobody reads them in a container, and they are a third of the files.
    for folder in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/lintian",
        "usr/share/locale",
    ] {
        build::remove(&root.join(folder))?;
    }
    image::make_layer(&root, &layer)?;
    Ok(layer)
}

/// The version of the Python below `root`, such as `3.11`.
fn python_version(root: &Path) -> Result<String> {
    let folder = root.join("usr/bin");
    let entries = fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut versions = entries.flatten().filter_map(|entry| {
        let version = entry.file_name().to_str()?.strip_prefix("python")?.to_owned();
        let (major, minor) = version.split_once('.')?;
        (major == "3" && minor.parse::<u32>().is_ok()).then_some(version)
    });
    versions.next().context("Debian's packages hold no Python")
}

/// The platform whose wheels run in the image, such as `x86_64-manylinux_2_36`: its C library is that of this machine's Debian,
/// and a wheel that was built here may need one as new.
fn platform() -> Result<String> {
    let mut command = Command::new("getconf");
    command.arg("GNU_LIBC_VERSION");
    let output = command.output().context("can't run getconf")?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (major, minor) = version
        .strip_prefix("glibc ")
        .and_then(|version| version.split_once('.'))
        .with_context(|| {
            format!("getconf GNU_LIBC_VERSION printed {version:?}: a glibc like 2.36 is needed")
        })?;
    Ok(format!("{}-manylinux_{major}_{minor}", std::env::consts::ARCH))
}

fn link(target: &str, path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(target, path).with_context(|| format!("can't make {}", path.display()))
}

/// Installs packages for the image's Python, without running anything of them.
fn install(home: &Home, requirements: Option<&Path>, wheels: &[PathBuf], root: &Path) -> Result<()> {
    let version = python_version(&base_root(home))?;
    let target = root.join(format!("usr/local/lib/python{version}/dist-packages"));
    fs::create_dir_all(&target).with_context(|| format!("can't make {}", target.display()))?;
    let uv = uv(home)?;
    let platform = platform()?;
    let install = || {
        let mut command = Command::new(&uv);
        command.args([
            "pip",
            "install",
            "--quiet",
            "--no-config",
            "--only-binary",
            ":all:",
        ]);
        // Its cache may be on another file system, or belong to somebody.
        command.args([
            "--link-mode",
            "copy",
            "--python-version",
            &version,
            "--python-platform",
        ]);
        command.arg(&platform);
        command
            .arg("--target")
            .arg(&target)
            .env("UV_PYTHON_DOWNLOADS", "never");
        command
    };
    if let Some(requirements) = requirements {
        let mut command = install();
        command.arg("--requirement").arg(requirements);
        run(command, "uv pip install")?;
    }
    if !wheels.is_empty() {
        let mut command = install();
        command.args(["--no-deps", "--no-index"]).args(wheels);
        run(command, "uv pip install")?;
    }
    Ok(())
}

/// uv, in the version that the Python package is built with. Unlike pip, it judges the conditions in requirements for the
/// image's Python, and not for the one of this machine.
fn uv(home: &Home) -> Result<PathBuf> {
    let environment = home.dir().join("uv");
    let program = environment.join("bin/uv");
    if !program.is_file() {
        let locked = binaries::workspace_root()?.join("client/requirements/bootstrap.txt");
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(&environment);
        run(command, "python3 -m venv")?;
        let mut command = Command::new(environment.join("bin/pip"));
        command.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
        ]);
        command
            .args(["--only-binary", ":all:", "--requirement"])
            .arg(locked);
        run(command, "pip")?;
    }
    Ok(program)
}

fn run(mut command: Command, what: &str) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("can't run {what}"))?;
    if !status.success() {
        bail!("{what} ended with {status}");
    }
    Ok(())
}
