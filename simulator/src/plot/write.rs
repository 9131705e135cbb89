//! Writes all figures and the page from a directory of results.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    Fonts, MissingFigure, Page, PngError, Runs, compare, draw, png,
    published::{PublishedValue, published},
    sections,
};
use crate::{
    results::{ResultsError, Tables, write_atomically},
    sweep::{Coverage, SweepError, manifests},
};

/// The page's file name.
pub const PAGE: &str = "index.html";

/// The reason why no figures are written.
#[derive(Debug, Error)]
pub enum PlotError {
    /// The tables can't be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The manifests can't be read.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The runs don't suffice for any figure.
    #[error("{directory} has {runs} runs, which are not enough for any figure: {needs}")]
    Nothing {
        /// The directory of the tables.
        directory: PathBuf,
        /// Number of runs.
        runs: usize,
        /// What the first figures need.
        needs: String,
    },
    /// A figure can't be rendered.
    #[error("figure {figure}: {error}")]
    Png {
        /// The figure's name.
        figure: String,
        /// The reason.
        error: PngError,
    },
    /// An error of the file system.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// The figures that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFigures {
    /// The path of the page.
    pub page: PathBuf,
    /// Number of figures, each as SVG and PNG.
    pub figures: usize,
    /// Figures that could not be drawn.
    pub missing: Vec<MissingFigure>,
}

/// Draws all figures for which the tables in `directory` have runs, and writes them and the page to `out`,
/// which is created if necessary. The page names `command` as its origin.
pub fn write(directory: &Path, out: &Path, command: &str) -> Result<WrittenFigures, PlotError> {
    let tables = Tables::read(directory)?;
    let manifests = manifests(directory)?;
    let coverage = Coverage::of(directory)?;
    let runs = Runs::new(&tables);
    let published: Vec<PublishedValue> = published();
    let sections: Vec<_> = sections(&runs, &published)
        .into_iter()
        .map(|section| {
            let compared = compare(section.experiment, &runs, &published);
            (section, compared)
        })
        .collect();
    let missing: Vec<MissingFigure> = sections
        .iter()
        .flat_map(|(section, _)| section.missing.clone())
        .collect();
    let figures = || sections.iter().flat_map(|(section, _)| &section.figures);
    if figures().next().is_none() {
        let needs = missing
            .iter()
            .take(2)
            .map(|none| format!("{:?} needs {}", none.title, none.needs));
        return Err(PlotError::Nothing {
            directory: directory.to_owned(),
            runs: runs.count(),
            needs: needs.collect::<Vec<_>>().join("; "),
        });
    }
    fs::create_dir_all(out).map_err(io(out))?;
    let fonts = Fonts::default();
    for figure in figures() {
        let svg = draw::svg(figure);
        let picture = png(&svg, &fonts).map_err(|error| PlotError::Png {
            figure: figure.name.clone(),
            error,
        })?;
        save(&out.join(format!("{}.svg", figure.name)), svg.as_bytes())?;
        save(&out.join(format!("{}.png", figure.name)), &picture)?;
    }
    let page = Page {
        command,
        manifests: &manifests,
        coverage: &coverage,
        runs: runs.count(),
        wall: runs.wall(),
        sections: &sections,
    };
    save(&out.join(PAGE), page.html().as_bytes())?;
    Ok(WrittenFigures {
        page: out.join(PAGE),
        figures: figures().count(),
        missing,
    })
}

fn io(path: &Path) -> impl Fn(io::Error) -> PlotError {
    move |error| PlotError::Io {
        path: path.to_owned(),
        error,
    }
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    write_atomically(path, |to| to.write_all(bytes)).map_err(io(path))
}
