//! Why a claim is in its phase, by the engine after a replay of its ledger.

use std::fmt::Write as _;

use privatekube_api::{ClaimPhase, ClaimReason, DemandRequest, when};
use privatekube_policy::{
    BlockId, Composition, Demand, Explanation, Lack, Rounding, Standing, Time, Unlocks,
};
use privatekube_view::ClaimView;
use serde::Serialize;

use super::subject::{Named, shown};
use crate::{
    amounts::{exact, few, short_name, title},
    exit::Exit,
    largest::{Asked, Largest, largest},
    output::Form,
    state::DatasetState,
    statuses::{StatusNeed, table},
    table::Table,
};

/// How many blocks that lack budget are shown with all their orders, unless all are.
const MOST_BLOCKS: usize = 3;

/// What there is to say of a claim.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimExplanation {
    /// The pod or claim object: `pod data/train`.
    pub(super) subject: String,
    /// Its dataset.
    pub(super) dataset: String,
    /// Its phase; none if nothing is known of it yet.
    pub(super) phase: Option<ClaimPhase>,
    /// Why, in a word.
    pub(super) reason: Option<String>,
    /// Why, in the extender's words.
    pub(super) message: Option<String>,
    /// `ledger` or `status`: what this is told by.
    pub(super) told_by: &'static str,
    /// The entry that it is true after.
    pub(super) ledger_sequence: Option<u64>,
    /// What each block has for it.
    pub(super) needs: Vec<Need>,
    /// How many of its blocks lack budget.
    pub(super) lacking_blocks: usize,
    /// How many waiting claims are tried before it; none if the policy has no order, or it doesn't wait.
    pub(super) ahead: Option<usize>,
    /// How many claims wait on the dataset.
    pub(super) waiting: Option<usize>,
    /// When unlocking alone would be enough, if nothing else were granted.
    pub(super) enough: Option<String>,
    /// When its timeout is over.
    pub(super) expires: Option<String>,
    /// The largest demand that would be granted now in its place.
    pub(super) fits_now: Option<Largest>,
    /// What is not known, and why.
    pub(super) unknown: Option<String>,
    /// What the statuses of the blocks say, for whoever may not read the ledger.
    pub(super) statuses: Vec<StatusNeed>,
    #[serde(skip)]
    pub(super) is_without_right: bool,
    /// The title of the column of coordinates.
    #[serde(skip)]
    pub(super) coordinate_title: &'static str,
}

/// What a block has for a claim at a coordinate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Need {
    pub(super) block: String,
    /// `epsilon`, `delta`, or `epsilon at order 4`.
    pub(super) coordinate: String,
    /// What is asked; none if it is more than can be counted.
    pub(super) asked: Option<String>,
    pub(super) available: Option<String>,
    pub(super) locked: Option<String>,
    /// `0` if nothing is missing.
    pub(super) missing: Option<String>,
    /// What makes it enough.
    pub(super) enough: String,
    /// Whether the block lacks budget for the claim: at each order, or at some coordinate.
    pub(super) is_lacking_block: bool,
    /// The cells of the table.
    #[serde(skip)]
    pub(super) cells: [String; 7],
}

/// Explains a claim.
pub(super) fn explained(named: &Named, state: &DatasetState) -> ClaimExplanation {
    let id = named.subject.id();
    let mut answer = ClaimExplanation {
        subject: shown(&named.subject),
        dataset: state.key.to_string(),
        told_by: "ledger",
        ledger_sequence: Some(state.head.sequence),
        ..ClaimExplanation::default()
    };
    let composition = &state.engine.rules().composition;
    answer.coordinate_title = title(composition);
    let Some(claim) = state.view().claim(&id) else {
        // It isn't in the ledger: its object says why not.
        answer.told_by = "status";
        by_object(named, &mut answer);
        return answer;
    };
    answer.phase = Some(claim.phase);
    answer.reason = Some(claim.reason().as_str().to_owned());
    answer.message = Some(message(named, &claim));
    let engine = &state.engine;
    let (Some(explanation), Some(standing)) = (engine.explain(&id), engine.standing(&id)) else {
        return answer;
    };
    answer.ahead = standing.ahead;
    let phases = engine.claims().filter_map(|claim| engine.phase(claim));
    answer.waiting = Some(
        phases
            .filter(|phase| ClaimPhase::from(*phase) == ClaimPhase::Waiting)
            .count(),
    );
    answer.expires = explanation.expires.map(|time| when(time, state.now));
    answer.needs = needs(&standing, composition, state.now);
    answer.lacking_blocks = lacking(&standing, composition).len();
    answer.enough = enough(&explanation, &standing, composition, state.now);
    if explanation.unmatched.is_none()
        && let Some(claim) = engine.claim(&id)
    {
        answer.fits_now = Some(fits_now(named, state, &claim.arrival.demands, &standing));
    }
    answer
}

