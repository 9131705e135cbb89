//! A scenario shows every way in which a claim can end under every policy, and the index of
//! `scenarios/README.md` says which.
//!
//! What a scenario shows is taken from the decisions of its engine, not from its name or its comments. After
//! a change of scenarios, `UPDATE_SCENARIOS=1` writes the index again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use super::{Happened, Story, all, folder, replay, updating};
use privatekube_policy::{Composition, Denial, Policy, Record, Unlocking};

/// How a claim can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Consumed,
    Released,
    ConsumedInPart,
    WithdrawnAfterGrant,
    NeverRan,
    TooLarge,
    NothingLeft,
    BlockRetired,
    DoesNotFit,
    DividedUp,
    Expired,
    WithdrawnWaiting,
}

/// The policy under which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Under {
    Dpf,
    DpfWeights,
    Dpack,
    Blend,
    FcfsWaiting,
    FcfsRefusing,
    RoundRobin,
}

/// The rules of a scenario besides its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum With {
    Arrivals,
    Lifetime,
    AtOnce,
    Basic,
    Renyi,
}

const ENDS: [(End, &str); 12] = [
    (End::Consumed, "granted, and consumed"),
    (End::Released, "granted, and released"),
    (
        End::ConsumedInPart,
        "granted, consumed in part, and the rest released",
    ),
    (End::WithdrawnAfterGrant, "withdrawn after its grant"),
    (End::NeverRan, "consumed, but its computation never ran"),
    (
        End::TooLarge,
        "denied when it arrives: it demands more than is left",
    ),
    (
        End::NothingLeft,
        "denied while it waits: what is left became too little",
    ),
    (End::BlockRetired, "denied: its block was retired"),
    (End::DoesNotFit, "denied when it arrives: it does not fit now"),
    (End::DividedUp, "denied: its block is divided up"),
    (End::Expired, "expired"),
    (End::WithdrawnWaiting, "withdrawn while it waits"),
];

const UNDER: [(Under, &str); 7] = [
    (Under::Dpf, "DPF"),
    (Under::DpfWeights, "DPF with weights"),
    (Under::Dpack, "DPack"),
    (Under::Blend, "Blend"),
    (Under::FcfsWaiting, "FCFS"),
    (Under::FcfsRefusing, "FCFS refusing"),
    (Under::RoundRobin, "Round robin"),
];

/// The rules with which every end of every policy is shown. (With everything unlocked at once, ends are as
/// after the last step.)
const WITH: [With; 4] = [With::Arrivals, With::Lifetime, With::Basic, With::Renyi];

/// Why there can be no scenario; none if there can be one.
fn impossible(under: Under, end: End) -> Option<&'static str> {
    match (under, end) {
        (Under::FcfsRefusing, End::DoesNotFit) | (Under::RoundRobin, End::DividedUp) => None,
        (_, End::DoesNotFit) => {
            Some("Only FCFS refusing denies a claim that does not fit: under every other policy it waits.")
        }
        (_, End::DividedUp) => Some(
            "Only round robin divides blocks up: under every other policy a claim gets all its demands or nothing.",
        ),
        (Under::FcfsRefusing, End::NothingLeft) => Some(
            "Under FCFS refusing a claim waits only until it has enough blocks, and is compared with none of them before that.",
        ),
        _ => None,
    }
}

/// Whether `under` can be used with `with`.
fn is_usable(under: Under, with: With) -> bool {
    (under, with) != (Under::RoundRobin, With::Renyi)
}

fn under(story: &Story, text: &str) -> Under {
    match story.engine().rules().policy {
        Policy::Dpf if text.contains(" weight=") => Under::DpfWeights,
        Policy::Dpf => Under::Dpf,
        Policy::Fcfs { refusing: false } => Under::FcfsWaiting,
        Policy::Fcfs { refusing: true } => Under::FcfsRefusing,
        Policy::RoundRobin => Under::RoundRobin,
        Policy::Dpack { .. } => Under::Dpack,
        Policy::Blend { .. } => Under::Blend,
    }
}

