//! Writes the page: all figures, their values as tables, the comparison with published values, and how the
//! runs were made. The page is one HTML file without references to others, for light and dark themes, print
//! and small screens.

use std::path::PathBuf;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    comparison::ComparedValue,
    draw,
    figures::Section,
    published::Source,
    runs::{composition_label, policy_label},
    scale::{number, rounded, short},
    values::Values,
};
use crate::sweep::{Coverage, Manifest};

/// The content of the page.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The command that made the page.
    pub command: &'a str,
    /// The manifests of the sweeps that made the runs, with their paths.
    pub manifests: &'a [(PathBuf, Manifest)],
    /// The missing runs of these sweeps.
    pub coverage: &'a Coverage,
    /// Number of runs.
    pub runs: usize,
    /// Total wall-clock time of the runs, in seconds on one core.
    pub wall: f64,
    /// The figures of each experiment, and the comparison with published values.
    pub sections: &'a [(Section, Vec<ComparedValue>)],
}

const PUBLISHED_ORDER: &str = "Under basic composition DPF visits waiting tasks here in the released simulator's order, which \
    isn't quite that of their shares: a model of it decides, not the engine. The comparison has the engine's own totals \
    beside these.";

const SOURCES: [Source; 3] = [Source::Release, Source::Notebook, Source::Paper];

impl Page<'_> {
    /// Returns the page as HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let title = "Privacy budget scheduling: the evaluation, reproduced";
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { (PreEscaped(include_str!("page.css"))) }
                }
                body {
                    header {
                        h1 { (title) }
                        p {
                            "Figures of " (number_of(self.runs, "run")) ", made over virtual time by the engine that PrivateKube runs \
                             in a cluster, unless said otherwise. Hollow markers are published values; tables have ours next to \
                             them."
                        }
                        (self.contents())
                    }
                    main {
                        @for (section, compared) in self.sections { (section_html(section, compared)) }
                        (self.missing())
                        (self.origin())
                    }
                }
            }
        };
        page.into_string()
    }

    fn contents(&self) -> Markup {
        html! {
            nav {
                @for (section, _) in self.sections {
                    @if !section.figures.is_empty() {
                        details {
                            summary { a href={ "#" (section.experiment) } { (section.title()) } " (" (section.figures.len()) ")" }
                            ul { @for figure in &section.figures { li { a href={ "#" (figure.name) } { (figure.title) } } } }
                        }
                    }
                }
            }
        }
    }

    fn missing(&self) -> Markup {
        html! {
            @if self.sections.iter().any(|(section, _)| !section.missing.is_empty()) {
                section id="missing" {
                    h2 { "Not drawn" }
                    p { "There are no runs for these. " code { "privatekube-simulator sweep NAME --out DIR" } " makes them." }
                    ul {
                        @for (section, _) in self.sections {
                            @for missing in &section.missing { li { strong { (missing.title) } ": needs " (missing.needs) } }
                        }
                    }
                }
            }
        }
    }

    fn origin(&self) -> Markup {
        html! {
            section id="origin" {
                h2 { "How it was made" }
                p { "This page: " code { (self.command) } ", version " (env!("CARGO_PKG_VERSION")) "." }
                @if self.manifests.is_empty() { p { "The runs' directory has no manifest that says what made them." } }
                @else {
                    p { "The runs, " (rounded(self.wall)) " s in all on one core:" }
                    ul {
                        @for (file, manifest) in self.manifests {
                            li {
                                code { (manifest.command) } ", version " (manifest.version) ": " (number_of(manifest.runs, "run"))
                                " of " (manifest.grid_runs) " (" (file.file_name().unwrap_or_default().display()) ")"
                            }
                        }
                    }
                }
                (self.lacking())
                p { "Colours are those of Okabe and Ito. The font is Noto Sans (SIL Open Font License)." }
            }
        }
    }
}

impl Page<'_> {
    /// Names runs that are missing, because a sweep is incomplete or a shard is missing.
    fn lacking(&self) -> Markup {
        const NAMED: usize = 5;
        let Coverage { expected, missing } = self.coverage;
        html! {
            @if !missing.is_empty() {
                p class="off" {
                    (number_of(missing.len(), "run")) " of " (expected) " missing: "
                    (missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
                    @if missing.len() > NAMED { ", ..." }
                }
            }
        }
    }
}