/// What there is to say of a claim on a dataset without a ledger.
pub(super) fn without_ledger(named: &Named, why: &anyhow::Error) -> ClaimExplanation {
    let mut answer = ClaimExplanation {
        subject: shown(&named.subject),
        dataset: named.dataset.to_string(),
        told_by: "status",
        ..ClaimExplanation::default()
    };
    by_object(named, &mut answer);
    answer.unknown = Some(why.to_string());
    answer
}

/// The claim's message. Which blocks it leaves out, and why it matches too many, is known to the extender alone, so there
/// its status says more.
fn message(named: &Named, claim: &ClaimView) -> String {
    let status = named.object.as_ref().and_then(|object| object.status.as_ref());
    let told = status.filter(|status| {
        let reasons = [ClaimReason::TooFewBlocks, ClaimReason::TooManyBlocks].map(ClaimReason::as_str);
        status.phase == Some(ClaimPhase::Waiting)
            && claim.phase == ClaimPhase::Waiting
            && status
                .reason
                .as_deref()
                .is_some_and(|reason| reasons.contains(&reason))
    });
    told.and_then(|status| status.message.clone())
        .unwrap_or_else(|| claim.message().to_owned())
}

/// What the claim's object says of a claim that is not in the ledger.
pub(super) fn by_object(named: &Named, answer: &mut ClaimExplanation) {
    match named.object.as_ref().and_then(|object| object.status.as_ref()) {
        Some(status) => {
            answer.phase = status.phase;
            answer.reason.clone_from(&status.reason);
            answer.message.clone_from(&status.message);
            answer.ledger_sequence = status.sequence;
        }
        None => {
            answer.unknown = Some(
                "it is not in the ledger, and has no status yet: the extender hasn't seen it, or isn't running".to_owned(),
            );
        }
    }
}

/// The blocks that lack budget for the claim.
fn lacking<'a>(standing: &'a Standing, composition: &Composition) -> Vec<&'a BlockId> {
    let mut blocks: Vec<&BlockId> = standing.needs.iter().map(|need| &need.block).collect();
    blocks.dedup();
    blocks.retain(|block| !fits(standing, composition, block, |need| need.missing <= 0));
    blocks
}

/// Whether a block has enough at each coordinate (Basic), or at one order.
fn fits(
    standing: &Standing,
    composition: &Composition,
    block: &BlockId,
    is_enough: impl Fn(&Lack) -> bool,
) -> bool {
    let mut needs = standing.needs.iter().filter(|need| need.block == *block);
    match composition {
        Composition::Basic => needs.all(is_enough),
        Composition::Renyi(_) => needs.any(is_enough),
    }
}

fn needs(standing: &Standing, composition: &Composition, now: Time) -> Vec<Need> {
    let lacking = lacking(standing, composition);
    let need = |need: &Lack| {
        let at = need.coordinate;
        let (asked, missing) = (i128::from(need.asked), need.missing.max(0));
        let enough = if need.missing <= 0 {
            "now".to_owned()
        } else {
            unlocks(need.unlocks, now)
        };
        let cells = [
            need.block.to_string(),
            short_name(composition, at),
            few(composition, at, asked, Rounding::Nearest),
            few(composition, at, need.available, Rounding::Down),
            few(composition, at, need.locked, Rounding::Down),
            few(composition, at, missing, Rounding::Up),
            enough.clone(),
        ];
        Need {
            block: need.block.to_string(),
            coordinate: composition.coordinate_name(at),
            asked: exact(composition, at, asked),
            available: exact(composition, at, need.available),
            locked: exact(composition, at, need.locked),
            missing: exact(composition, at, missing),
            enough,
            is_lacking_block: lacking.contains(&&need.block),
            cells,
        }
    };
    standing.needs.iter().map(need).collect()
}

fn unlocks(unlocks: Unlocks, now: Time) -> String {
    match unlocks {
        Unlocks::Arrivals(1) => "after the next arrival".to_owned(),
        Unlocks::Arrivals(count) => format!("after {count} more arrivals"),
        Unlocks::At(time) => when(time, now),
        Unlocks::OnlyReturned => "never by unlocking".to_owned(),
    }
}