fn with(story: &Story) -> [With; 2] {
    let rules = story.engine().rules();
    let unlocking = match rules.unlocking {
        Unlocking::Arrivals(_) => With::Arrivals,
        Unlocking::Lifetime { .. } => With::Lifetime,
        Unlocking::Immediate => With::AtOnce,
    };
    let composition = match rules.composition {
        Composition::Basic => With::Basic,
        Composition::Renyi(_) => With::Renyi,
    };
    [unlocking, composition]
}

/// How the claims of the scenario ended.
fn ends(happened: &[Happened]) -> BTreeSet<End> {
    let mut ends: BTreeMap<&str, End> = BTreeMap::new();
    let (mut consumed, mut released) = (BTreeSet::new(), BTreeSet::new());
    for Happened { verb, name, records } in happened {
        let arrives = |claim: &str| claim == name && (verb == "claim" || verb == "match");
        for record in records {
            let (claim, end) = match record {
                Record::Denied { claim, reason, .. } => {
                    let end = match reason {
                        Denial::TooLarge { .. } if arrives(claim.as_str()) => End::TooLarge,
                        Denial::TooLarge { .. } => End::NothingLeft,
                        Denial::BlockRetired { .. } => End::BlockRetired,
                        Denial::DoesNotFit { .. } => End::DoesNotFit,
                        Denial::DividedUp { .. } => End::DividedUp,
                    };
                    (claim, end)
                }
                Record::Expired { claim, .. } => (claim, End::Expired),
                Record::Withdrawn { claim } => (claim, End::WithdrawnWaiting),
                Record::Consumed { claim, entirely } => {
                    consumed.insert(claim.as_str());
                    match (entirely, released.contains(claim.as_str())) {
                        (true, false) => (claim, End::Consumed),
                        (true, true) => (claim, End::ConsumedInPart),
                        (false, _) => continue,
                    }
                }
                Record::Released { claim, entirely } => {
                    released.insert(claim.as_str());
                    let in_part = consumed.contains(claim.as_str());
                    match (verb.as_str(), entirely) {
                        ("never-ran", _) => (claim, End::NeverRan),
                        ("withdraw", _) => (claim, End::WithdrawnAfterGrant),
                        (_, true) if in_part => (claim, End::ConsumedInPart),
                        (_, true) => (claim, End::Released),
                        (_, false) => continue,
                    }
                }
                _ => continue,
            };
            ends.insert(claim.as_str(), end);
        }
    }
    ends.into_values().collect()
}

/// A scenario, and what it shows.
struct Shown {
    file: String,
    title: String,
    under: Under,
    with: [With; 2],
    ends: BTreeSet<End>,
}

fn shown() -> Vec<Shown> {
    let shown = all().iter().map(|(path, text)| {
        let (_, story) = replay(text);
        Shown {
            file: path.file_name().unwrap().to_str().unwrap().to_owned(),
            title: title(text),
            under: under(&story, text),
            with: with(&story),
            ends: ends(story.happened()),
        }
    });
    shown.collect()
}

/// The first sentence of the first comment of a scenario.
fn title(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix("# "));
    let comment = comment.collect::<Vec<_>>().join(" ");
    let sentence = comment.find(". ").map_or(comment.as_str(), |end| &comment[..end]);
    sentence.trim_end_matches(['.', ':']).to_owned()
}

