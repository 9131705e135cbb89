//! `image`, `python-image` and `load-image`: container images for a real node, made without a container engine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::cluster_dir;
use crate::layout::Layout;
use crate::real_node::image::{self, ImageOptions};
use crate::real_node::{Home, load_image, python_image};

#[derive(Debug, Args)]
pub(super) struct Image {
    /// The image's name, with a registry and a tag, such as example.dev/trainer:1
    #[arg(long)]
    name: String,
    /// A directory that becomes a layer of the image; more than one: the lowest layer first
    #[arg(long, required = true)]
    from: Vec<PathBuf>,
    /// A word of the command of containers whose pods name none; repeat it for each word
    #[arg(long, allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// An environment variable, NAME=VALUE
    #[arg(long)]
    env: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PythonImage {
    /// The image's name, with a registry and a tag, such as example.dev/trainer:1
    #[arg(long)]
    name: String,
    /// The packages of the image, as pip reads them, with hashes or without [default: none]
    #[arg(long)]
    requirements: Option<PathBuf>,
    /// A wheel of this machine, installed without what it needs, which the requirements list; repeat it for more
    #[arg(long)]
    wheel: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct LoadImage {
    /// The image's name
    name: String,
    /// The cluster's directory [default: .local/cluster of the workspace, or the one of `run`]
    #[arg(long, env = super::DIR_VARIABLE)]
    dir: Option<PathBuf>,
}

impl Image {
    pub(super) fn execute(self) -> Result<()> {
        image::check_name(&self.name)?;
        let home = Home::find()?;
        let archive = home.image(&self.name);
        let work = archive.with_extension("layers");
        fs::create_dir_all(&work).with_context(|| format!("can't make {}", work.display()))?;
        let mut layers = Vec::new();
        for (number, root) in self.from.iter().enumerate() {
            let layer = work.join(format!("{number}.tar"));
            image::make_layer(root, &layer)?;
            layers.push(layer);
        }
        let options = ImageOptions {
            name: self.name,
            entrypoint: self.entrypoint,
            environment: self.env,
        };
        image::make(&options, &layers, &archive)?;
        fs::remove_dir_all(&work).with_context(|| format!("can't remove {}", work.display()))?;
        println!("{}", archive.display());
        Ok(())
    }
}

impl PythonImage {
    pub(super) fn execute(self) -> Result<()> {
        let archive = python_image::make(
            &Home::find()?,
            &self.name,
            self.requirements.as_deref(),
            &self.wheel,
        )?;
        println!("{}", archive.display());
        Ok(())
    }
}

impl LoadImage {
    pub(super) fn execute(self) -> Result<()> {
        let layout = Layout::open(&cluster_dir(self.dir)?)?;
        load_image(&layout, &Home::find()?, &self.name)
    }
}
