//! Fairness over time: how much of each dataset every namespace holds, sampled into a ring of bounded length.
//!
//! What a namespace holds is the sum of the dominant shares of its claims that are granted or consumed, of those whose objects
//! exist. [`FairnessOverTime::sample`] is the place to plug in other measures.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use parking_lot::Mutex;
use privatekube_api::DatasetKey;
use privatekube_policy::{Time, fairness::jain};
use privatekube_view::View;

use super::{
    Shared,
    datasets::known,
    layout::{Part, dataset_href, page},
    numbers::{percent, short, time},
    unknown,
};
use crate::clock;

/// How often shares are sampled, and how many samples are kept: two hours.
const EVERY: Duration = Duration::from_secs(30);
const MOST_SAMPLES: usize = 240;
/// How many pairs of a dataset and a namespace a sample has at most: those that hold most.
const MOST_PAIRS: usize = 500;
/// How many namespaces a chart has lines for.
const MOST_LINES: usize = 6;

/// The shares of each dataset's namespaces at one time.
type Sample = BTreeMap<DatasetKey, BTreeMap<Arc<str>, f64>>;

/// The samples of the last two hours.
#[derive(Debug, Default)]
pub struct FairnessOverTime(Mutex<VecDeque<(Time, Sample)>>);

impl FairnessOverTime {
    /// Samples the view from time to time, without end. The looks at all claims are in a thread of their own.
    pub async fn keep(self: Arc<Self>, view: Arc<View>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if view.is_complete() {
                let (fairness, view) = (Arc::clone(&self), Arc::clone(&view));
                // It doesn't panic, and the next one is sampled anyway.
                let _ = tokio::task::spawn_blocking(move || fairness.sample(&view, clock::now())).await;
            }
        }
    }

    /// Adds a sample.
    pub(super) fn sample(&self, view: &View, now: Time) {
        let mut pairs: BTreeMap<(DatasetKey, String), f64> = BTreeMap::new();
        for claim in view.claims(|claim| claim.phase.is_granted()) {
            let (Some(share), Some(subject)) = (claim.dominant_share(), claim.subject()) else {
                continue;
            };
            *pairs
                .entry(((*claim.dataset).clone(), subject.namespace))
                .or_default() += share;
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|one, other| other.1.total_cmp(&one.1));
        pairs.truncate(MOST_PAIRS);
        let mut sample = Sample::new();
        for ((dataset, namespace), share) in pairs {
            sample.entry(dataset).or_default().insert(namespace.into(), share);
        }
        let mut samples = self.0.lock();
        if samples.len() == MOST_SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, sample));
    }

    /// The shares on a dataset over time.
    fn of(&self, dataset: &DatasetKey) -> Vec<(Time, BTreeMap<Arc<str>, f64>)> {
        let samples = self.0.lock();
        let of = samples
            .iter()
            .map(|(at, sample)| (*at, sample.get(dataset).cloned().unwrap_or_default()));
        of.collect()
    }
}

/// The part of a dataset's page about fairness.
pub(super) fn section(fairness: &FairnessOverTime, dataset: &DatasetKey) -> Markup {
    let samples = fairness.of(dataset);
    let Some((_, last)) = samples.last().filter(|(_, last)| !last.is_empty()) else {
        return html! {};
    };
    html! {
        section aria-labelledby="fairness-title" {
            h2 #fairness-title { "Fairness" }
            p { (evenness(last)) " " a href={ (dataset_href(dataset)) "/fairness" } { "Over time" } }
        }
    }
}

fn evenness(shares: &BTreeMap<Arc<str>, f64>) -> Markup {
    let index = jain(shares.values().copied());
    html! {
        @if let Some(index) = index {
            "Evenness (Jain's index) of " (shares.len()) @if shares.len() == 1 { " namespace" } @else { " namespaces" }
            ": " data value=(index) { (short(&format!("{index:.6}"))) } "."
        }
    }
}

