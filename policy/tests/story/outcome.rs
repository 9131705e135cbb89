//! The outcome of a command as text.

use std::fmt::Write as _;

use privatekube_policy::{BlockId, ClaimId, Denial, Record, Span, Time, Unlocks};

use super::Story;

impl Story {
    pub(super) fn outcome(&self, records: &[Record]) -> String {
        let part = |entirely: &bool| if *entirely { "" } else { " in part" };
        let mut text = String::new();
        for record in records {
            let line = match record {
                Record::BlockAdded { block } => format!("{block}: added"),
                Record::BlockRetired { block } => format!("{block}: retired"),
                Record::WrittenOff { block } => format!("{block}: written off"),
                Record::Unlocked { blocks } => {
                    let names: Vec<&str> = blocks.iter().map(BlockId::as_str).collect();
                    format!("{}: unlocked a step", names.join(", "))
                }
                Record::Waits { claim } => format!("{claim}: waits: {}", self.explanation(claim)),
                Record::Granted { claim, at } => format!("{claim}: granted at {}", seconds(*at)),
                Record::Denied { claim, reason, at } => {
                    format!("{claim}: denied at {}: {}", seconds(*at), self.denial(reason))
                }
                Record::Expired { claim, at } => format!("{claim}: expired at {}", seconds(*at)),
                Record::Withdrawn { claim } => format!("{claim}: withdrawn"),
                Record::Consumed { claim, entirely } => format!("{claim}: consumed{}", part(entirely)),
                Record::Released { claim, entirely } => format!("{claim}: released{}", part(entirely)),
            };
            writeln!(text, "{line}").unwrap();
        }
        if text.is_empty() {
            "nothing\n".to_owned()
        } else {
            text
        }
    }

    fn denial(&self, reason: &Denial) -> String {
        match reason {
            Denial::TooLarge {
                block,
                coordinate,
                asked,
                left,
            } => {
                let at = *coordinate as usize;
                let show = |units: i64| self.composition().display_units(at, units.into());
                let name = self.composition().coordinate_name(at);
                format!(
                    "asks {} {name} of {block}, which has {} left",
                    show(*asked),
                    show(*left)
                )
            }
            Denial::BlockRetired { block } => format!("{block} is retired"),
            Denial::DoesNotFit {
                block,
                coordinate,
                asked,
                unlocked,
            } => {
                let at = *coordinate as usize;
                let show = |units: i64| self.composition().display_units(at, units.into());
                let name = self.composition().coordinate_name(at);
                format!(
                    "asks {} {name} of {block}, which has {} unlocked",
                    show(*asked),
                    show(*unlocked)
                )
            }
            Denial::DividedUp { block } => format!("{block} is divided up"),
        }
    }

    pub(super) fn explanation(&self, claim: &ClaimId) -> String {
        let Some(explanation) = self.engine.explain(claim) else {
            return "does not wait".to_owned();
        };
        let mut reasons = Vec::new();
        if let Some((matched, needed)) = explanation.unmatched {
            reasons.push(format!("matches {matched} of {needed} blocks"));
        }
        for lack in explanation.lacks {
            let show = |units: i128| self.composition().display_units(lack.coordinate, units);
            let unlocks = match lack.unlocks {
                Unlocks::Arrivals(1) => "1 more arrival would do".to_owned(),
                Unlocks::Arrivals(more) => format!("{more} more arrivals would do"),
                Unlocks::At(time) => format!("at {} the clock will have unlocked it", seconds(time)),
                Unlocks::OnlyReturned => "others hold it".to_owned(),
            };
            let name = self.composition().coordinate_name(lack.coordinate);
            reasons.push(format!(
                "{} lacks {} {name} ({unlocks})",
                lack.block,
                show(lack.missing)
            ));
        }
        if let Some(expires) = explanation.expires {
            reasons.push(format!("expires at {}", seconds(expires)));
        }
        reasons.join("; ")
    }

    pub(super) fn place(&self, claim: &ClaimId) -> String {
        let Some(standing) = self.engine.standing(claim) else {
            return "does not wait\n".to_owned();
        };
        let mut text = standing.ahead.map_or_else(
            || "there is no order\n".to_owned(),
            |ahead| format!("{ahead} go before it\n"),
        );
        for need in standing.needs {
            let show = |units: i128| self.composition().display_units(need.coordinate, units);
            writeln!(
                text,
                "{} has {} of {} {}, {} is locked",
                need.block,
                show(need.available),
                show(need.asked.into()),
                self.composition().coordinate_name(need.coordinate),
                show(need.locked)
            )
            .unwrap();
        }
        text
    }

    /// The sums of the claims that were forgotten.
    pub(super) fn folded(&self) -> String {
        let mut text = String::new();
        for sum in self.engine.folded() {
            let group = sum.group.unwrap_or("nobody");
            write!(text, "{} {:?} of {group}", sum.claims, sum.phase).unwrap();
            if let Some(block) = sum.block {
                let epsilon = self.composition().display_units(0, sum.consumed[0]);
                write!(
                    text,
                    " on {block}: {epsilon} {}",
                    self.composition().coordinate_name(0)
                )
                .unwrap();
            }
            text.push('\n');
        }
        text
    }

    pub(super) fn block(&self, block: &str) -> String {
        let state = self.engine.block(&block.into()).unwrap();
        let mut text = String::new();
        for at in 0..state.capacity.units().len() {
            let show = |units: i128| self.composition().display_units(at, units);
            writeln!(
                text,
                "{}: {} = locked {} + unlocked {} + allocated {} + consumed {}",
                self.composition().coordinate_name(at),
                show(state.capacity.units()[at].into()),
                show(state.locked[at]),
                show(state.available[at]),
                show(state.allocated[at]),
                show(state.consumed[at]),
            )
            .unwrap();
        }
        text
    }
}

/// The kind of a record.
pub(super) fn kind(record: &Record) -> &'static str {
    match record {
        Record::BlockAdded { .. } => "block added",
        Record::BlockRetired { .. } => "block retired",
        Record::WrittenOff { .. } => "written off",
        Record::Unlocked { .. } => "unlocked",
        Record::Waits { .. } => "waits",
        Record::Granted { .. } => "granted",
        Record::Denied { .. } => "denied",
        Record::Expired { .. } => "expired",
        Record::Withdrawn { .. } => "withdrawn",
        Record::Consumed { .. } => "consumed",
        Record::Released { .. } => "released",
    }
}

fn seconds(time: Time) -> String {
    Span::from_micros(time.micros()).to_string()
}
