//! [`Results`]: what all rounds measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figures::{Figures, median};
use crate::processes::load_average;

/// The results of one run of this program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    cores: usize,
    /// Of the minute before the first round, to judge what else ran.
    load_average_before: Option<f64>,
    sections: Vec<Section>,
}

/// One comparison.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) sides: Vec<SideResults>,
}

/// What was measured on one side.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SideResults {
    name: String,
    rounds: Vec<Figures>,
    medians: Figures,
    /// Of the first side's figure of the same round, the median of all rounds.
    ratios: Figures,
}

impl Results {
    pub(crate) fn new() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            load_average_before: load_average(),
            sections: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The results as a table for each section, in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            section.write(&mut text);
        }
        if let Some(load) = self.load_average_before {
            let _ = writeln!(
                text,
                "Medians. {} cores; the load average before was {load}.",
                self.cores
            );
        }
        text
    }
}

impl Section {
    /// `rounds` are those of each side, in the order of `names`.
    pub(crate) fn new(title: String, names: &[String], rounds: Vec<Vec<Figures>>) -> Self {
        let first = rounds.first().cloned().unwrap_or_default();
        let sides = names.iter().zip(rounds);
        let sides = sides.map(|(name, rounds)| SideResults::new(name.clone(), rounds, &first));
        Self {
            title,
            sides: sides.collect(),
        }
    }

    fn write(&self, text: &mut String) {
        let rounds = self.sides.first().map_or(0, |side| side.rounds.len());
        let _ = writeln!(text, "{}; rounds: {rounds}\n", self.title);
        let mut head = "| |".to_owned();
        for (number, side) in self.sides.iter().enumerate() {
            let _ = write!(head, " {} |", side.name);
            if number > 0 {
                head.push_str(" ratio |");
            }
        }
        let _ = writeln!(text, "{head}\n|{}", "---|".repeat(head.matches('|').count() - 1));
        let mut names: Vec<&str> = Vec::new();
        for name in self.sides.iter().flat_map(|side| side.medians.names()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let _ = write!(text, "| {name} |");
            for (number, side) in self.sides.iter().enumerate() {
                let _ = write!(text, " {} |", shown(side.medians.get(name)));
                if number > 0 {
                    let ratio = side.ratios.get(name);
                    let _ = write!(
                        text,
                        " {} |",
                        ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default()
                    );
                }
            }
            text.push('\n');
        }
        text.push('\n');
    }
}

impl SideResults {
    fn new(name: String, rounds: Vec<Figures>, first: &[Figures]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for name in rounds.iter().flat_map(Figures::names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let (mut medians, mut ratios) = (Figures::default(), Figures::default());
        for name in names {
            let values: Vec<f64> = rounds.iter().filter_map(|round| round.get(name)).collect();
            if let Some(value) = median(&values) {
                medians.add(name, value);
            }
            let pairs = rounds.iter().zip(first);
            let of_pairs: Vec<f64> = pairs
                .filter_map(|(round, first)| Some(round.get(name)? / first.get(name)?))
                .filter(|ratio| ratio.is_finite())
                .collect();
            if let Some(ratio) = median(&of_pairs) {
                ratios.add(name, ratio);
            }
        }
        Self {
            name,
            rounds,
            medians,
            ratios,
        }
    }
}

/// A number with three digits that matter.
fn shown(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Section};
    use crate::figures::Figures;

    fn rounds(values: &[f64]) -> Vec<Figures> {
        let round = |value: &f64| {
            let mut figures = Figures::default();
            figures.add("grants per s", *value);
            figures
        };
        values.iter().map(round).collect()
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let names = ["old".to_owned(), "new".to_owned()];
        let section = Section::new(
            "claims".to_owned(),
            &names,
            vec![rounds(&[10.0, 20.0, 400.0]), rounds(&[20.0, 40.0, 100.0])],
        );
        let mut results = Results::new();
        results.add(section);
        let text = results.text();
        assert!(text.contains("| grants per s | 20.0 | 40.0 | 2.000 |"), "{text}");
        assert!(
            text.contains("| | old | new | ratio |\n|---|---|---|---|"),
            "{text}"
        );
    }
}