#[test]
fn every_end_is_shown_under_every_policy() {
    let shown = shown();
    let scenario_of = |under, end, with| {
        let found =
            |story: &&Shown| story.under == under && story.ends.contains(&end) && story.with.contains(&with);
        shown.iter().find(found).map(|story| &story.file)
    };
    let mut missing = String::new();
    for (under, policy) in UNDER {
        for (end, name) in ENDS {
            for with in WITH.into_iter().filter(|with| is_usable(under, *with)) {
                match (scenario_of(under, end, with), impossible(under, end)) {
                    (None, None) => writeln!(missing, "{policy}, {with:?}: no claim is {name}").unwrap(),
                    (Some(file), Some(reason)) => panic!("{file} shows what can't be: {reason}"),
                    _ => {}
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing}");
}

const BEGIN: &str = "<!-- index: begin -->\n";
const FINISH: &str = "<!-- index: end -->\n";

/// The table of the scenarios, by number, that show each end under each policy, the reasons where there is
/// none, and the list of scenarios.
fn index(shown: &[Shown]) -> String {
    let mut index = "| a claim is |".to_owned();
    for (_, policy) in UNDER {
        write!(index, " {policy} |").unwrap();
    }
    writeln!(index, "\n|---{}|", "|---".repeat(UNDER.len())).unwrap();
    let mut reasons = BTreeSet::new();
    for (end, name) in ENDS {
        write!(index, "| {name} |").unwrap();
        for (under, _) in UNDER {
            reasons.extend(impossible(under, end));
            let cell = if impossible(under, end).is_some() {
                "-".to_owned()
            } else {
                let numbered = (1..).zip(shown);
                let found = numbered.filter(|(_, story)| story.under == under && story.ends.contains(&end));
                let links = found.map(|(number, story)| format!("[{number}]({})", story.file));
                links.collect::<Vec<_>>().join(" ")
            };
            write!(index, " {cell} |").unwrap();
        }
        index.push('\n');
    }
    writeln!(index, "\n\\-: impossible.").unwrap();
    for reason in reasons {
        writeln!(index, "- {reason}").unwrap();
    }
    writeln!(index, "\nThe scenarios:").unwrap();
    for (number, story) in (1..).zip(shown) {
        let shown_with = story.with.map(|with| match with {
            With::Arrivals => "by arrivals",
            With::Lifetime => "over a lifetime",
            With::AtOnce => "at once",
            With::Basic => "basic",
            With::Renyi => "Renyi",
        });
        let (_, policy) = UNDER.iter().find(|(under, _)| *under == story.under).unwrap();
        let (file, title) = (&story.file, &story.title);
        let line = format!(
            "{number}. [{file}]({file}):\n   {policy}, {}. {title}",
            shown_with.join(", ")
        );
        writeln!(index, "{}.", line.trim_end_matches([' ', '.'])).unwrap();
    }
    index
}

#[test]
fn the_index_says_where_each_end_is_shown() {
    let path = folder().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(FINISH).unwrap();
    let right = format!("{before}{BEGIN}{}{FINISH}{after}", index(&shown()));
    if updating() {
        fs::write(&path, right).unwrap();
    } else {
        assert_eq!(text, right, "UPDATE_SCENARIOS=1 writes the index anew");
    }
}

#[test]
fn every_scenario_begins_with_what_it_shows() {
    let untitled = shown().into_iter().filter(|story| story.title.is_empty());
    let files: Vec<String> = untitled.map(|story| story.file).collect();
    assert!(
        files.is_empty(),
        "the first line of these is no comment: {files:?}"
    );
}

#[test]
fn an_end_is_known_by_what_was_decided() {
    let text = "\
setting policy=fcfs immediate
block b epsilon=4
claim partly epsilon=1 blocks=b
consume partly epsilon=0.5 blocks=b
release partly
claim rerun epsilon=1 blocks=b
consume rerun
never-ran rerun
claim gone epsilon=1 blocks=b
withdraw gone
claim large epsilon=9 blocks=b
claim holds epsilon=3.5 blocks=b
claim waits epsilon=3 blocks=b
consume holds
";
    let (_, story) = replay(text);
    let expected = [
        End::Consumed,
        End::ConsumedInPart,
        End::WithdrawnAfterGrant,
        End::NeverRan,
        End::TooLarge,
        End::NothingLeft,
    ];
    assert_eq!(ends(story.happened()), BTreeSet::from(expected));
    assert_eq!(under(&story, text), Under::FcfsWaiting);
}
