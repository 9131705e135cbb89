//! Free ports of 127.0.0.1, chosen together so that none is chosen twice.
//!
//! Between the choice and its use another process may take a port; whoever starts a cluster tries once more with new
//! ports when a part says that its address is in use.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};
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
        let mut taken = Taken::default();
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
        Self::among(&mut Taken::default())
    }

    fn among(taken: &mut Taken) -> Result<Self> {
        Ok(Self {
            scheduler: taken.next()?,
            webhook: taken.next()?,
            health: taken.next()?,
        })
    }
}

/// Ports that stay taken until the last one is known.
#[derive(Default)]
struct Taken(Vec<TcpListener>);

impl Taken {
    fn next(&mut self) -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of 127.0.0.1 is free")?;
        let port = listener.local_addr().context("a socket has no address")?.port();
        self.0.push(listener);
        Ok(port)
    }
}
