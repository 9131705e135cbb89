//! Chooses free ports of 127.0.0.1 so that no two clusters choose the same.
//!
//! Some ports are used long after they are chosen. So they lie below the kernel's ephemeral ports, and each
//! range of them is locked by the process that chose it until that process ends. Another program may still
//! take one of them: when a part reports that its address is in use, the cluster is started once more with
//! other ports.

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
    /// Tells this cluster from the others of this machine while it runs.
    pub(crate) number: u16,
}

/// The ports of 127.0.0.1 at which PrivateKube's extender listens. They stay the same when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtenderPorts {
    /// For the scheduler's calls, over TLS.
    pub scheduler: u16,
    /// For the API server's calls of the webhooks, over TLS.
    pub webhook: u16,
    /// For health and metrics, plain HTTP.
    pub health: u16,
    /// For the status page, plain HTTP.
    #[serde(default)]
    pub status: u16,
}

impl Ports {
    /// Chooses ports that are free at this moment.
    pub(crate) fn choose() -> Result<Self> {
        let mut taken = Range::lock()?;
        Ok(Self {
            etcd: taken.next()?,
            etcd_peer: taken.next()?,
            api_server: taken.next()?,
            scheduler: taken.next()?,
            second_scheduler: taken.next()?,
            extender: ExtenderPorts::among(&mut taken)?,
            number: taken.number,
        })
    }
}

impl ExtenderPorts {
    /// Chooses ports that are free at this moment.
    pub(crate) fn choose() -> Result<Self> {
        Self::among(&mut Range::lock()?)
    }

    fn among(taken: &mut Range) -> Result<Self> {
        Ok(Self {
            scheduler: taken.next()?,
            webhook: taken.next()?,
            health: taken.next()?,
            status: taken.next()?,
        })
    }
}

/// Chooses one port that is free at this moment.
pub(crate) fn choose_one() -> Result<u16> {
    Range::lock()?.next()
}

/// The first port of the first range.
const FIRST: u16 = 10_000;
/// The number of ports in a range; a cluster needs nine.
const PORTS: u16 = 9;
/// The number of ranges. The last ends below 32,768, where the kernel's ephemeral ports begin.
const RANGES: u16 = 2_500;

/// A range of ports, locked by this process.
struct Range {
    number: u16,
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
                // The kernel releases the lock when the process ends.
                std::mem::forget(lock);
                return Ok(Self {
                    number: range,
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
