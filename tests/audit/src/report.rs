//! [`Report`]: what an audit counted and what it found, for people and for programs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    book::{Book, Phase},
    objects::Objects,
    subjects::requesting,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// An entry is missing, was changed, is out of order, or is dated before the one before it.
    Chain,
    /// More is granted and consumed of a block than its capacity, or than was unlocked.
    Overspent,
    /// Records that don't fit each other, or the events.
    Contradiction,
    /// A pod has a node, and its claim was not consumed, or its grant is not what was consumed.
    Bypassed,
    /// A status names an entry that isn't there, or an object is in no ledger and nothing says why.
    Lost,
    /// A status differs from the sums of the ledger at the entry that it names.
    Wrong,
    /// A status is of an earlier state.
    Behind,
    /// Something could go on and doesn't.
    Hanging,
    /// An entry has a form that this audit doesn't know, or leaves records out.
    Unknown,
}

impl FindingKind {
    /// Whether it is normal for a moment, while something is under way.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Behind | Self::Hanging)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The object: its kind, namespace and name.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = serde_json::to_value(self.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default();
        write!(f, "{kind}: {}: {}", self.object, self.message)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, kind: FindingKind, object: &str, message: impl Into<String>) {
        self.0.push(Finding {
            kind,
            object: object.to_owned(),
            message: message.into(),
        });
    }
}

/// What one ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerSummary {
    /// The dataset, namespace/name.
    pub dataset: String,
    /// How many entries were followed.
    pub entries: u64,
    /// The hash of the last one.
    pub hash: String,
    /// How many processes wrote them, by their names.
    pub writers: usize,
    /// How many events they have.
    pub events: u64,
    /// How many blocks were added.
    pub blocks: usize,
    /// How many claims arrived, by their phase now.
    pub claims: BTreeMap<String, u64>,
}

/// What an audit counted and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Every ledger.
    pub ledgers: Vec<LedgerSummary>,
    /// How many pods request budget.
    pub pods: usize,
    /// How many of them have a node.
    pub pods_with_node: usize,
    /// How many claim objects there are.
    pub claim_objects: usize,
    /// All that is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn of(objects: &Objects, books: &BTreeMap<String, Book>, findings: Findings) -> Self {
        let pods = || objects.pods.iter().filter(|pod| requesting(pod).is_some());
        let mut findings = findings.0;
        findings.sort();
        Self {
            ledgers: books.iter().map(|(name, book)| summary(name, book)).collect(),
            pods: pods().count(),
            pods_with_node: pods().filter(|pod| pod["spec"]["nodeName"].is_string()).count(),
            claim_objects: objects.claims.len(),
            findings,
        }
    }

    /// The findings that are wrong at any moment.
    pub fn lasting(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.kind.may_pass())
    }
}

fn summary(dataset: &str, book: &Book) -> LedgerSummary {
    let mut claims = BTreeMap::new();
    for claim in book.claims.values() {
        *claims.entry(claim.phase.name().to_owned()).or_default() += 1;
    }
    LedgerSummary {
        dataset: dataset.to_owned(),
        entries: book.head,
        hash: book.hash.clone(),
        writers: book.writers.len(),
        events: book.events,
        blocks: book.blocks.len(),
        claims,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ledger in &self.ledgers {
            write!(
                f,
                "{}: {} entries of {} writers with {} events, {} blocks, claims:",
                ledger.dataset, ledger.entries, ledger.writers, ledger.events, ledger.blocks
            )?;
            for phase in Phase::ALL.map(Phase::name) {
                if let Some(count) = ledger.claims.get(phase) {
                    write!(f, " {count} {phase}")?;
                }
            }
            writeln!(f, "\n  last entry: {}", ledger.hash)?;
        }
        writeln!(
            f,
            "{} pods request budget, {} of them have a node; {} claim objects",
            self.pods, self.pods_with_node, self.claim_objects
        )?;
        if self.findings.is_empty() {
            return writeln!(f, "Nothing is wrong.");
        }
        writeln!(f, "{} findings:", self.findings.len())?;
        for finding in &self.findings {
            writeln!(f, "  {finding}")?;
        }
        Ok(())
    }
}
