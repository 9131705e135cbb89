//! `stop`, `start` and `restart`: parts of a cluster that `up` started. The cluster goes on meanwhile.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::cluster_dir;
use crate::control_socket::ask;
use crate::layout::Layout;
use crate::part::Part;
use crate::protocol::Request;

/// Which part of which cluster.
#[derive(Debug, Args)]
pub(super) struct PartArguments {
    /// The part
    part: Part,
    /// The cluster's directory [default: .local/cluster of the workspace, or the one of `run`]
    #[arg(long, env = super::DIR_VARIABLE)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    at: PartArguments,
    /// Kill it by SIGKILL, as a crash would end it
    #[arg(long)]
    kill: bool,
}

impl Stop {
    fn request(&self) -> Request {
        if self.kill {
            Request::Kill(self.at.part)
        } else {
            Request::Stop(self.at.part)
        }
    }

    pub(super) fn stop(self) -> Result<()> {
        let layout = self.at.layout()?;
        ask(&layout, &self.request())?;
        let dir = self.at.dir.map(|dir| format!(" --dir {}", dir.display()));
        println!(
            "{part} is stopped. To start it again:\n  privatekube-cluster start {part}{dir}",
            part = self.at.part,
            dir = dir.unwrap_or_default()
        );
        Ok(())
    }

    pub(super) fn restart(self) -> Result<()> {
        let layout = self.at.layout()?;
        ask(&layout, &self.request())?;
        self.at.start()
    }
}

impl PartArguments {
    fn layout(&self) -> Result<Layout> {
        Layout::open(&cluster_dir(self.dir.clone())?)
    }

    pub(super) fn start(self) -> Result<()> {
        ask(&self.layout()?, &Request::Start(self.part))?;
        println!("{} is ready.", self.part);
        Ok(())
    }
}
