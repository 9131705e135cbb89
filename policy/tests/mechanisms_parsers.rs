//! The properties of the parsers that the fuzz targets test, in an ordinary test on the seeds and on random
//! texts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*};

fn seeds(target: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files = fs::read_dir(folder).unwrap();
    let seeds: Vec<String> = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(seeds.len() > 10);
    seeds
}

/// Pieces of mechanisms in any order: few of the texts are mechanisms.
fn pieces() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "gaussian(",
        "laplace(",
        "dp-sgd(",
        "subsampled-laplace(",
        "tree-aggregation(",
        "randomized-response(",
        "exponential(",
        "pure(",
        "zcdp(",
        "guarantee(",
    ]);
    let parameters = prop::sample::select(vec![
        "sigma=",
        "scale=",
        "noise-multiplier=",
        "sample-rate=",
        "steps=",
        "noise-probability=",
        "categories=",
        "neighbours=replace-special",
        "epsilon=",
        "delta=",
        "rho=",
        "xi=",
    ]);
    let signs = prop::sample::select(vec!["(", ")", ",", "+", "*", " ", "=", "-", "e", "."]);
    let piece = prop_oneof![
        names.prop_map(str::to_owned),
        parameters.prop_map(str::to_owned),
        signs.prop_map(str::to_owned),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        (0.0_f64..=1.0).prop_map(|number| number.to_string()),
        Just(")".to_owned()),
        Just("1".to_owned()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A text with a few characters changed.
fn near(target: &str) -> impl Strategy<Value = String> + use<> {
    let changes = vec((any::<prop::sample::Index>(), ".?"), 0..3);
    (prop::sample::select(seeds(target)), changes).prop_map(|(seed, changes)| {
        let mut characters: Vec<String> = seed.chars().map(String::from).collect();
        for (at, new) in changes {
            let at = at.index(characters.len());
            characters[at] = new;
        }
        characters.concat()
    })
}

#[test]
fn the_seeds_keep_the_properties() {
    for seed in seeds("mechanism") {
        properties::mechanism(&seed);
    }
    for seed in seeds("decimal") {
        properties::decimal(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_mechanisms(text in prop_oneof![".{0,60}", pieces(), near("mechanism")]) {
        properties::mechanism(&text);
    }

    #[test]
    fn no_text_breaks_the_decimals(
        text in prop_oneof![".{0,20}", "[ +-]?[0-9]{0,25}\\.?[0-9]{0,25}([eE][+-]?[0-9]{0,3})?", near("decimal")]
    ) {
        properties::decimal(&text);
    }
}
