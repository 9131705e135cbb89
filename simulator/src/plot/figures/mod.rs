//! Chooses the figures and their data. A figure that lacks runs is replaced by a description of the runs that
//! it needs. There is one file for each kind of figure; begin reading at [`sections`].

mod classes;
mod compositions;
mod delay;
mod granted;
mod macro_benchmark;
mod mice;
mod packing;
mod series;
mod shares;

use super::{
    figure::Figure,
    published::PublishedValue,
    runs::{Runs, composition_label},
};
use crate::experiment::{CompositionKind, Experiment};

/// A figure that can't be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFigure {
    /// The title of the figure.
    pub title: String,
    /// The runs that it needs.
    pub needs: String,
}

/// The figures of one experiment.
#[derive(Clone, Debug)]
pub struct Section {
    /// The experiment.
    pub experiment: Experiment,
    /// The figures that can be drawn.
    pub figures: Vec<Figure>,
    /// The figures that can't be drawn.
    pub missing: Vec<MissingFigure>,
}

impl Section {
    /// Returns the section's title.
    #[must_use]
    pub fn title(&self) -> String {
        let title = match self.experiment {
            Experiment::MicroSingle => "Micro-benchmark, one block",
            Experiment::MicroMulti => "Micro-benchmark, many blocks",
            Experiment::Macro => "Macro-benchmark",
            Experiment::Alibaba => "DPack on Alibaba-DP",
            Experiment::DpackOrders => "DPack, tasks of different best orders",
            Experiment::DpackBlocks => "DPack, tasks for different numbers of blocks",
        };
        format!("{title} ({})", self.experiment)
    }

    /// Returns an introduction for readers of the page.
    #[must_use]
    pub const fn about(&self) -> &'static str {
        match self.experiment {
            Experiment::MicroSingle => {
                "OSDI'21, section 6.1.1. The plots that the artifact stored were made from other random numbers than its \
                 release scripts draw, so that theirs and ours agree in shape; where luck counts (FCFS, round robin, small \
                 N), not in number."
            }
            Experiment::MicroMulti => {
                "OSDI'21, section 6.1.2. The artifact's stored plots and its release scripts agree within what can be read \
                 off a plot. The paper's own figures are of an earlier run with other N: FCFS about 1060, the best of \
                 DPF about 2250."
            }
            Experiment::Macro => {
                "OSDI'21, section 6.2, event-level privacy, rebuilt from the published demands: the paper's runs used the \
                 real trainings' demands and unseeded random numbers."
            }
            Experiment::Alibaba => {
                "EuroSys'25, section 6.3. The tasks are synthetic: drawn from distributions that have the published \
                 structure, unless the runs say otherwise. The paper reports that DPack grants 1.3 to 1.7 times as many \
                 tasks as DPF."
            }
            Experiment::DpackOrders => {
                "EuroSys'25, section 6.2, one block. The paper's curves are rebuilt from its description; it reports 1.0 to \
                 2.6 times as many tasks as DPF over its micro-benchmarks, up to 67% more by this heterogeneity."
            }
            Experiment::DpackBlocks => {
                "EuroSys'25, section 6.2, many blocks. The paper's curves are rebuilt from its description; it reports up to \
                 161% more tasks than DPF by this heterogeneity."
            }
        }
    }
}

/// A figure, or what it lacks.
type FigureResult = Result<Figure, MissingFigure>;

/// Returns the figures of all experiments, in the experiments' order.
#[must_use]
pub fn sections(runs: &Runs<'_>, published: &[PublishedValue]) -> Vec<Section> {
    let sections = Experiment::ALL.map(|experiment| {
        let mut figures: Vec<FigureResult> = match experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro(experiment, runs, published),
            Experiment::Macro => macro_benchmark::figures(runs, published),
            Experiment::Alibaba => packing::by_load(runs),
            Experiment::DpackOrders | Experiment::DpackBlocks => packing::by_spread(experiment, runs),
        };
        figures.extend(shares::figure(experiment, runs));
        let (mut drawn, mut missing) = (Vec::new(), Vec::new());
        for figure in figures {
            match figure {
                Ok(figure) => drawn.push(figure),
                Err(none) => missing.push(none),
            }
        }
        // For an experiment without runs, one entry replaces all.
        if runs.of(experiment).next().is_none() {
            missing = vec![MissingFigure {
                title: format!("all {} figures of {experiment}", missing.len()),
                needs: format!("runs of {experiment}"),
            }];
        }
        Section {
            experiment,
            figures: drawn,
            missing,
        }
    });
    sections.into()
}

