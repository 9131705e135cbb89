//! A real node: kubelet and containerd run in namespaces of their own, and the cluster's pods as containers there.
//!
//! Outside of the namespaces, the node's keeper ([`keeper`]) is a part of the cluster as etcd is. It gives the node
//! its cgroups ([`cgroups`]) and a network link, starts the node's first process ([`namespaces`]), which starts containerd
//! and the kubelet ([`services`]), and removes everything when the node or the cluster's owner ends.
//!
//! What the programs are and where they come from: [`programs`] and [`build`]. Whether this machine can run a node:
//! [`machine`]. Container images are made without a container engine: [`image`], [`python_image`].

pub(crate) mod build;
mod cgroups;
mod debian;
mod forward;
mod home;
pub(crate) mod image;
pub(crate) mod keeper;
mod load;
mod machine;
pub(crate) mod namespaces;
pub(crate) mod python_image;
pub(crate) mod ready;
pub(crate) mod services;
mod settings;
mod spec;

use std::net::Ipv4Addr;

pub use machine::{CannotRunNodes, check as check_machine, tests_run_real_nodes};

pub(crate) use cgroups::{enter as enter_cgroups, sweep as sweep_cgroups};
pub(crate) use home::Home;
pub(crate) use load::load_image;
pub(crate) use spec::NodeSpec;

/// The name of the one real node.
pub(crate) const NODE_NAME: &str = "real-node";
/// The address of the Service `kubernetes`, at which the API server answers inside of the node.
pub(crate) const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The port of the kubelet's server, which is on the node's own address.
pub(crate) const KUBELET_PORT: u16 = 10_250;

/// The two ends of the link between a node and the machine: a /30 network that no other cluster of this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Link {
    /// The end in the machine's network.
    pub(crate) machine: Ipv4Addr,
    /// The end in the node's network, which is the node's address.
    pub(crate) node: Ipv4Addr,
    /// Tells apart the links of the clusters of this machine.
    pub(crate) number: u16,
}

impl Link {
    /// The length of the network's prefix.
    pub(crate) const PREFIX: u8 = 30;

    /// The link number `number`, in 198.18.0.0/15, which is set aside for tests of networks.
    pub(crate) fn numbered(number: u16) -> Self {
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::from(number % 0x8000) * 4;
        Self {
            machine: Ipv4Addr::from(network + 1),
            node: Ipv4Addr::from(network + 2),
            number,
        }
    }

    /// The name of the interface in the machine's network.
    pub(crate) fn interface(&self) -> String {
        format!("pknode{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_networks_of_their_own_and_names_that_linux_takes() {
        assert_eq!(Link::numbered(0).node, Ipv4Addr::new(198, 18, 0, 2));
        assert_eq!(Link::numbered(64).machine, Ipv4Addr::new(198, 18, 1, 1));
        assert_eq!(Link::numbered(0x7fff).node, Ipv4Addr::new(198, 19, 255, 254));
        assert!(Link::numbered(u16::MAX).interface().len() < 16);
    }
}