/// When unlocking alone would be enough on all blocks, if nothing else were granted; `None` if that isn't known.
fn enough(
    explanation: &Explanation,
    standing: &Standing,
    composition: &Composition,
    now: Time,
) -> Option<String> {
    if let Some((found, needed)) = explanation.unmatched {
        return Some(format!(
            "never: {found} of the {needed} blocks that it needs at least match, so another one has to"
        ));
    }
    // Later unlocks compare as larger.
    let rank = |unlocks: Unlocks| match unlocks {
        Unlocks::Arrivals(count) => (0, count),
        Unlocks::At(time) => (1, time.micros()),
        Unlocks::OnlyReturned => (2, 0),
    };
    let of_block = |block: &&BlockId| {
        let needs = standing
            .needs
            .iter()
            .filter(|need| need.block == **block && need.missing > 0);
        let unlocks = needs.map(|need| need.unlocks);
        match composition {
            Composition::Basic => unlocks.max_by_key(|unlocks| rank(*unlocks)),
            Composition::Renyi(_) => unlocks.min_by_key(|unlocks| rank(*unlocks)),
        }
    };
    let lacking = lacking(standing, composition);
    let last = lacking
        .iter()
        .filter_map(of_block)
        .max_by_key(|unlocks| rank(*unlocks))?;
    Some(match last {
        Unlocks::Arrivals(1) => {
            "after the next claim that arrives for the blocks that lack budget, if nothing else is granted"
                .to_owned()
        }
        Unlocks::Arrivals(count) => {
            format!(
                "after {count} more claims that arrive for the blocks that lack budget, if nothing else is granted"
            )
        }
        Unlocks::At(time) => format!("{}, if nothing else is granted", when(time, now)),
        Unlocks::OnlyReturned => {
            "never: what is still locked isn't enough, so other claims would have to release budget"
                .to_owned()
        }
    })
}

/// The largest demand that would be granted now in place of the claim's: what is available for it is enough, and a policy
/// lets no claim wait for which it is.
fn fits_now(named: &Named, state: &DatasetState, demands: &[Demand], standing: &Standing) -> Largest {
    let composition = &state.engine.rules().composition;
    let request = named.request.as_ref().and_then(|request| match &request.demand {
        DemandRequest::Selected { budget, .. } => Some(budget),
        DemandRequest::PerBlock(_) => None,
    });
    let blocks = demands.iter().flat_map(|demand| &demand.blocks);
    let records = blocks.filter_map(|block| state.objects.block(block.as_str())?.object.spec.records);
    let asked = Asked {
        demands,
        request,
        records: records.fold(0, u64::saturating_add),
        composition,
    };
    let available: std::collections::BTreeMap<(&BlockId, usize), i128> = standing
        .needs
        .iter()
        .map(|need| ((&need.block, need.coordinate), need.available))
        .collect();
    largest(&asked, |demands| {
        let mut each = demands
            .iter()
            .flat_map(|demand| demand.blocks.iter().map(move |block| (block, &demand.budget)));
        each.all(|(block, budget)| {
            // Coordinates at which a Renyi block has no capacity are not among the needs.
            let mut enough = budget.units().iter().enumerate().filter_map(|(at, units)| {
                let available = available.get(&(block, at))?;
                Some(i128::from(*units) <= *available)
            });
            match composition {
                Composition::Basic => enough.all(|is| is),
                Composition::Renyi(_) => enough.any(|is| is),
            }
        })
    })
}

/// A claim's place among those that wait.
fn place(ahead: usize, waiting: usize) -> String {
    match (ahead, waiting) {
        (_, 1) => "no other claim waits on the dataset".to_owned(),
        (0, waiting) => format!("it is the first of {waiting} claims that wait on the dataset"),
        (ahead, waiting) => format!("{ahead} of the {waiting} claims that wait on the dataset go before it"),
    }
}

impl ClaimExplanation {
    pub(super) fn exit(&self) -> Exit {
        if self.is_without_right {
            return Exit::NotAllowed;
        }
        self.by_phase()
    }

    const fn by_phase(&self) -> Exit {
        match self.phase {
            None | Some(ClaimPhase::Waiting) => Exit::Waits,
            Some(ClaimPhase::Denied | ClaimPhase::Expired | ClaimPhase::Withdrawn) => Exit::Refused,
            Some(ClaimPhase::Granted | ClaimPhase::Consumed | ClaimPhase::Released) => Exit::Done,
        }
    }

    pub(super) fn text(&self, form: Form) -> String {
        let paint = form.paint;
        let phase = self.phase.map_or("not known yet", ClaimPhase::as_str);
        let painted = match self.by_phase() {
            Exit::Done => paint.good(phase),
            Exit::Refused => paint.bad(phase),
            _ => paint.middling(phase),
        };
        let reason = self
            .reason
            .as_ref()
            .filter(|reason| *reason != phase)
            .map_or_else(String::new, |reason| format!(" ({reason})"));
        let at = self
            .ledger_sequence
            .map_or_else(String::new, |sequence| format!(", entry {sequence}"));
        let mut text = format!(
            "{} on dataset {}{at}: {painted}{reason}\n",
            paint.bold(&self.subject),
            self.dataset
        );
        if let Some(message) = &self.message {
            let _ = writeln!(text, "  {message}");
        }
        if let Some(unknown) = &self.unknown {
            let _ = writeln!(text, "  {unknown}");
        }
        text.push_str(&self.table(form));
        text.push_str(&table(&self.statuses, form));
        let mut facts = Vec::new();
        match (self.ahead, self.waiting) {
            (Some(ahead), Some(waiting)) => facts.push(("queue", place(ahead, waiting))),
            (None, Some(waiting)) => facts.push((
                "queue",
                format!(
                    "it has no place among those that wait on the dataset ({waiting} in all): too few blocks match, or the \
                     policy has no order"
                ),
            )),
            _ => {}
        }
        if let Some(enough) = &self.enough {
            facts.push(("unlocked", enough.clone()));
        }
        if let Some(fits) = &self.fits_now {
            facts.push(("fits now", fits.sentence()));
        }
        if let Some(expires) = &self.expires {
            facts.push(("expires", expires.clone()));
        }
        for (name, fact) in facts {
            let _ = writeln!(text, "  {:10}{fact}", format!("{name}:"));
        }
        text
    }