/// The figures of one micro-benchmark under one composition.
#[derive(Clone, Copy, Debug)]
struct MicroFigures {
    experiment: Experiment,
    composition: CompositionKind,
}

/// The percentage of mice in all figures that don't vary it.
const MICE: f64 = 75.0;

impl MicroFigures {
    /// Returns the N at which the paper compares policies.
    fn usual_n(self) -> f64 {
        match self.composition {
            CompositionKind::Basic => 125.0,
            CompositionKind::Renyi => 25_399.0,
        }
    }

    /// Returns the name of a figure.
    fn name(self, figure: &str) -> String {
        let composition = match self.composition {
            CompositionKind::Basic => "basic",
            CompositionKind::Renyi => "renyi",
        };
        format!("{}-{composition}-{figure}", self.experiment)
    }

    /// Returns a title: `what`, the experiment, and the number of the paper's figure.
    fn title(self, what: &str, [single, single_renyi, multi, multi_renyi]: [&str; 4]) -> String {
        let (blocks, figure) = match (self.experiment, self.composition) {
            (Experiment::MicroSingle, CompositionKind::Basic) => ("one block", single),
            (Experiment::MicroSingle, CompositionKind::Renyi) => ("one block", single_renyi),
            (_, CompositionKind::Basic) => ("many blocks", multi),
            (_, CompositionKind::Renyi) => ("many blocks", multi_renyi),
        };
        let composition = composition_label(self.composition);
        if figure.is_empty() {
            format!("{what}: {blocks}, {composition}")
        } else {
            // A no-break space keeps the figure and its number together.
            format!("{what}: {blocks}, {composition} (Fig.\u{a0}{figure})")
        }
    }

    /// Returns the legend's text for published points.
    fn published_label(self) -> String {
        let error = match (self.experiment, self.composition) {
            (Experiment::MicroSingle, CompositionKind::Basic) => "±1",
            (Experiment::MicroSingle, CompositionKind::Renyi) => "±200",
            (_, CompositionKind::Basic) => "±1–2%",
            (_, CompositionKind::Renyi) => "±300",
        };
        format!("hollow: the artifact's stored plot, read off ({error})")
    }

    fn missing(self, title: &str, needs: &str) -> MissingFigure {
        MissingFigure {
            title: title.to_owned(),
            needs: format!(
                "runs of {} with {}{needs}",
                self.experiment,
                composition_label(self.composition)
            ),
        }
    }

    /// Returns the label of the axis of N and T.
    fn unlocking_label(self) -> String {
        let interval = self.experiment.interval(self.composition).unwrap_or(1.0);
        let unit = if interval < 0.01 {
            format!("{:.2}\u{a0}ms", interval * 1000.0)
        } else {
            format!("{}\u{a0}s", super::scale::short(interval))
        };
        format!("Arrivals that unlock a block (N), or its lifetime (T) in mean intervals of {unit}")
    }
}

fn micro(experiment: Experiment, runs: &Runs<'_>, published: &[PublishedValue]) -> Vec<FigureResult> {
    let mut figures = Vec::new();
    for composition in [CompositionKind::Basic, CompositionKind::Renyi] {
        let micro = MicroFigures {
            experiment,
            composition,
        };
        figures.push(granted::figure(micro, runs, published));
        figures.push(delay::by_policy(micro, runs));
        figures.extend(delay::by_unlocking(micro, runs));
        figures.push(mice::figure(micro, runs, published));
        figures.push(classes::figure(micro, runs));
    }
    if experiment == Experiment::MicroMulti {
        figures.push(compositions::figure(runs));
    }
    figures
}
