//! What all pages share: the frame, bars, links and lists in pages.

use std::fmt::Write as _;

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use privatekube_api::{ClaimPhase, DatasetKey, Subject, SubjectKind};
use privatekube_view::BudgetParts;

use super::numbers::{Digits, percent};

/// How many rows a list has on one page.
pub(super) const ROWS: usize = 50;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, STYLE)
}

pub(super) async fn script() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, SCRIPT)
}

/// The parts of the page that the navigation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Datasets,
    Claims,
    Decisions,
    WhatIf,
}

impl Part {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Datasets, "/", "Datasets"),
        (Self::Claims, "/claims", "Claims"),
        (Self::Decisions, "/decisions", "Decisions"),
        (Self::WhatIf, "/what-if", "What if"),
    ];
}

/// A whole page. `content` has elements with `data-live` and an id, which are replaced when something is decided.
pub(super) fn page(part: Part, title: &str, content: &Markup) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · PrivateKube" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                script src="/script.js" defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    a.brand href="/" { (mark()) "PrivateKube" }
                    nav aria-label="Pages" {
                        @for (this, href, name) in Part::ALL {
                            a href=(href) aria-current=[(this == part).then_some("page")] { (name) }
                        }
                    }
                    span #connection .connection role="status" data-state="off" { "not live" }
                }
                main #content tabindex="-1" { (content) }
                footer {
                    p { "Read from what is committed in the ledgers. Nothing here changes anything." }
                }
            }
        }
    };
    Html(markup.into_string())
}

/// The mark of the page.
fn mark() -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            rect.consumed x="3" y="14" width="18" height="7" rx="2" {}
            rect.allocated x="3" y="9" width="18" height="4" rx="1" {}
            rect.available x="3" y="3" width="18" height="5" rx="2" {}
        }
    }
}

pub(super) async fn icon() -> impl IntoResponse {
    let icon = concat!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">"#,
        r##"<rect x="3" y="14" width="18" height="7" rx="2" fill="#5b5bd6"/>"##,
        r##"<rect x="3" y="9" width="18" height="4" rx="1" fill="#d9912b"/>"##,
        r##"<rect x="3" y="3" width="18" height="5" rx="2" fill="#2f9e78"/></svg>"##
    );
    ([(header::CONTENT_TYPE, "image/svg+xml")], icon)
}

/// A page that says why there is nothing to show.
pub(super) fn problem(status: StatusCode, title: &str, text: &str) -> Response {
    let content = html! {
        h1 { (title) }
        p { (text) }
        p { a href="/" { "All datasets" } }
    };
    (status, page(Part::Datasets, title, &content)).into_response()
}

/// The states of a budget, with the class of each.
const STATES: [(&str, &str); 4] = [
    ("consumed", "spent"),
    ("allocated", "granted, not spent yet"),
    ("available", "unlocked, to be granted"),
    ("locked", "not unlocked yet"),
];

fn parts(parts: &BudgetParts) -> [f64; 4] {
    [parts.consumed, parts.allocated, parts.available, parts.locked]
}

/// A stacked bar of the four states.
pub(super) fn bar(of: &BudgetParts) -> Markup {
    let all = STATES.iter().zip(parts(of));
    let label: Vec<String> = all
        .clone()
        .map(|((state, _), part)| format!("{state} {}", percent(part)))
        .collect();
    let mut at = 0.0;
    let mut rects = Vec::new();
    for ((state, _), part) in all {
        let width = (part * 1000.0).min(1000.0 - at);
        if width > 0.0 {
            rects.push((*state, at, width));
        }
        at += width;
    }
    html! {
        svg.bar viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label=(label.join(", ")) {
            @for (state, x, width) in rects {
                rect class=(state) x=(format!("{x:.2}")) y="0" width=(format!("{width:.2}")) height="20" {}
            }
        }
    }
}

/// What the colours of bars mean.
pub(super) fn legend() -> Markup {
    html! {
        ul.legend aria-label="States of a budget" {
            @for (state, meaning) in STATES {
                li {
                    svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true" {
                        rect class=(state) width="10" height="10" rx="2" {}
                    }
                    (state) span.muted { " – " (meaning) }
                }
            }
        }
    }
}