    /// The blocks that lack budget, or all blocks if all are wanted or none lacks any.
    fn table(&self, form: Form) -> String {
        let mut blocks: Vec<&str> = Vec::new();
        let all = form.wide || self.lacking_blocks == 0;
        for need in self.needs.iter().filter(|need| all || need.is_lacking_block) {
            if blocks.last() != Some(&need.block.as_str()) {
                blocks.push(&need.block);
            }
        }
        let found = blocks.len();
        if !form.wide {
            blocks.truncate(MOST_BLOCKS);
        }
        let mut table = Table::new(&[
            "BLOCK",
            self.coordinate_title,
            ">ASKED",
            ">AVAILABLE",
            ">LOCKED",
            ">MISSING",
            "ENOUGH",
        ]);
        for need in self
            .needs
            .iter()
            .filter(|need| blocks.contains(&need.block.as_str()))
        {
            table.row(need.cells.clone());
        }
        if table.is_empty() {
            return String::new();
        }
        let mut text = format!("\n{}", table.text("  ", form.paint));
        if found > blocks.len() {
            let _ = writeln!(
                text,
                "  and {} more blocks that lack budget (-o wide shows all)",
                found - blocks.len()
            );
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, renyi_state};

    /// The claim of this name, whose object requests this mechanism.
    fn told(name: &str, form: Form) -> (String, Exit) {
        let state = renyi_state();
        let object = claim(name, "gaussian(sigma=1)");
        let named = Named {
            subject: privatekube_api::Subject::of_object(&object).unwrap(),
            dataset: state.key.clone(),
            request: object.request().ok(),
            object: Some(object),
        };
        let explained = explained(&named, &state);
        (explained.text(form), explained.exit())
    }

    #[test]
    fn a_waiting_claim_is_explained_order_by_order() {
        let (text, exit) = told("large", Form::default());
        assert_eq!(exit, Exit::Waits);
        assert_eq!(
            text,
            "\
claim data/large on dataset data/taxi, entry 3: Waiting (TooLittleUnlocked)
  block b1 has 3.598 of the 4 epsilon at order 8 asked: 0.4013 is missing, the next claim that arrives for the block \
             unlocks that; no waiting claim goes before it

  BLOCK   ORDER   ASKED   AVAILABLE   LOCKED   MISSING   ENOUGH
  b1          8       4       3.598    3.848    0.4013   after the next arrival
  b1         32      16        3.74     4.74     12.26   never by unlocking

  queue:    no other claim waits on the dataset
  unlocked: after the next claim that arrives for the blocks that lack budget, if nothing else is granted
  fits now: 0.8996 times the demand, which is sigma at least 1.05429 (asked: 1)
"
        );
    }

    #[test]
    fn a_granted_claim_is_told_of_in_a_line() {
        let (text, exit) = told("small", Form::default());
        assert_eq!(exit, Exit::Done);
        assert_eq!(
            text,
            "claim data/small on dataset data/taxi, entry 3: Granted\n  its budget is allocated on all its blocks\n"
        );
    }

    #[test]
    fn without_a_ledger_the_status_is_told_and_what_is_missing() {
        let mut object = claim("early", "gaussian(sigma=1)");
        let status = serde_json::json!({"phase": "Waiting", "reason": "DatasetMissing", "message": "there is no dataset"});
        object.status = serde_json::from_value(status).unwrap();
        let named = Named {
            subject: privatekube_api::Subject::of_object(&object).unwrap(),
            dataset: crate::fixture::key(),
            request: object.request().ok(),
            object: Some(object),
        };
        let told = without_ledger(&named, &anyhow::anyhow!("dataset data/taxi has no ledger"));
        assert_eq!(told.exit(), Exit::Waits);
        assert_eq!(
            told.text(Form::default()),
            "\
claim data/early on dataset data/taxi: Waiting (DatasetMissing)
  there is no dataset
  dataset data/taxi has no ledger
"
        );
    }
}
