//! Who asked for a claim, as an entry keeps it.

use std::fmt::Write as _;

use privatekube_policy::{ClaimId, Event};
use serde::{Deserialize, Serialize};

/// The most bytes of a [`Requester`]'s user, service account and owner, and of each of its images.
pub const MOST_NAME_BYTES: usize = 256;
/// The most bytes of its mechanism, and of its purpose.
pub const MOST_TEXT_BYTES: usize = 1024;
/// The most images that it names.
pub const MOST_IMAGES: usize = 8;
/// What stands for the end of a text that is cut.
const ELLIPSIS: &str = "...";

/// Who asked for a claim that arrives in an entry, and what for. It is kept for people and for auditors: nothing is decided by
/// it, so it is no part of an event, and neither the engine nor a checkpoint has it. The entry's hash covers it.
///
/// What is unknown is left out. The pod of a claim is in the claim's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requester {
    /// The claim.
    pub claim: ClaimId,
    /// The user who made the claim's object or pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The service account that the pod runs as, in the pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// What controls the pod, as kind/name: a user who isn't a person may have made the pod for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The images of the pod's containers, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// What was asked for on each block, as a mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// What the budget is for, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

impl Requester {
    /// A requester of which nothing is known.
    #[must_use]
    pub const fn unknown(claim: ClaimId) -> Self {
        Self {
            claim,
            user: None,
            service_account: None,
            owner: None,
            images: Vec::new(),
            mechanism: None,
            purpose: None,
        }
    }

    /// Whether nothing is known: an entry doesn't keep it then.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::unknown(self.claim.clone())
    }

    /// The same with each text cut to its most bytes. An image that was cut, or stands for further ones, ends in an ellipsis or
    /// says how many there are.
    #[must_use]
    pub fn cut(mut self) -> Self {
        for name in [&mut self.user, &mut self.service_account, &mut self.owner] {
            cut_option(name, MOST_NAME_BYTES);
        }
        for text in [&mut self.mechanism, &mut self.purpose] {
            cut_option(text, MOST_TEXT_BYTES);
        }
        let more = self.images.len().saturating_sub(MOST_IMAGES);
        if more > 0 {
            // The last one that is kept says how many aren't.
            self.images.truncate(MOST_IMAGES - 1);
            let mut rest = String::new();
            let _ = write!(rest, "{ELLIPSIS} and {} more", more + 1);
            self.images.push(rest);
        }
        for image in &mut self.images {
            cut(image, MOST_NAME_BYTES);
        }
        self
    }
}

fn cut_option(text: &mut Option<String>, most: usize) {
    if let Some(text) = text {
        cut(text, most);
    }
}

/// Cuts a text of more than `most` bytes between two characters, such that with an ellipsis it has at most `most`.
fn cut(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let room = most.saturating_sub(ELLIPSIS.len());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.push_str(ELLIPSIS);
}

/// The first of `requesters` whose claim doesn't arrive among `events`, or not in their order.
pub(crate) fn misplaced<'a>(events: &[Event], requesters: &'a [Requester]) -> Option<&'a ClaimId> {
    let mut arrivals = events.iter().filter_map(|event| match event {
        Event::Arrive(arrival) => Some(&arrival.claim),
        _ => None,
    });
    let misplaced = requesters
        .iter()
        .find(|requester| !arrivals.any(|claim| *claim == requester.claim));
    misplaced.map(|requester| &requester.claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_cut_to_its_bytes_between_two_characters() {
        let long = || Some("\u{1f600}".repeat(1000));
        let requester = Requester {
            claim: "c".into(),
            user: long(),
            service_account: long(),
            owner: long(),
            images: (0..20).map(|at| format!("{at}{}", "x".repeat(1000))).collect(),
            mechanism: long(),
            purpose: long(),
        }
        .cut();
        for name in [&requester.user, &requester.service_account, &requester.owner] {
            let name = name.as_deref().unwrap();
            assert!(
                name.len() <= MOST_NAME_BYTES && name.ends_with("\u{1f600}..."),
                "{name}"
            );
        }
        for text in [&requester.mechanism, &requester.purpose] {
            let text = text.as_deref().unwrap();
            assert!(
                (MOST_TEXT_BYTES - 3..=MOST_TEXT_BYTES).contains(&text.len()),
                "{text}"
            );
        }
        assert_eq!(requester.images.len(), MOST_IMAGES);
        assert_eq!(requester.images[6].len(), MOST_NAME_BYTES);
        assert_eq!(requester.images[7], "... and 13 more");
        assert_eq!(requester.clone().cut(), requester);
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let requester = Requester {
            user: Some("alice".to_owned()),
            images: vec!["train:1".to_owned(); MOST_IMAGES],
            ..Requester::unknown("c".into())
        };
        assert_eq!(requester.clone().cut(), requester);
        assert!(!requester.is_unknown() && Requester::unknown("c".into()).is_unknown());
    }
}
