//! The tables that people read of the rows.

use std::fmt::Write as _;

use privatekube_api::beginning;

use super::{Answer, FEW_CLAIMS, OfBlock, OfClaim, OfDataset, OfNamespace, Parts};
use crate::{
    amounts::percent,
    output::{Form, Report},
    table::Table,
};

fn days(days: Option<f64>) -> String {
    match days {
        None => "-".to_owned(),
        Some(days) if days >= 10_000.0 => "over 10000 d".to_owned(),
        Some(days) if days >= 10.0 => format!("{days:.0} d"),
        Some(days) => format!("{days:.1} d"),
    }
}

impl Parts {
    fn cells(&self) -> [String; 7] {
        [
            percent(self.consumed),
            percent(self.allocated),
            percent(self.available),
            percent(self.locked),
            percent(self.day),
            percent(self.week),
            days(self.lasts_days),
        ]
    }
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let mut text = String::new();
        if let Some(rows) = &self.datasets {
            text.push_str(&datasets_text(rows, form));
        }
        if let Some(rows) = &self.blocks {
            text.push_str(&blocks_text(rows, form));
        }
        if let Some(rows) = &self.namespaces {
            text.push_str(&namespaces_text(rows, form));
        }
        if let Some(rows) = &self.claims {
            text.push_str(&claims_text(rows, form));
        }
        for note in &self.notes {
            let _ = writeln!(text, "{} {note}", form.paint.middling("note:"));
        }
        text
    }
}

fn datasets_text(rows: &[OfDataset], form: Form) -> String {
    let mut table = Table::new(&[
        "DATASET",
        "POLICY",
        ">BLOCKS",
        ">CONSUMED",
        ">ALLOCATED",
        ">AVAILABLE",
        ">LOCKED",
        ">DAY",
        ">WEEK",
        ">LASTS",
        ">WAITING",
        ">GRANTED TODAY",
    ]);
    for row in rows {
        let first = [row.dataset.clone(), row.policy.to_owned(), row.blocks.to_string()];
        let last = [row.waiting.to_string(), row.granted_today.to_string()];
        table.row(first.into_iter().chain(row.parts.cells()).chain(last));
    }
    table.text("", form.paint)
}

fn blocks_text(rows: &[OfBlock], form: Form) -> String {
    let mut table = Table::new(&[
        "BLOCK",
        "DATASET",
        ">CONSUMED",
        ">ALLOCATED",
        ">AVAILABLE",
        ">LOCKED",
        ">DAY",
        ">WEEK",
        ">LASTS",
        ">WAITING",
        ">LEFT",
        "OF",
    ]);
    for row in rows {
        let retired = if row.is_retired { " (deleted)" } else { "" };
        let first = [format!("{}{retired}", row.block), row.dataset.clone()];
        let last = [
            row.waiting.to_string(),
            row.short_left.clone(),
            row.coordinate.clone(),
        ];
        table.row(first.into_iter().chain(row.parts.cells()).chain(last));
    }
    table.text("", form.paint)
}

fn namespaces_text(rows: &[OfNamespace], form: Form) -> String {
    let mut table = Table::new(&[
        "NAMESPACE",
        "DATASET",
        ">CLAIMS",
        ">WAITING",
        ">GRANTED",
        ">CONSUMED",
        ">DAY",
        ">WEEK",
    ]);
    for row in rows {
        table.row([
            row.namespace.clone(),
            row.dataset.clone(),
            row.claims.to_string(),
            row.waiting.to_string(),
            row.granted.to_string(),
            percent(row.consumed),
            percent(row.day),
            percent(row.week),
        ]);
    }
    table.text("", form.paint)
}

fn claims_text(rows: &[OfClaim], form: Form) -> String {
    if rows.is_empty() {
        return "no claim waits\n".to_owned();
    }
    let mut table = Table::new(&[">PLACE", "CLAIM", "DATASET", ">SHARE", ">WAITS", "WHY"]);
    let shown = if form.wide { rows.len() } else { FEW_CLAIMS };
    for row in rows.iter().take(shown) {
        let why = if form.wide {
            row.why.clone()
        } else {
            beginning(&row.why)
        };
        table.row([
            row.place
                .map_or_else(|| "-".to_owned(), |place| place.to_string()),
            row.claim.clone(),
            row.dataset.clone(),
            row.share.map_or_else(|| "-".to_owned(), percent),
            row.waits.clone(),
            why,
        ]);
    }
    let mut text = table.text("", form.paint);
    if rows.len() > shown {
        let _ = writeln!(text, "and {} more (-o wide shows all)", rows.len() - shown);
    }
    text
}
