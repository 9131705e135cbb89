//! An audit trail as people and programs read it.

use std::{fmt::Write as _, sync::Arc};

use privatekube_api::counted;
use privatekube_ledger::Requester;
use privatekube_policy::{Composition, DatasetRules};
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use crate::{
    amounts::{amounts, exact},
    budget::beyond,
    output::{Form, Report},
    table::Table,
    whatif::{PolicyOption, UnlockOption},
};

/// How many blocks of a decision are shown, unless all are.
const MOST_BLOCKS: usize = 5;

/// The answer.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    pub(super) ledgers: Vec<OfLedger>,
}

/// What one ledger says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfLedger {
    pub(super) dataset: String,
    /// The rules by which everything was decided, as the first entry has them.
    pub(super) rules: DatasetRules,
    #[serde(skip)]
    pub(super) rules_text: String,
    /// The entry of the checkpoint after which the trail begins, where entries before it were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opening: Option<u64>,
    #[serde(skip)]
    pub(super) after: u64,
    /// The last entry, with its hash and time.
    pub(super) entries: u64,
    pub(super) hash: String,
    pub(super) as_of: String,
    /// The decisions, in the order of the ledger.
    pub(super) decisions: Vec<Decision>,
}

/// A decision about a claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decision {
    pub(super) entry: u64,
    /// When the entry was written, and when the decision was made: the clock may have made it before.
    pub(super) written: String,
    pub(super) decided: String,
    /// The claim's name in the ledger.
    pub(super) claim: String,
    /// The pod whose own claim it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<String>,
    /// `granted`, `denied`, `expired`, `withdrawn`, `consumed` or `released`.
    #[serde(rename = "decision")]
    pub(super) outcome: &'static str,
    /// The same in words.
    pub(super) what: String,
    /// The entry in which the claim arrived; none if that was removed.
    pub(super) arrived: Option<u64>,
    pub(super) requester: WhoAsked,
    /// The program that decided, and the process.
    pub(super) program: Option<String>,
    pub(super) writer: String,
    pub(super) blocks: Vec<Charged>,
}

/// Who asked; none if it isn't known.
#[derive(Debug)]
pub(super) struct WhoAsked(pub(super) Option<Arc<Requester>>);

impl Serialize for WhoAsked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_deref().serialize(serializer)
    }
}

/// What a decision moved of a block, and what it left.
#[derive(Debug)]
pub(super) struct Charged {
    pub(super) block: String,
    /// What was allocated, consumed or returned, at each coordinate.
    pub(super) units: Vec<i128>,
    /// What is neither allocated nor consumed after the entry.
    pub(super) left: Vec<i128>,
    /// The coordinate that tables show.
    pub(super) shown: usize,
    pub(super) composition: Arc<Composition>,
}

/// Amounts are written out only now: a trail has many.
impl Serialize for Charged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Charged", 3)?;
        fields.serialize_field("block", &self.block)?;
        fields.serialize_field("amounts", &amounts(&self.composition, &self.units))?;
        fields.serialize_field("left", &amounts(&self.composition, &self.left))?;
        fields.end()
    }
}

/// Rules in a line.
pub(super) fn rules_text(rules: &DatasetRules) -> String {
    let composition = match &rules.composition {
        Composition::Basic => "Basic".to_owned(),
        Composition::Renyi(orders) => {
            let orders: Vec<String> = orders.iter().map(|order| order.to_string()).collect();
            format!("Renyi at orders {}", orders.join(", "))
        }
    };
    format!(
        "policy {}, unlocking {}, composition {composition}, revision {}",
        PolicyOption(rules.policy),
        UnlockOption(rules.unlocking),
        u32::from(rules.revision)
    )
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let each = self.ledgers.iter().map(|ledger| ledger.text(form));
        each.collect::<Vec<_>>().join("\n")
    }
}

