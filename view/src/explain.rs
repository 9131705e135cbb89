//! Explanations: one sentence for users on why a claim is in its phase. It says what the claim lacks on which block and
//! what would change that, or why the claim was decided so.

use privatekube_api::{ClaimReason, LeftOut, moment, when};
use privatekube_policy::{
    BlockId, ClaimState, Composition, DatasetRules, Denial, Explanation, Lack, Phase, Policy, Rounding, Span,
    Time, Unlocks,
};

/// Why a claim is in its phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseReason {
    /// The reason of the claim's conditions.
    pub reason: ClaimReason,
    /// The explanation for users.
    pub message: String,
}

impl PhaseReason {
    /// A reason with its message.
    pub(crate) fn new(reason: ClaimReason, message: &str) -> Self {
        Self {
            reason,
            message: message.to_owned(),
        }
    }
}

/// Explains the phase of a claim that the policy has decided.
pub(crate) fn decided(claim: &ClaimState<'_>, composition: &Composition) -> PhaseReason {
    match (claim.phase, claim.denial, claim.decided) {
        (Phase::Waiting, ..) => undecided(),
        (Phase::Granted, ..) => {
            PhaseReason::new(ClaimReason::Granted, "its budget is allocated on all its blocks")
        }
        (Phase::Consumed, ..) => PhaseReason::new(ClaimReason::Consumed, "its budget is spent"),
        (Phase::Released, ..) => PhaseReason::new(
            ClaimReason::Released,
            "its budget was given back without being spent",
        ),
        (Phase::Withdrawn, ..) => {
            PhaseReason::new(ClaimReason::Withdrawn, "it was withdrawn while it waited")
        }
        (Phase::Denied, Some(denial), _) => denied(denial, composition),
        (Phase::Denied, None, _) => PhaseReason::new(ClaimReason::Denied, "it can never be granted"),
        (Phase::Expired, _, at) => expired(claim.arrival.timeout, at.unwrap_or_default()),
    }
}

/// Explains a waiting claim that lacks nothing: the policy decides it next.
pub(crate) fn undecided() -> PhaseReason {
    PhaseReason::new(ClaimReason::Undecided, "it is about to be decided")
}

/// Explains a waiting claim. `ahead` is the number of waiting claims that the policy tries before it; `None` if the
/// policy has no order, or the number was not counted. Moments are counted down from `now`.
pub(crate) fn waits(
    explanation: &Explanation,
    ahead: Option<usize>,
    rules: &DatasetRules,
    now: Time,
) -> PhaseReason {
    let composition = &rules.composition;
    let mut why = if let Some((found, needed)) = explanation.unmatched {
        PhaseReason {
            reason: ClaimReason::TooFewBlocks,
            message: format!(
                "{}; it is matched again when a block is added",
                too_few_blocks(found, needed)
            ),
        }
    } else if let Some(lack) = explanation.lacks.first() {
        let others = match explanation.lacks.len() - 1 {
            0 => String::new(),
            1 => "; one more of its blocks lacks budget".to_owned(),
            others => format!("; {others} more of its blocks lack budget"),
        };
        let (reason, message) = match rules.policy {
            Policy::RoundRobin => (ClaimReason::Gathering, gathers(lack, composition, now)),
            Policy::Dpf | Policy::Fcfs { .. } | Policy::Dpack { .. } | Policy::Blend { .. } => {
                (ClaimReason::TooLittleUnlocked, lacks(lack, composition, now))
            }
        };
        PhaseReason {
            reason,
            message: format!("{message}{others}"),
        }
    } else {
        undecided()
    };
    match ahead {
        None => {}
        Some(0) => why.message.push_str("; no waiting claim goes before it"),
        Some(1) => why.message.push_str("; one waiting claim goes before it"),
        Some(ahead) => why.message = format!("{}; {ahead} waiting claims go before it", why.message),
    }
    expiring(why, explanation, now)
}

/// That a claim matches fewer blocks than it needs.
#[must_use]
pub fn too_few_blocks(found: impl std::fmt::Display, needed: u32) -> String {
    if needed == 1 {
        "no block matches, and it needs one at least".to_owned()
    } else {
        format!("{found} of the {needed} blocks that it needs at least match")
    }
}

/// The message that a claim with `blocks` matching blocks takes `bytes` in a ledger entry, of which at most `most` are
/// allowed.
#[must_use]
pub fn too_large_for_an_entry(blocks: usize, bytes: usize, most: usize) -> String {
    format!(
        "with the {blocks} blocks that it matches it takes {bytes} bytes in the ledger, where a claim may take {most}: \
         request fewer blocks at a time"
    )
}

