//! Why a claim is where it is, in sentences.

use privatekube_policy::{Composition, DatasetRules, Denial, Explanation, Lack, Policy, Span, Time, Unlocks};

use crate::clock;

/// A word in CamelCase, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Why a claim waits. `ahead`: how many waiting claims go before it, if there is an order and it is known.
pub(super) fn waits(explanation: &Explanation, ahead: Option<usize>, rules: &DatasetRules) -> Why {
    let composition = &rules.composition;
    let mut why = if let Some((found, needed)) = explanation.unmatched {
        Why {
            reason: "TooFewBlocks",
            message: format!(
                "{found} of the {needed} blocks that it needs at least match; it is matched again when a block comes"
            ),
        }
    } else if let Some(lack) = explanation.lacks.first() {
        let others = match explanation.lacks.len() - 1 {
            0 => String::new(),
            1 => "; one more of its blocks lacks budget".to_owned(),
            others => format!("; {others} more of its blocks lack budget"),
        };
        let (reason, message) = match rules.policy {
            Policy::RoundRobin => ("Gathering", gathers(lack, composition)),
            Policy::Dpf | Policy::Fcfs { .. } | Policy::Dpack { .. } | Policy::Blend { .. } => {
                ("TooLittleUnlocked", lacks(lack, composition))
            }
        };
        Why {
            reason,
            message: format!("{message}{others}"),
        }
    } else {
        Why {
            reason: "Undecided",
            message: "it is about to be decided".to_owned(),
        }
    };
    match ahead {
        None => {}
        Some(0) => why.message.push_str("; no waiting claim goes before it"),
        Some(1) => why.message.push_str("; one waiting claim goes before it"),
        Some(ahead) => why.message = format!("{}; {ahead} waiting claims go before it", why.message),
    }
    expiring(why, explanation)
}

/// What a claim takes in the ledger that takes too much of it.
pub(super) fn takes_too_much(blocks: usize, bytes: usize, most: usize) -> String {
    format!(
        "with the {blocks} blocks that it matches it takes {bytes} bytes in the ledger, where a claim may take {most}: \
         ask for fewer blocks at a time"
    )
}

/// Why a claim waits that takes too much of the ledger with the blocks that it matches.
pub(super) fn oversized(problem: &str, explanation: &Explanation) -> Why {
    let why = Why {
        reason: "TooManyBlocks",
        message: format!("{problem}; it is matched again when a block comes or goes"),
    };
    expiring(why, explanation)
}

/// With the time at which the claim expires, if it does.
fn expiring(mut why: Why, explanation: &Explanation) -> Why {
    if let Some(expires) = explanation.expires {
        why.message = format!("{}; it expires at {}", why.message, clock::display(expires));
    }
    why
}

/// What a block lacks for a claim that takes what is unlocked.
fn lacks(lack: &Lack, composition: &Composition) -> String {
    let amount = |units: i128| composition.display_units(lack.coordinate, units);
    let what = composition.coordinate_name(lack.coordinate);
    let remedy = match lack.unlocks {
        Unlocks::Arrivals(1) => "the next claim that arrives for the block unlocks that".to_owned(),
        Unlocks::Arrivals(arrivals) => {
            format!("{arrivals} more claims that arrive for the block unlock that")
        }
        Unlocks::At(time) => format!("that is unlocked at {}", clock::display(time)),
        Unlocks::OnlyReturned => "only budget that other claims release can fill that".to_owned(),
    };
    format!(
        "block {} has {} of the {} {what} asked: {} is missing, {remedy}",
        lack.block,
        amount(lack.available),
        amount(i128::from(lack.asked)),
        amount(lack.missing),
    )
}

/// What a claim lacks that is given its part of what is unlocked, again and again.
fn gathers(lack: &Lack, composition: &Composition) -> String {
    let amount = |units: i128| composition.display_units(lack.coordinate, units);
    let what = composition.coordinate_name(lack.coordinate);
    let divided = "divided among all that wait for the block";
    let remedy = match lack.unlocks {
        Unlocks::Arrivals(1) => {
            format!("the next claim that arrives for the block unlocks that, to be {divided}")
        }
        Unlocks::Arrivals(arrivals) => {
            format!("{arrivals} more claims that arrive for the block unlock that, to be {divided}")
        }
        Unlocks::At(time) => format!("that is unlocked by {}, to be {divided}", clock::display(time)),
        Unlocks::OnlyReturned => {
            "which is more than is left to be divided: only budget that other claims release can fill that"
                .to_owned()
        }
    };
    format!(
        "it has gathered {} of the {} {what} that it asks of block {}: {} is missing, {remedy}",
        amount(lack.available),
        amount(i128::from(lack.asked)),
        lack.block,
        amount(lack.missing),
    )
}

