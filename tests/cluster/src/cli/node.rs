//! `node`: the processes of a real node, which only a cluster's owner starts.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::real_node::{keeper, namespaces, services};

#[derive(Debug, Args)]
pub(super) struct Node {
    #[command(subcommand)]
    process: NodeProcess,
}

#[derive(Debug, Subcommand)]
enum NodeProcess {
    /// Start a node, and remove all of it at its end
    Keep(Spec),
    /// Be the node's first process
    First(Spec),
    /// Run containerd and the kubelet
    Serve(Spec),
}

#[derive(Debug, Args)]
struct Spec {
    /// The description of the node
    #[arg(long)]
    spec: PathBuf,
}

impl Node {
    pub(super) fn execute(self) -> Result<()> {
        match self.process {
            NodeProcess::Keep(spec) => super::runtime()?.block_on(keeper::keep(&spec.spec)),
            NodeProcess::First(spec) => namespaces::run_first(&spec.spec),
            NodeProcess::Serve(spec) => match super::runtime()?.block_on(services::serve(&spec.spec))? {},
        }
    }
}