/// The message of a claim that leaves out blocks because its selector has no answer for them.
#[must_use]
pub fn blocks_left_out(left_out: &LeftOut) -> String {
    let LeftOut {
        count,
        names,
        problem,
    } = left_out;
    let mut listed: Vec<String> = names.iter().map(ToString::to_string).collect();
    match count.saturating_sub(names.len()) {
        0 => {}
        1 => listed.push("one more".to_owned()),
        more => listed.push(format!("{more} more")),
    }
    match (listed.pop(), listed.is_empty()) {
        (Some(last), false) => format!("blocks {} and {last} are left out: {problem}", listed.join(", ")),
        (last, _) => format!("block {} is left out: {problem}", last.unwrap_or_default()),
    }
}

/// The message that the names of a claim's `blocks` matching blocks take `bytes` in its status, of which at most `most` are
/// allowed.
#[must_use]
pub fn too_large_for_a_status(blocks: usize, bytes: usize, most: usize) -> String {
    let fit = (most * blocks).checked_div(bytes).unwrap_or_default();
    format!(
        "the names of the {blocks} blocks that it matches take {bytes} bytes in the status where its pod reads them, and \
         {most} fit: request fewer blocks at a time, about {fit}"
    )
}

/// Explains a waiting claim whose matching blocks take too many bytes of a ledger entry or a status. `problem` is the message
/// of [`too_large_for_an_entry`] or [`too_large_for_a_status`].
pub(crate) fn oversized(problem: &str, explanation: &Explanation, now: Time) -> PhaseReason {
    let why = PhaseReason {
        reason: ClaimReason::TooManyBlocks,
        message: format!("{problem}; it is matched again when a block is added or deleted"),
    };
    expiring(why, explanation, now)
}

/// Adds the time at which a waiting claim expires, if it has a timeout.
fn expiring(mut why: PhaseReason, explanation: &Explanation, now: Time) -> PhaseReason {
    if let Some(expires) = explanation.expires {
        why.message = format!("{}; it expires {}", why.message, when(expires, now));
    }
    why
}

/// Says what a block lacks for a claim, under a policy that allocates the whole demand at once.
fn lacks(lack: &Lack, composition: &Composition, now: Time) -> String {
    let [available, asked, missing] = amounts_of(lack, composition);
    let remedy = match lack.unlocks {
        Unlocks::Arrivals(1) => "the next claim that arrives for the block unlocks that".to_owned(),
        Unlocks::Arrivals(arrivals) => {
            format!("{arrivals} more claims that arrive for the block unlock that")
        }
        Unlocks::At(time) => format!("that is unlocked {}", when(time, now)),
        Unlocks::OnlyReturned => "only budget that other claims release can fill that".to_owned(),
    };
    format!(
        "block {} has {available} of the {asked} {} asked: {missing} is missing, {remedy}",
        lack.block,
        composition.coordinate_name(lack.coordinate),
    )
}

/// Says what a claim still lacks on a block under RoundRobin, which divides unlocked budget among the waiting claims.
fn gathers(lack: &Lack, composition: &Composition, now: Time) -> String {
    let [gathered, asked, missing] = amounts_of(lack, composition);
    let divided = "divided among all that wait for the block";
    let remedy = match lack.unlocks {
        Unlocks::Arrivals(1) => {
            format!("the next claim that arrives for the block unlocks that, to be {divided}")
        }
        Unlocks::Arrivals(arrivals) => {
            format!("{arrivals} more claims that arrive for the block unlock that, to be {divided}")
        }
        Unlocks::At(time) => format!("that is unlocked {}, to be {divided}", when(time, now)),
        Unlocks::OnlyReturned => {
            "which is more than is left to be divided: only budget that other claims release can fill that"
                .to_owned()
        }
    };
    format!(
        "it has gathered {gathered} of the {asked} {} that it asks of block {}: {missing} is missing, {remedy}",
        composition.coordinate_name(lack.coordinate),
        lack.block,
    )
}

/// What is available, asked and missing.
fn amounts_of(lack: &Lack, composition: &Composition) -> [String; 3] {
    let at = lack.coordinate;
    let (available, asked) = composition.display_apart(at, lack.available, i128::from(lack.asked));
    let missing = composition.display_short(at, lack.missing, Rounding::Up);
    [available, asked, missing]
}

/// Explains a claim that was denied because this block's budget was written off.
pub(crate) fn written_off(block: &BlockId) -> PhaseReason {
    PhaseReason::new(
        ClaimReason::BlockGone,
        &format!("the budget of block {block} was written off, because entries of the ledger were lost"),
    )
}