impl OfLedger {
    fn text(&self, form: Form) -> String {
        let mut text = String::new();
        let title = format!("Audit of dataset {}", self.dataset);
        let _ = writeln!(
            text,
            "{}, as of {} (entry {}, hash {}), verified by replay",
            form.paint.bold(&title),
            self.as_of,
            self.entries,
            self.hash
        );
        let _ = writeln!(text, "decided by {}", self.rules_text);
        if let Some(opening) = self.opening {
            let _ = writeln!(
                text,
                "entries up to {opening} are covered by the checkpoint at entry {opening}, and old ones were removed: what they \
                 decided is in the archive (--archive FILE)"
            );
        }
        if self.decisions.is_empty() {
            let after = match self.after {
                0 => String::new(),
                after => format!(" after entry {after}"),
            };
            let _ = writeln!(text, "no decision like this{after}");
        }
        for decision in &self.decisions {
            text.push('\n');
            text.push_str(&decision.text(form, self.opening));
        }
        text
    }
}

impl Decision {
    fn text(&self, form: Form, opening: Option<u64>) -> String {
        let mut text = String::new();
        let claim = form.paint.bold(&printable(&self.claim));
        let _ = writeln!(
            text,
            "entry {}, {}: {claim} {}",
            self.entry,
            self.decided,
            printable(&self.what)
        );
        let _ = writeln!(text, "  {}", self.asked(opening));
        if let Some(runs) = self.runs() {
            let _ = writeln!(text, "  {runs}");
        }
        if form.wide {
            let _ = writeln!(
                text,
                "  written {} by {} ({})",
                self.written,
                self.program
                    .as_deref()
                    .map_or_else(|| "a program that didn't say its version".into(), printable),
                printable(&self.writer)
            );
        }
        if !self.blocks.is_empty() {
            let amount = match self.outcome {
                "granted" => ">ALLOCATED",
                "released" => ">RETURNED",
                _ => ">CONSUMED",
            };
            let most = if form.wide { usize::MAX } else { MOST_BLOCKS };
            let mut table = Table::new(&["BLOCK", "OF", amount, ">LEFT"]);
            for block in self.blocks.iter().take(most) {
                let digits = |units: &[i128]| {
                    let units = units.get(block.shown).copied().unwrap_or_default();
                    exact(&block.composition, block.shown, units).unwrap_or_else(beyond)
                };
                table.row([
                    block.block.clone(),
                    block.composition.coordinate_name(block.shown),
                    digits(&block.units),
                    digits(&block.left),
                ]);
            }
            text.push_str(&table.text("  ", form.paint));
            let rest = u64::try_from(self.blocks.len().saturating_sub(most)).unwrap_or(u64::MAX);
            if rest > 0 {
                let _ = writeln!(
                    text,
                    "  and {} (-o wide)",
                    counted(rest, "more block", "more blocks")
                );
            }
        }
        text
    }

    /// Who asked, and what for.
    fn asked(&self, opening: Option<u64>) -> String {
        let Some(requester) = &self.requester.0 else {
            return match (self.arrived, opening) {
                (None, Some(opening)) => format!(
                    "who asked is in an entry up to {opening} that was removed: --archive FILE reads it"
                ),
                _ => "who asked wasn't written down when it arrived".to_owned(),
            };
        };
        let user = requester
            .user
            .as_deref()
            .map_or_else(|| "a user who wasn't written down".into(), printable);
        let purpose = requester.purpose.as_deref().map_or_else(
            || "no purpose stated".into(),
            |purpose| format!("for: {}", printable(purpose)),
        );
        let mechanism = requester
            .mechanism
            .as_deref()
            .map_or_else(String::new, |mechanism| format!(", by {}", printable(mechanism)));
        format!("asked by {user}{mechanism}; {purpose}")
    }

    /// The pod, and what it runs.
    fn runs(&self) -> Option<String> {
        let pod = self.pod.as_deref()?;
        let mut text = format!("pod {}", printable(pod));
        let Some(requester) = &self.requester.0 else {
            return Some(text);
        };
        if let Some(owner) = &requester.owner {
            let _ = write!(text, " of {}", printable(owner));
        }
        if let Some(account) = &requester.service_account {
            let _ = write!(text, ", service account {}", printable(account));
        }
        if !requester.images.is_empty() {
            let images: Vec<String> = requester.images.iter().map(|image| printable(image)).collect();
            let _ = write!(text, ", images {}", images.join(", "));
        }
        Some(text)
    }
}

/// A text of a user without what moves a terminal's cursor.
fn printable(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    text.chars().map(shown).collect()
}
