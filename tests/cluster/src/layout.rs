//! [`Layout`]: the files of a cluster's directory, and the lock by which one process owns it.

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
    /// Creates the directory, unless it exists, and returns its layout. Only its user may enter: it holds
    /// tokens and keys.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("can't make the directory {}", dir.display()))?;
        Self::open(dir)
    }

    /// The layout of an existing directory.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("there is no directory {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The layout of a directory given by its absolute path.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Creates a new directory in the system's temporary directory.
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

    /// The file that the owner keeps locked while it runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn pid(&self) -> PathBuf {
        self.dir.join("serve.pid")
    }

    pub(crate) fn description(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// The socket at which the owner takes requests of other commands.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
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

    /// The folder of the files of pods whose programs run.
    pub(crate) fn pods(&self) -> PathBuf {
        self.dir.join("pods")
    }

    /// The folder of a real node's files, which go with the node.
    pub(crate) fn node_files(&self) -> PathBuf {
        self.dir.join("node")
    }

    /// The log of a program of a real node.
    pub(crate) fn service_log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
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

    /// Opens a log file for appending.
    pub(crate) fn open_log(path: &Path) -> Result<File> {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("can't open the log {}", path.display()))
    }

    /// Locks the directory for this process, until the returned file is dropped.
    pub(crate) fn take(&self) -> Result<File> {
        match self.try_take()? {
            Some(lock) => Ok(lock),
            None => bail!("a cluster is already up in {}", self.dir.display()),
        }
    }

    /// As [`Self::take`], but returns `None` if another process holds the lock.
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

    /// Whether the directory is a cluster's, or empty. No other directory is ever removed.
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
