//! CONTRIBUTING's "How to add a policy", checked against the policies that exist: each one's name occurs in
//! every file that the steps list, and in no other file of `policy/src`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The file of a policy as the steps write it.
const NAME: &str = "NAME";
const POLICIES: &str = "policy/src/engine/policies/";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The source without its comments.
fn code(path: &str) -> String {
    let source = read(path);
    let lines = source.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The identifiers in a text.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_')
        .collect()
}

/// What stands in backticks in the section "How to add a policy".
fn named() -> Vec<String> {
    let page = read("CONTRIBUTING.md");
    let (_, section) = page.split_once("## How to add a policy\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The files among these.
fn listed() -> Vec<String> {
    let is_file = |name: &String| name.contains('/') && !name.ends_with('/') && name.contains('.');
    named().into_iter().filter(is_file).collect()
}

/// Each variant of `Policy`, and its module.
fn policies() -> Vec<(String, String)> {
    let rules = code("policy/src/rules.rs");
    let (_, list) = rules.split_once("pub enum Policy {\n").unwrap();
    let (list, _) = list.split_once("\n}").unwrap();
    let variants = list.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(char::is_uppercase));
    let policies = variants.map(|line| {
        let variant: String = line.chars().take_while(|char| char.is_alphanumeric()).collect();
        let mut module = String::new();
        for char in variant.chars() {
            if char.is_uppercase() && !module.is_empty() {
                module.push('_');
            }
            module.extend(char.to_lowercase());
        }
        (variant, module)
    });
    policies.collect()
}

/// Every Rust file below a folder, from the root of the repository.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(sources(&path));
        } else if Path::new(&path).extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_policy_is_named_in_every_file_that_the_steps_list() {
    assert!(policies().len() >= 5);
    let listed = listed();
    let own = format!("{POLICIES}{NAME}.rs");
    for needed in [
        own.as_str(),
        "policy/src/engine/policies/mod.rs",
        "policy/src/rules.rs",
    ] {
        assert!(listed.iter().any(|path| path == needed), "{needed} is not listed");
    }
    for path in &listed {
        for (variant, module) in policies() {
            let path = path.replace(NAME, &module);
            let text = read(&path);
            assert!(
                words(&text)
                    .iter()
                    .any(|word| word.eq_ignore_ascii_case(&variant))
                    || text.to_lowercase().contains(&module.replace('_', " ")),
                "{path} says nothing of {variant}"
            );
        }
    }
}

/// A policy may use another one's file, as `Blend` does. The engine's tests run under several.
#[test]
fn no_other_file_of_the_crate_names_a_policy() {
    let listed = listed();
    for path in sources("policy/src") {
        if path.starts_with(POLICIES) || path.ends_with("tests.rs") || listed.contains(&path) {
            continue;
        }
        let code = code(&path);
        for (variant, module) in policies() {
            let named = words(&code)
                .iter()
                .any(|word| *word == variant || *word == module);
            assert!(!named, "{path} names {variant}, and the steps do not list it");
        }
    }
}

#[test]
fn a_policy_reaches_the_engine_through_its_interface_alone() {
    for path in sources("policy/src/engine/policies") {
        let code = code(&path);
        for name in ["Engine", "State"] {
            assert!(!words(&code).contains(name), "{path} uses {name}");
        }
    }
}

#[test]
fn the_steps_name_the_hooks_that_every_policy_has() {
    let policies = code("policy/src/engine/policies/mod.rs");
    let (_, hooks) = policies.split_once("trait PolicyHooks").unwrap();
    let (hooks, _) = hooks.split_once("\n}").unwrap();
    let required = hooks
        .lines()
        .filter(|line| line.starts_with("    fn ") && line.ends_with(';'))
        .map(|line| line.trim_start_matches("    fn ").split('(').next().unwrap());
    let required: Vec<&str> = required.collect();
    assert_eq!(required, ["clone_box", "decide"]);
    // Those of a policy with a state of its own.
    let with_state = hooks
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("fn "))
        .map(|line| line.split('(').next().unwrap())
        .filter(|hook| hook.starts_with("kept_") || hook.contains("restore"));
    let with_state: Vec<&str> = with_state.collect();
    assert_eq!(with_state.len(), 5);
    for hook in required.into_iter().chain(with_state) {
        assert!(named().iter().any(|name| name == hook), "{hook} is not named");
    }
}
