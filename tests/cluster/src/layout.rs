//! Where everything lives in a cluster's directory.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::part::Part;
use crate::users::User;

/// The paths inside a cluster's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes the directory (only its owner may enter: it holds tokens and keys) and returns its absolute layout.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("can't make the directory {}", dir.display()))?;
        Self::open(dir)
    }

    /// The layout of a directory that exists.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("there is no directory {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The layout of a directory whose absolute path is known.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// A new directory among the system's temporary ones.
    pub(crate) fn temporary() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("privatekube-cluster-{process}-{count}"));
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Self::open(&dir),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("can't make {}", dir.display())),
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Held by the owner as long as it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn pid(&self) -> PathBuf {
        self.dir.join("serve.pid")
    }

    pub(crate) fn description(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    pub(crate) fn serve_log(&self) -> PathBuf {
        self.dir.join("serve.log")
    }

    pub(crate) fn log(&self, part: Part) -> PathBuf {
        self.dir.join(format!("{}.log", part.log_name()))
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// The extender's certificates.
    pub(crate) fn tls(&self) -> PathBuf {
        self.dir.join("tls")
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.join("tokens.csv")
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    pub(crate) fn kubectl_cache(&self) -> PathBuf {
        self.dir.join("kubectl-cache")
    }

    pub(crate) fn kubeconfig(&self, user: User) -> PathBuf {
        match user {
            User::Admin => self.dir.join("kubeconfig"),
            other => self.dir.join(format!("{}.kubeconfig", other.file_name())),
        }
    }

    pub(crate) fn scheduler_config(&self, part: Part) -> PathBuf {
        self.dir.join(format!("{part}-config.json"))
    }

    /// A log file to which a part's output is appended.
    pub(crate) fn open_log(path: &Path) -> Result<File> {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("can't open the log {}", path.display()))
    }

    /// Takes the directory for this process; the lock is released when the returned file is dropped.
    pub(crate) fn take(&self) -> Result<File> {
        match self.try_take()? {
            Some(lock) => Ok(lock),
            None => bail!("a cluster is already up in {}", self.dir.display()),
        }
    }

    /// As [`Self::take`], `None` when another process has it.
    pub(crate) fn try_take(&self) -> Result<Option<File>> {
        let path = self.lock();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("can't open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("can't lock {}", path.display()))
            }
        }
    }

    /// Whether the directory is a cluster's, or empty: only such a one is ever removed.
    pub(crate) fn is_a_clusters(&self) -> Result<bool> {
        if self.lock().exists() || self.serve_log().exists() {
            return Ok(true);
        }
        let mut entries =
            fs::read_dir(&self.dir).with_context(|| format!("can't read {}", self.dir.display()))?;
        Ok(entries.next().is_none())
    }

    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| format!("can't remove {}", self.dir.display()))
    }
}
