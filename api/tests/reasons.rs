//! The words for phases and reasons: each once, and the reasons as docs/operations.md lists them.

use std::{collections::BTreeSet, fs, path::Path};

use privatekube_api::{ClaimPhase, ClaimReason};

#[test]
fn every_phase_and_every_reason_is_in_its_list_once_under_its_name() {
    for (at, phase) in ClaimPhase::ALL.into_iter().enumerate() {
        assert_eq!(phase as usize, at);
        assert_eq!(phase.as_str(), format!("{phase:?}"));
        assert_eq!(phase.lower_case(), phase.as_str().to_lowercase());
        assert_eq!(phase.event_reason(), format!("Budget{phase}"));
        assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
    }
    // Withdrawn and TimedOut stay the last of their enums, so that a new one can't be left out of the lists.
    assert_eq!(ClaimPhase::Withdrawn as usize + 1, ClaimPhase::ALL.len());
    for (at, reason) in ClaimReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, at);
        assert_eq!(reason.as_str(), format!("{reason:?}"));
    }
    assert_eq!(ClaimReason::TimedOut as usize + 1, ClaimReason::ALL.len());
}

#[test]
fn every_phase_has_a_reason() {
    let phases: BTreeSet<ClaimPhase> = ClaimReason::ALL.into_iter().map(ClaimReason::phase).collect();
    assert!(phases.into_iter().eq(ClaimPhase::ALL));
}

#[test]
fn the_documentation_lists_exactly_the_reasons_and_their_phases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| reason | phase | meaning |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<(String, String)> = rows
        .flat_map(|row| {
            let mut columns = row.split('|').skip(1).map(str::trim);
            let (words, phase) = (columns.next().unwrap(), columns.next().unwrap());
            words.split(", ").map(move |word| {
                let word = word.trim_matches('`');
                (
                    word.to_owned(),
                    if phase == "the same word" { word } else { phase }.to_owned(),
                )
            })
        })
        .collect();
    let reasons = ClaimReason::ALL
        .into_iter()
        .map(|reason| (reason.to_string(), reason.phase().to_string()));
    assert_eq!(documented, reasons.collect());
}
