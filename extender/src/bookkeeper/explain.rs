//! Why a claim is where it is, in sentences.

use privatekube_policy::{Composition, Denial, Explanation, Lack, Span, Time, Unlocks};

use crate::clock;

/// A word in CamelCase, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Why a claim waits.
pub(super) fn waits(explanation: &Explanation, composition: &Composition) -> Why {
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
        Why {
            reason: "TooLittleUnlocked",
            message: format!("{}{others}", lacks(lack, composition)),
        }
    } else {
        Why {
            reason: "Undecided",
            message: "it is about to be decided".to_owned(),
        }
    };
    if let Some(expires) = explanation.expires {
        why.message = format!("{}; it expires at {}", why.message, clock::display(expires));
    }
    why
}

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
        amount(lack.unlocked),
        amount(i128::from(lack.asked)),
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
                    "block {block} had {} of the {} {} asked, and nothing waits under this policy",
                    amount((*unlocked).max(0)),
                    amount(*asked),
                    composition.coordinate_name(coordinate),
                ),
            }
        }
        Denial::DividedUp { block } => Why {
            reason: "DividedUp",
            message: format!(
                "block {block} was divided among the claims that waited, and nothing is left to divide"
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
    use privatekube_policy::BlockId;

    use super::*;

    #[test]
    fn a_waiting_claim_says_which_block_lacks_how_much_and_what_would_help() {
        let explanation = Explanation {
            unmatched: None,
            lacks: vec![Lack {
                block: BlockId::from("b2"),
                coordinate: 0,
                asked: 1_500_000_000_000,
                unlocked: 1_000_000_000_000,
                missing: 500_000_000_000,
                locked: 3_000_000_000_000,
                unlocks: Unlocks::Arrivals(1),
            }],
            dominant_share: None,
            expires: None,
        };
        assert_eq!(
            waits(&explanation, &Composition::Basic).message,
            "block b2 has 1 of the 1.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
             unlocks that"
        );
        let unmatched = Explanation {
            unmatched: Some((1, 3)),
            lacks: vec![],
            ..explanation
        };
        assert_eq!(waits(&unmatched, &Composition::Basic).reason, "TooFewBlocks");
    }

    #[test]
    fn a_denied_claim_says_what_is_left() {
        let denial = Denial::TooLarge {
            block: BlockId::from("b1"),
            coordinate: 0,
            asked: 20_000_000_000_000,
            left: 10_000_000_000_000,
        };
        assert_eq!(
            denied(&denial, &Composition::Basic).message,
            "block b1 can never give the 20 epsilon asked: 10 is all that is not spent"
        );
    }
}
