//! A claim's history in words: what an entry's events and records say of it.

use privatekube_api::{block_count, counted};
use privatekube_policy::{Amount, ClaimId, Demand, Event, Record};

/// What an event does to a claim, in words; `None` if it is about others.
#[must_use]
pub fn event_of_claim(event: &Event, id: &ClaimId) -> Option<String> {
    let used = |what: &str, amount: &Amount| match amount {
        Amount::All => format!("all that is allocated is to be {what}"),
        Amount::InAll(demands) => format!("amounts on {} are to be {what}", count(demands)),
    };
    match event {
        Event::Arrive(arrival) if arrival.claim == *id => {
            Some(format!("it arrived, with {}", count(&arrival.demands)))
        }
        Event::Match { claim, demands } if claim == id => {
            Some(format!("it was matched with {}", count(demands)))
        }
        Event::Consume { claim, amount } if claim == id => Some(used("consumed", amount)),
        Event::Release { claim, amount } if claim == id => Some(used("released", amount)),
        Event::Withdraw { claim } if claim == id => Some("its object was deleted".to_owned()),
        Event::NeverRan { claim } if claim == id => Some("its pod provably never ran".to_owned()),
        Event::Forget { claims, .. } if claims.contains(id) => {
            Some("it had ended, and was forgotten".to_owned())
        }
        _ => None,
    }
}

/// What a record decides about a claim, in words; `None` if it is about others.
#[must_use]
pub fn record_of_claim(record: &Record, id: &ClaimId) -> Option<String> {
    let partly = |what: &str, entirely: bool| {
        if entirely {
            format!("{what}; nothing of it is left allocated")
        } else {
            format!("{what} in part")
        }
    };
    match record {
        Record::Waits { claim } if claim == id => Some("it waits".to_owned()),
        Record::Granted { claim, .. } if claim == id => Some("granted on all its blocks".to_owned()),
        Record::Denied { claim, .. } if claim == id => Some("denied".to_owned()),
        Record::Expired { claim, .. } if claim == id => Some("expired: its timeout was over".to_owned()),
        Record::Withdrawn { claim } if claim == id => Some("withdrawn while it waited".to_owned()),
        Record::Consumed { claim, entirely } if claim == id => Some(partly("consumed", *entirely)),
        Record::Released { claim, entirely } if claim == id => Some(partly("released", *entirely)),
        _ => None,
    }
}

fn count(demands: &[Demand]) -> String {
    counted(block_count(demands), "block", "blocks")
}