/// Why a claim was denied, in words.
#[must_use]
pub fn why_denied(denial: &Denial, composition: &Composition) -> String {
    denied(denial, composition).message
}

/// Explains a denied claim.
pub(crate) fn denied(denial: &Denial, composition: &Composition) -> PhaseReason {
    match denial {
        Denial::TooLarge {
            block,
            coordinate,
            asked,
            left,
        } => {
            let at = *coordinate as usize;
            let (left, asked) = composition.display_apart(at, i128::from((*left).max(0)), i128::from(*asked));
            let what = composition.coordinate_name(at);
            PhaseReason {
                reason: ClaimReason::TooLarge,
                message: format!(
                    "block {block} can never give the {asked} {what} asked: {left} is all that is not spent"
                ),
            }
        }
        Denial::BlockRetired { block } => PhaseReason {
            reason: ClaimReason::BlockGone,
            message: format!("block {block} is retired: it was deleted, or its time is over"),
        },
        Denial::DoesNotFit {
            block,
            coordinate,
            asked,
            unlocked,
        } => {
            let at = *coordinate as usize;
            let unlocked = i128::from((*unlocked).max(0));
            let (unlocked, asked) = composition.display_apart(at, unlocked, i128::from(*asked));
            let what = composition.coordinate_name(at);
            PhaseReason {
                reason: ClaimReason::DoesNotFit,
                message: format!(
                    "block {block} had {unlocked} of the {asked} {what} asked, and under the dataset's policy (FCFS, \
                     refusing) nothing waits: ask again when more is available"
                ),
            }
        }
        Denial::DividedUp { block } => PhaseReason {
            reason: ClaimReason::DividedUp,
            message: format!(
                "block {block} is unlocked and divided completely among the claims that asked for it (policy \
                 RoundRobin): nothing is left to make up what this one lacks there"
            ),
        },
    }
}

