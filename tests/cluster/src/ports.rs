//! Free ports of 127.0.0.1, chosen so that no two clusters choose the same.
//!
//! Some are used long after they are chosen. They lie below those that the kernel gives to whoever asks for any, and
//! in ranges of which each is locked by the process that chose it, until it ends. Whoever else may still take a port;
//! whoever starts a cluster tries once more with new ports when a part says that its address is in use.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The ports of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api_server: u16,
    pub(crate) scheduler: u16,
    pub(crate) second_scheduler: u16,
    pub(crate) extender: ExtenderPorts,
}

/// Where PrivateKube's extender listens on 127.0.0.1; the same ports after each of its restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtenderPorts {
    /// The scheduler's calls.
    pub scheduler: u16,
    /// The API server's calls.
    pub webhook: u16,
    /// Health and metrics, plain HTTP.
    pub health: u16,
}

impl Ports {
    /// Chooses ports that are free now.
    pub(crate) fn choose() -> Result<Self> {
        let mut taken = Range::lock()?;
        Ok(Self {
            etcd: taken.next()?,
            etcd_peer: taken.next()?,
            api_server: taken.next()?,
            scheduler: taken.next()?,
            second_scheduler: taken.next()?,
            extender: ExtenderPorts::among(&mut taken)?,
        })
    }
}

impl ExtenderPorts {
    /// Chooses ports that are free now.
    pub(crate) fn choose() -> Result<Self> {
        Self::among(&mut Range::lock()?)
    }

    fn among(taken: &mut Range) -> Result<Self> {
        Ok(Self {
            scheduler: taken.next()?,
            webhook: taken.next()?,
            health: taken.next()?,
        })
    }
}

/// The first port of the first range.
const FIRST: u16 = 10_000;
/// Ports of a range; a cluster needs eight.
const PORTS: u16 = 8;
/// So many ranges end below 32,768, where the kernel's own begin.
const RANGES: u16 = 2_500;

/// A range of ports that this process has locked.
struct Range {
    next: u16,
    end: u16,
}

impl Range {
    fn lock() -> Result<Self> {
        let dir = std::env::temp_dir().join("privatekube-cluster-ports");
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        let seed = RandomState::new().build_hasher().finish();
        let first = u16::try_from(seed % u64::from(RANGES)).unwrap_or(0);
        for range in (first..RANGES).chain(0..first) {
            let path = dir.join(range.to_string());
            let lock = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let next = FIRST + range * PORTS;
            let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if (next..next + PORTS).all(is_free) {
                // The lock goes when the process does.
                std::mem::forget(lock);
                return Ok(Self {
                    next,
                    end: next + PORTS,
                });
            }
        }
        bail!("no range of {PORTS} ports of 127.0.0.1 is free")
    }

    fn next(&mut self) -> Result<u16> {
        if self.next == self.end {
            bail!("a cluster has more than {PORTS} ports");
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}