fn section_html(section: &Section, compared: &[ComparedValue]) -> Markup {
    html! {
        @if !section.figures.is_empty() {
            section id=(section.experiment) {
                h2 { (section.title()) }
                p { (section.about()) }
                (agreement(compared))
                @if compared.iter().any(|one| one.by_engine.is_some()) { p { (PUBLISHED_ORDER) } }
                div class="figures" {
                    @for figure in &section.figures {
                        figure id=(figure.name) {
                            (PreEscaped(draw::svg(figure)))
                            figcaption {
                                (figure.about) " " a href={ (figure.name) ".svg" } { "SVG" } " " a href={ (figure.name) ".png" } { "PNG" }
                            }
                            details { summary { "Values" } (table(&figure.values())) }
                        }
                    }
                }
                @if !compared.is_empty() {
                    details id={ (section.experiment) "-comparison" } {
                        summary { "Ours next to the published values (" (compared.len()) ")" }
                        (comparison(compared))
                    }
                }
            }
        }
    }
}

/// Counts the published values that ours agree with.
fn agreement(compared: &[ComparedValue]) -> Markup {
    let counted = SOURCES.map(|source| {
        let answers: Vec<bool> = compared.iter().filter_map(|one| one.agrees(source)).collect();
        (
            source,
            answers.iter().filter(|agrees| **agrees).count(),
            answers.len(),
        )
    });
    html! {
        @if !compared.is_empty() {
            ul class="agreement" {
                @for (source, agree, all) in counted {
                    @if all > 0 {
                        li {
                            (source.heading()) ": " strong { (agree) " of " (all) } " values "
                            @if source == Source::Release { "are the same, in all digits that are known" } @else { "agree within what reading them off allows" }
                        }
                    }
                }
            }
        }
    }
}

fn table(values: &Values) -> Markup {
    html! {
        div class="table" {
            table {
                thead { tr { @for cell in &values.head { th scope="col" { (cell) } } } }
                tbody {
                    @for row in &values.rows {
                        tr { @for (place, cell) in row.iter().enumerate() { @if place == 0 { th scope="row" { (cell) } } @else { td { (cell) } } } }
                    }
                }
            }
        }
    }
}

/// Makes the table of our values, the engine's where they differ, and the published ones.
fn comparison(compared: &[ComparedValue]) -> Markup {
    let sources: Vec<Source> = SOURCES
        .into_iter()
        .filter(|source| compared.iter().any(|one| one.agrees(*source).is_some()))
        .collect();
    let mice = compared.iter().any(|one| one.mice.is_some());
    let engine = compared.iter().any(|one| one.by_engine.is_some());
    html! {
        div class="table" {
            table {
                thead {
                    tr {
                        th scope="col" { "policy" } th scope="col" { "N or T" }
                        @if mice { th scope="col" { "mice (%)" } }
                        th scope="col" { "what" } th scope="col" { "ours" }
                        @if engine { th scope="col" { "the engine's" } }
                        @for source in &sources { th scope="col" { (source.heading()) } th scope="col" { "ours − theirs" } }
                    }
                }
                tbody {
                    @for one in compared {
                        tr {
                            th scope="row" { (policy_label(&one.policy)) ", " (composition_label(one.composition)) }
                            td { (one.n.map(|n| short(f64::from(n))).unwrap_or_default()) }
                            @if mice { td { (one.mice.map(short).unwrap_or_default()) } }
                            td class="words" { (one.quantity) }
                            td { (short(one.ours)) }
                            @if engine { td { (one.by_engine.map(short).unwrap_or_default()) } }
                            @for source in &sources { (theirs(one, *source)) }
                        }
                    }
                }
            }
        }
    }
}

/// Makes the cells of a published value and of its difference from ours.
fn theirs(one: &ComparedValue, source: Source) -> Markup {
    let theirs = one.theirs.iter().find(|(by, _, _)| *by == source);
    html! {
        @match theirs {
            Some((_, value, error)) => {
                td { (short(*value)) @if *error > 0.0 { " ±" (short(*error)) } }
                td class=[one.agrees(source).filter(|agrees| !agrees).map(|_| "off")] { (difference(one.ours, *value)) }
            },
            None => { td {} td {} },
        }
    }
}

/// Formats the difference between our value and a published one, also as a percentage of the published one.
fn difference(ours: f64, theirs: f64) -> String {
    let difference = ours - theirs;
    if difference.abs() < 5e-4 {
        return "0".to_owned();
    }
    let sign = if difference < 0.0 { "−" } else { "+" };
    let part = (theirs.abs() > 0.0).then(|| number(100.0 * difference.abs() / theirs.abs(), 1));
    let part = part.map(|part| format!(" ({sign}{part}%)")).unwrap_or_default();
    format!("{sign}{}{part}", short(difference.abs()))
}

fn number_of(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    // A `usize` has at most 64 bits.
    format!("{} {what}{plural}", short(super::runs::count(count as u64)))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn differences_have_their_sign_and_part() {
        assert_eq!(difference(2293.0, 2293.0), "0");
        assert_eq!(difference(90.0, 100.0), "−10 (−10.0%)");
        assert_eq!(difference(3.0, 0.0), "+3");
    }
}