/// Explains an expired claim.
pub(crate) fn expired(timeout: Option<Span>, at: Time) -> PhaseReason {
    let timeout = timeout
        .map(|timeout| format!(" of {timeout}"))
        .unwrap_or_default();
    PhaseReason {
        reason: ClaimReason::TimedOut,
        message: format!(
            "it was not granted within its timeout{timeout}, which was over at {}",
            moment(at)
        ),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::{BlockId, Unlocking};

    use super::*;

    const UNIT: i64 = 1_000_000_000_000;
    /// 2026-11-30T10:00:00Z
    const NOW: Time = Time::from_micros(1_796_032_800_000_000);

    fn rules(policy: Policy) -> DatasetRules {
        DatasetRules {
            policy,
            unlocking: Unlocking::Arrivals(4),
            composition: Composition::Basic,
            revision: privatekube_policy::Revision::CURRENT,
        }
    }

    /// Block b2 lacks 0.5 epsilon of the 1.5 that are demanded.
    fn explanation(unlocks: Unlocks) -> Explanation {
        Explanation {
            unmatched: None,
            lacks: vec![Lack {
                block: BlockId::from("b2"),
                coordinate: 0,
                asked: 3 * UNIT / 2,
                available: i128::from(UNIT),
                missing: i128::from(UNIT / 2),
                locked: i128::from(3 * UNIT),
                unlocks,
            }],
            dominant_share: None,
            expires: None,
        }
    }

    #[test]
    fn a_waiting_claim_says_which_block_lacks_how_much_and_what_would_help() {
        let next = explanation(Unlocks::Arrivals(1));
        for policy in [
            Policy::Dpf,
            Policy::Fcfs { refusing: false },
            Policy::Dpack { recompute_after: 1 },
            Policy::Blend {
                fairness: 500,
                recompute_after: 1,
            },
        ] {
            let why = waits(&next, None, &rules(policy), NOW);
            assert_eq!(why.reason, ClaimReason::TooLittleUnlocked);
            assert_eq!(
                why.message,
                "block b2 has 1 of the 1.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
                 unlocks that"
            );
        }
        let unmatched = Explanation {
            unmatched: Some((1, 3)),
            lacks: vec![],
            ..next
        };
        assert_eq!(
            waits(&unmatched, None, &rules(Policy::Dpf), NOW).reason,
            ClaimReason::TooFewBlocks
        );
    }

    #[test]
    fn amounts_have_four_digits_and_those_that_decide() {
        let said = |asked: i64, available: i64| {
            let mut explanation = explanation(Unlocks::At(NOW.after(Span::from_secs(7200))));
            explanation.lacks[0].asked = asked;
            explanation.lacks[0].available = available.into();
            explanation.lacks[0].missing = i128::from(asked - available);
            explanation.expires = Some(NOW.after(Span::from_secs(90)));
            waits(&explanation, None, &rules(Policy::Dpf), NOW).message
        };
        assert_eq!(
            said(UNIT / 3, UNIT / 7),
            "block b2 has 0.1428 of the 0.3333 epsilon asked: 0.1905 is missing, that is unlocked in 2 h \
             (2026-11-30T12:00:00Z); it expires in 90 s (2026-11-30T10:01:30Z)"
        );
        let message = said(UNIT, UNIT - 1);
        let exact = "block b2 has 0.999999999999 of the 1 epsilon asked: 1e-12 is missing";
        assert!(message.starts_with(exact), "{message}");
        // More than can be counted.
        let message = said(i64::MAX, 0);
        let beyond = "block b2 has 0 of the over 9223372 epsilon asked: over 9223372 is missing";
        assert!(message.starts_with(beyond), "{message}");
    }

    #[test]
    fn blocks_that_are_left_out_are_named() {
        let said = |count, names: &[&str]| {
            blocks_left_out(&LeftOut {
                count,
                names: names.iter().map(|name| BlockId::from(*name)).collect(),
                problem: "no".to_owned(),
            })
        };
        assert_eq!(said(1, &["a"]), "block a is left out: no");
        assert_eq!(said(2, &["a", "b"]), "blocks a and b are left out: no");
        assert_eq!(said(3, &["a", "b"]), "blocks a, b and one more are left out: no");
        assert_eq!(said(9, &["a", "b"]), "blocks a, b and 7 more are left out: no");
    }

    #[test]
    fn a_waiting_claim_says_how_many_go_before_it() {
        let said = |ahead| {
            let why = waits(
                &explanation(Unlocks::OnlyReturned),
                Some(ahead),
                &rules(Policy::Dpack { recompute_after: 1 }),
                NOW,
            );
            why.message.split_once("; ").unwrap().1.to_owned()
        };
        assert_eq!(said(0), "no waiting claim goes before it");
        assert_eq!(said(1), "one waiting claim goes before it");
        assert_eq!(said(17), "17 waiting claims go before it");
    }

    #[test]
    fn under_round_robin_a_claim_says_what_it_has_gathered_and_that_it_shares() {
        let said = |unlocks| {
            let why = waits(&explanation(unlocks), None, &rules(Policy::RoundRobin), NOW);
            assert_eq!(why.reason, ClaimReason::Gathering);
            let gathered = "it has gathered 1 of the 1.5 epsilon that it asks of block b2: 0.5 is missing, ";
            why.message.strip_prefix(gathered).unwrap().to_owned()
        };
        assert_eq!(
            said(Unlocks::Arrivals(1)),
            "the next claim that arrives for the block unlocks that, to be divided among all that wait for the block"
        );
        assert_eq!(
            said(Unlocks::Arrivals(2)),
            "2 more claims that arrive for the block unlock that, to be divided among all that wait for the block"
        );
        assert_eq!(
            said(Unlocks::At(NOW.after(Span::from_secs(360)))),
            "that is unlocked in 6 min (2026-11-30T10:06:00Z), to be divided among all that wait for the block"
        );
        assert_eq!(
            said(Unlocks::OnlyReturned),
            "which is more than is left to be divided: only budget that other claims release can fill that"
        );
    }

    #[test]
    fn a_denied_claim_says_what_is_left_or_by_which_policy_it_is_denied() {
        let said = |denial| {
            let why = denied(&denial, &Composition::Basic);
            (why.reason, why.message)
        };
        let block = || BlockId::from("b1");
        let too_large = Denial::TooLarge {
            block: block(),
            coordinate: 0,
            asked: 20 * UNIT,
            left: 10 * UNIT,
        };
        assert_eq!(
            said(too_large),
            (
                ClaimReason::TooLarge,
                "block b1 can never give the 20 epsilon asked: 10 is all that is not spent".to_owned()
            )
        );
        let does_not_fit = Denial::DoesNotFit {
            block: block(),
            coordinate: 0,
            asked: 5 * UNIT,
            unlocked: 4 * UNIT,
        };
        assert_eq!(
            said(does_not_fit),
            (
                ClaimReason::DoesNotFit,
                "block b1 had 4 of the 5 epsilon asked, and under the dataset's policy (FCFS, refusing) nothing waits: \
                 ask again when more is available"
                    .to_owned()
            )
        );
        assert_eq!(
            said(Denial::DividedUp { block: block() }),
            (
                ClaimReason::DividedUp,
                "block b1 is unlocked and divided completely among the claims that asked for it (policy RoundRobin): \
                 nothing is left to make up what this one lacks there"
                    .to_owned()
            )
        );
    }
}