/// A claim's phase.
pub(super) fn badge(phase: ClaimPhase) -> Markup {
    html! { span class={ "badge " (phase.as_str().to_lowercase()) } { (phase) } }
}

/// The address of a dataset's page.
pub(super) fn dataset_href(dataset: &DatasetKey) -> String {
    format!("/datasets/{}/{}", dataset.namespace, dataset.name)
}

/// The address of a claim's page.
pub(super) fn claim_href(subject: &Subject) -> String {
    let kind = match subject.kind {
        SubjectKind::Pod => "pod",
        SubjectKind::Claim => "claim",
    };
    format!(
        "/claims/{kind}/{}/{}/{}",
        subject.namespace,
        subject.name,
        encoded(&subject.uid)
    )
}

/// A link to a claim, by the name of its object.
pub(super) fn claim_link(subject: &Subject) -> Markup {
    html! {
        a href=(claim_href(subject)) { span.namespace { (subject.namespace) "/" } (subject.claim_name()) }
        @if subject.kind == SubjectKind::Pod {
            span.muted.small { " pod " (subject.name) }
        }
    }
}

/// A text within an address, with all but letters, digits and `-_.~` escaped.
pub(super) fn encoded(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// One page of a list of `total` rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paged {
    /// The page, from 1, within what there is.
    pub(super) page: usize,
    pages: usize,
    total: usize,
}

impl Paged {
    /// The page that was asked for, or the nearest that there is.
    pub(super) fn new(asked: Option<&str>, total: usize) -> Self {
        let pages = total.div_ceil(ROWS).max(1);
        let page = asked.and_then(|page| page.parse().ok()).unwrap_or(1_usize);
        Self {
            page: page.clamp(1, pages),
            pages,
            total,
        }
    }

    /// The first row's place among all.
    pub(super) const fn first(&self) -> usize {
        (self.page - 1) * ROWS
    }

    /// The rows of the page.
    pub(super) fn rows<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.first()).take(ROWS).collect()
    }

    /// Which rows are shown, and links to the other pages. `href` has the address of the list, with what is asked of it.
    pub(super) fn links(&self, what: &str, href: &str) -> Markup {
        if self.total <= ROWS {
            return html! {};
        }
        let to = |page: usize| {
            let separator = if href.contains('?') { '&' } else { '?' };
            format!("{href}{separator}page={page}")
        };
        let last = (self.first() + ROWS).min(self.total);
        html! {
            nav.pages aria-label={ "Pages of " (what) } {
                @if self.page > 1 {
                    a href=(to(1)) { "First" }
                    a href=(to(self.page - 1)) rel="prev" { "Previous" }
                }
                span { (self.first() + 1) "–" (last) " of " (self.total) " " (what) }
                @if self.page < self.pages {
                    a href=(to(self.page + 1)) rel="next" { "Next" }
                    a href=(to(self.pages)) { "Last" }
                }
            }
        }
    }
}

/// A link that shows the page at `href` with all digits, or with few.
pub(super) fn digits_link(href: &str, digits: Digits) -> Markup {
    let separator = if href.contains('?') { '&' } else { '?' };
    html! {
        p.small {
            @match digits {
                Digits::Few => a href=(format!("{href}{separator}digits=all")) { "Show all digits" },
                Digits::All => a href=(href) { "Show 4 significant digits" },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_there_is_not_is_the_nearest_one() {
        let page = |asked, total| Paged::new(asked, total).page;
        assert_eq!(page(None, 0), 1);
        assert_eq!(page(Some("0"), 101), 1);
        assert_eq!(page(Some("3"), 101), 3);
        assert_eq!(page(Some("99999999999999999999999"), 101), 1);
        assert_eq!(page(Some("4"), 101), 3);
        assert_eq!(page(Some("x"), 101), 1);
        let rows = Paged::new(Some("3"), 101).rows((0..101).collect());
        assert_eq!(rows, [100]);
    }

    #[test]
    fn names_are_escaped_in_addresses_and_bars_never_exceed_their_width() {
        assert_eq!(encoded("a b/ü?"), "a%20b%2F%C3%BC%3F");
        let over = BudgetParts {
            locked: 0.9,
            available: 0.9,
            ..BudgetParts::default()
        };
        let bar = bar(&over).into_string();
        assert!(bar.contains(r#"x="900.00" y="0" width="100.00""#), "{bar}");
    }
}