/// Why a claim was denied.
pub(super) fn denied(denial: &Denial, composition: &Composition) -> Why {
    match denial {
        Denial::TooLarge {
            block,
            coordinate,
            asked,
            left,
        } => {
            let coordinate = usize::try_from(*coordinate).unwrap_or(usize::MAX);
            let amount = |units: i64| composition.display_units(coordinate, i128::from(units));
            Why {
                reason: "TooLarge",
                message: format!(
                    "block {block} can never give the {} {} asked: {} is all that is not spent",
                    amount(*asked),
                    composition.coordinate_name(coordinate),
                    amount((*left).max(0)),
                ),
            }
        }
        Denial::BlockRetired { block } => Why {
            reason: "BlockGone",
            message: format!("block {block} was deleted"),
        },
        Denial::DoesNotFit {
            block,
            coordinate,
            asked,
            unlocked,
        } => {
            let coordinate = usize::try_from(*coordinate).unwrap_or(usize::MAX);
            let amount = |units: i64| composition.display_units(coordinate, i128::from(units));
            Why {
                reason: "DoesNotFit",
                message: format!(
                    "block {block} had {} of the {} {} asked, and under the dataset's policy (FCFS, refusing) nothing \
                     waits: ask again when more is available",
                    amount((*unlocked).max(0)),
                    amount(*asked),
                    composition.coordinate_name(coordinate),
                ),
            }
        }
        Denial::DividedUp { block } => Why {
            reason: "DividedUp",
            message: format!(
                "block {block} is unlocked and divided completely among the claims that asked for it (policy \
                 RoundRobin): nothing is left to make up what this one lacks there"
            ),
        },
    }
}

/// Why a claim expired.
pub(super) fn expired(timeout: Option<Span>, at: Time) -> Why {
    let timeout = timeout
        .map(|timeout| format!(" of {timeout}"))
        .unwrap_or_default();
    Why {
        reason: "TimedOut",
        message: format!(
            "it was not granted within its timeout{timeout}, which was over at {}",
            clock::display(at)
        ),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_policy::{BlockId, Unlocking};

    use super::*;

    const UNIT: i64 = 1_000_000_000_000;

    fn rules(policy: Policy) -> DatasetRules {
        DatasetRules {
            policy,
            unlocking: Unlocking::Arrivals(4),
            composition: Composition::Basic,
        }
    }

    /// Of 1.5 epsilon, 1 is there.
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
            let why = waits(&next, None, &rules(policy));
            assert_eq!(why.reason, "TooLittleUnlocked");
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
            waits(&unmatched, None, &rules(Policy::Dpf)).reason,
            "TooFewBlocks"
        );
    }

    #[test]
    fn a_waiting_claim_says_how_many_go_before_it() {
        let said = |ahead| {
            let why = waits(
                &explanation(Unlocks::OnlyReturned),
                Some(ahead),
                &rules(Policy::Dpack { recompute_after: 1 }),
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
            let why = waits(&explanation(unlocks), None, &rules(Policy::RoundRobin));
            assert_eq!(why.reason, "Gathering");
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
            said(Unlocks::At(Time::from_micros(0))),
            "that is unlocked by 1970-01-01T00:00:00.000000Z, to be divided among all that wait for the block"
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
                "TooLarge",
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
                "DoesNotFit",
                "block b1 had 4 of the 5 epsilon asked, and under the dataset's policy (FCFS, refusing) nothing waits: \
                 ask again when more is available"
                    .to_owned()
            )
        );
        assert_eq!(
            said(Denial::DividedUp { block: block() }),
            (
                "DividedUp",
                "block b1 is unlocked and divided completely among the claims that asked for it (policy RoundRobin): \
                 nothing is left to make up what this one lacks there"
                    .to_owned()
            )
        );
    }
}