/// Fairness on a dataset over time.
pub(super) async fn fairness(
    State(shared): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let Some((key, _)) = known(&shared.registry.handles().view, &namespace, &name) else {
        return unknown("dataset");
    };
    let samples = shared.fairness.of(&key);
    let last = samples
        .last()
        .map(|(_, shares)| shares.clone())
        .unwrap_or_default();
    let mut now: Vec<(Arc<str>, f64)> = last
        .iter()
        .map(|(name, share)| (Arc::clone(name), *share))
        .collect();
    now.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let lines: Vec<Arc<str>> = now
        .iter()
        .take(MOST_LINES)
        .map(|(name, _)| Arc::clone(name))
        .collect();
    let content = html! {
        p.crumbs { a href=(dataset_href(&key)) { (key) } }
        h1 { "Fairness on " (key) }
        p.muted {
            "What each namespace holds: the sum of the dominant shares of its claims that are granted or consumed, of those \
             whose objects exist. Sampled every " (EVERY.as_secs()) " s, for two hours."
        }
        div #fairness data-live {
            @if now.is_empty() {
                p.empty { "Nothing was granted yet, or nothing was sampled." }
            } @else {
                p { (evenness(&last)) }
                (chart(&samples, &lines))
                table.cards-on-phone {
                    caption.visually-hidden { "Shares of namespaces now" }
                    thead { tr { th scope="col" { "Namespace" } th.number scope="col" { "Holds" } } }
                    tbody {
                        @for (at, (namespace, share)) in now.iter().enumerate().take(100) {
                            tr {
                                th scope="row" {
                                    @if at < MOST_LINES { (key_of(at)) }
                                    a href={ "/claims?dataset=" (key.namespace) "%2F" (key.name) "&namespace=" (namespace) } { (namespace) }
                                }
                                td.number data-label="Holds" { (percent(*share)) }
                            }
                        }
                    }
                }
            }
        }
    };
    page(Part::Datasets, &format!("Fairness on {key}"), &content).into_response()
}

fn key_of(line: usize) -> Markup {
    html! {
        svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true" {
            rect class={ "line-" (line) } width="10" height="10" rx="2" {}
        }
        " "
    }
}

/// Lines of shares over time.
fn chart(samples: &[(Time, BTreeMap<Arc<str>, f64>)], lines: &[Arc<str>]) -> Markup {
    let shares = |name: &Arc<str>| -> Vec<f64> {
        samples
            .iter()
            .map(|(_, shares)| shares.get(name).copied().unwrap_or(0.0))
            .collect()
    };
    let most = lines.iter().flat_map(shares).fold(1e-9, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "at most 240 samples")]
    let step = 600.0 / (samples.len().max(2) - 1) as f64;
    let points = |name: &Arc<str>| -> String {
        let mut x = 0.0;
        let mut points = String::new();
        for share in shares(name) {
            let _ = write!(points, "{x:.1},{:.1} ", 150.0 - share / most * 140.0);
            x += step;
        }
        // One sample is a level line.
        if samples.len() == 1
            && let Some(share) = shares(name).first()
        {
            let _ = write!(points, "600.0,{:.1}", 150.0 - share / most * 140.0);
        }
        points
    };
    html! {
        figure {
            svg.chart viewBox="0 0 600 160" preserveAspectRatio="none" role="img"
                aria-label={ "Shares of " (lines.len()) " namespaces over time; the table has the numbers" } {
                line.axis x1="0" y1="150" x2="600" y2="150" {}
                line.grid x1="0" y1="10" x2="600" y2="10" {}
                @for (at, name) in lines.iter().enumerate() {
                    polyline class={ "stroke-" (at) } points=(points(name)) {}
                }
            }
            figcaption.small.muted {
                "0 to " (percent(most)) ", "
                @if let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) {
                    (time(*first)) " to " (time(*last))
                }
            }
        }
    }
}
