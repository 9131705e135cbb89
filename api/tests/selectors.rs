//! Selectors: the blocks that match, the limits, and the messages for selectors that are refused or fail.

use std::{fs, io, path::Path, thread};

use privatekube_api::{Dimension, Dimensions, Selector, check_selector};
use proptest::prelude::*;

fn block(pairs: &[(&str, &str)]) -> Dimensions {
    pairs
        .iter()
        .map(|(name, value)| {
            let value = value
                .parse()
                .map_or_else(|_| Dimension::Text((*value).to_owned()), Dimension::Number);
            ((*name).to_owned(), value)
        })
        .collect()
}

fn nyc() -> Dimensions {
    block(&[("startTime", "20778"), ("endTime", "20779"), ("city", "nyc")])
}

#[test]
fn blocks_are_selected_by_their_dimensions() {
    for (text, wanted) in [
        ("true", true),
        ("block.city == 'nyc'", true),
        ("block.startTime >= 20770 && block.city == \"nyc\"", true),
        ("block.startTime >= 20770 && block.city == \"sf\"", false),
        ("block.city in ['sf', 'nyc']", true),
        ("block.city.startsWith('n') && !block.city.contains('x')", true),
        ("block.endTime - block.startTime == 1", true),
        ("size(block.city) == 3", true),
        ("block.startTime in [20777, 20778] && !(block.city in [])", true),
        ("has(block.city)", true),
        ("has(block.country)", false),
        ("!has(block.country) || block.country == 'us'", true),
        ("block.startTime > 20000 ? block.city == 'nyc' : false", true),
        ("block.city == 3", false),
        // A block that lacks a dimension that is read does not match, whatever the condition.
        ("block.country == 'us'", false),
        ("block.country != 'us'", false),
        ("!(block.country == 'us')", false),
        ("block.country == 'us' || block.city == 'nyc'", true),
    ] {
        assert_eq!(
            Selector::parse(text).unwrap().matches(&nyc()),
            Ok(wanted),
            "{text}"
        );
    }
}

/// Users copy what the page shows: it must work.
#[test]
fn the_selectors_of_the_documentation_are_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/annotations.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("## On which blocks").nth(1).unwrap();
    let examples = section.split("```").nth(1).unwrap();
    assert!(examples.trim().lines().count() > 1);
    for example in examples.trim().lines() {
        Selector::parse(example).unwrap().matches(&nyc()).unwrap();
    }
}

#[test]
fn the_dimensions_that_a_selector_reads_are_known() {
    for (text, attributes) in [
        ("true", &[][..]),
        ("block.a == 1 && (block.b == 2 || has(block.c))", &["a", "b"]),
        ("block.a in [block.b, 2]", &["a", "b"]),
    ] {
        let selector = Selector::parse(text).unwrap();
        assert!(
            selector.attributes().iter().eq(attributes),
            "{text}: {:?}",
            selector.attributes()
        );
    }
}

#[test]
fn wrong_selectors_are_refused_with_what_is_accepted() {
    const KNOWN: &str = "known are contains, endsWith, startsWith, size, int, string, double";
    let function = |name: &str| format!("{name} is not a function: {KNOWN}");
    let condition = |text: &str, kind: &str| {
        format!("{text:?} is {kind}, not true or false: write a condition like block.city == \"nyc\"")
    };
    let variable = |name: &str| {
        format!("{name} is not known: only block is, whose fields are a block's dimensions, like block.city")
    };
    let empty =
        "is empty: write a CEL expression like block.city == \"nyc\", or leave it out for every block";
    let whole = "block can only be read field by field, like block.city";
    for (text, message) in [
        ("", empty.to_owned()),
        (" \n", empty.to_owned()),
        ("block", whole.to_owned()),
        ("block['city'] == 'nyc'", whole.to_owned()),
        ("blok.city == 'nyc'", variable("blok")),
        ("Foo{a: 1} == 1", variable("Foo")),
        ("block.city", condition("block.city", "a dimension")),
        ("'nyc'", condition("'nyc'", "a constant")),
        ("block.a + 1", condition("block.a + 1", "a number or a string")),
        ("[block.a]", condition("[block.a]", "a list")),
        ("true ? 1 : 2", condition("true ? 1 : 2", "a constant")),
        ("block.city.matches('n.*')", function("matches")),
        ("timestamp('x') == timestamp('y')", function("timestamp")),
        (
            "block.city == 'nyc' &&\n  block.a = 1",
            "\"block.city == 'nyc' &&\\n  block.a = 1\" is not a CEL expression: at line 2, column 11: = is no \
             operator: write == to compare"
                .to_owned(),
        ),
        (
            "block.city == 'nyc",
            "\"block.city == 'nyc\" is not a CEL expression: at column 15: a string begins that isn't closed".to_owned(),
        ),
        ("(true", "\"(true\" is not a CEL expression: at column 1: ( isn't closed".to_owned()),
        ("1e400 == 1.0", "\"1e400 == 1.0\" is not a CEL expression: at column 1: invalid double literal".to_owned()),
    ] {
        assert_eq!(Selector::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    assert_eq!(
        Selector::parse(&format!("block.city == '{}'", "x".repeat(2000)))
            .unwrap_err()
            .to_string(),
        "has 2016 characters: at most 2000 are accepted"
    );
}

#[test]
fn macros_are_refused_since_their_cost_multiplies() {
    let zeros = "0,".repeat(430);
    let doubled = format!("[1,1]{} == []", ".map(x, x + x)".repeat(22));
    let squared = format!("[{zeros}0].all(x, !(1 in [{zeros}0]))");
    for text in [
        "['sf', 'nyc'].exists(city, city == block.city)",
        "[1].exists_one(x, x == 1)",
        "[1].filter(x, true) == []",
        "block.all(name, true)",
        &doubled,
        &squared,
    ] {
        assert_eq!(
            Selector::parse(text).unwrap_err().to_string(),
            "all, exists, exists_one, filter and map are not accepted: compare dimensions with constants, like \
             block.city in [\"nyc\", \"sf\"]",
            "{text}"
        );
    }
}

/// Each way to nest in CEL, so many levels deep.
fn nested(levels: usize) -> Vec<String> {
    let around = |open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    vec![
        around("(", ")"),
        around("!(", ")"),
        around("(true || true && 1 == 1 + 1 * -", ")"),
        around("[", "]"),
        around("{1:", "}"),
        around("int(", ")"),
        around("true ? (", ") : true"),
        around("block.city[", "]"),
        around("block.city.contains(", ")"),
        around("", "[0]"),
        around("", ".a"),
        around("", ".size()"),
        around("", " + 1"),
        around("", " < 1"),
        around("", " in []"),
        around("(true && ", ")"),
        around("(1 + ", ")"),
        format!("{}true", "true ? true : ".repeat(levels)),
        // Not CEL, but the parser nests as deeply before it finds that out.
        around("(1 + + ", ")"),
        around("(1 ? ", ")"),
        around("[1 1, ", "]"),
    ]
}

#[test]
fn deep_nesting_is_refused_with_the_limit() {
    for text in nested(65).into_iter().chain(nested(1000)) {
        let error = Selector::parse(&text).unwrap_err().to_string();
        let known = error == "is nested too deeply: at most 64 levels of brackets and operators are accepted"
            || error.contains("characters: at most 2000 are accepted");
        assert!(known, "{error}");
    }
}

#[test]
fn long_conditions_are_not_deep() {
    for text in [
        format!("true{}", " && true".repeat(240)),
        format!("false{}", " || block.city == 'nyc'".repeat(85)),
        format!("block.startTime in [{}20778]", "1, ".repeat(650)),
        format!("{}true", "!".repeat(1000)),
        format!("{}true{}", "(".repeat(64), ")".repeat(64)),
        format!("size(block.city) == 3{}", " + 0".repeat(60)),
    ] {
        assert_eq!(
            Selector::parse(&text).unwrap().matches(&nyc()),
            Ok(true),
            "{text}"
        );
    }
}

/// Parses, evaluates and drops selectors with half the stack that a thread of the extender has: each text, and a
/// condition with all of it, since most texts are none. Returns how many were evaluated.
fn on_a_small_stack(texts: Vec<String>) -> io::Result<thread::JoinHandle<usize>> {
    thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let conditions = texts.iter().map(|text| format!("[{text}] == []"));
        let all = conditions.chain(texts.iter().cloned());
        all.filter_map(|text| Selector::parse(&text).ok())
            .map(|selector| _ = selector.matches(&nyc()))
            .count()
    })
}

#[test]
fn what_is_accepted_fits_a_small_stack() {
    let thread = on_a_small_stack((1..=64).rev().flat_map(nested).collect()).unwrap();
    let evaluated = thread.join().unwrap();
    assert!(evaluated > 500, "{evaluated}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_nesting_fits_a_small_stack(shapes in prop::collection::vec((0..21_usize, 1..8_usize), 1..16)) {
        let inserted = |text: &str, inner: &str| text.replacen('1', inner, 1);
        let text = shapes
            .into_iter()
            .fold("1".to_owned(), |inner, (shape, levels)| inserted(&nested(levels)[shape], &format!("({inner})")));
        on_a_small_stack(vec![text]).unwrap().join().unwrap();
    }
}

#[test]
fn an_error_says_what_does_not_go_together() {
    for (text, message) in [
        (
            "block.startTime < 'x'",
            "\"block.startTime < 'x'\" has no answer: < doesn't go with int and string",
        ),
        (
            "block.city + 1 == 2",
            "\"block.city + 1 == 2\" has no answer: add doesn't go with string and int",
        ),
        (
            "1 / (block.endTime - 20779) == 1",
            "\"1 / (block.endTime - 20779) == 1\" has no answer: division by zero of Int(1)",
        ),
        (
            "block.city.size",
            "\"block.city.size\" has no answer: . doesn't go with string and string",
        ),
        (
            "[1, 2][block.startTime]",
            "\"[1, 2][block.startTime]\" has no answer: index out of bounds: Int(20778)",
        ),
        (
            "[1, 2][0]",
            "\"[1, 2][0]\" is of type int, not true or false: write a condition like block.city == \"nyc\"",
        ),
    ] {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(
            selector.matches(&nyc()).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}

#[test]
fn a_selector_that_no_block_can_match_by_mistake_is_refused() {
    let blocks = [nyc(), block(&[("startTime", "20779"), ("day", "friday")])];
    let check = |text: &str, blocks: &[Dimensions]| {
        check_selector(&Selector::parse(text).unwrap(), blocks.iter()).map_err(|error| error.to_string())
    };
    assert_eq!(check("block.city == 'sf'", &blocks), Ok(()));
    assert_eq!(
        check("block.day == 'friday' && block.city == 'nyc'", &blocks),
        Ok(())
    );
    assert_eq!(check("has(block.country)", &blocks), Ok(()));
    assert_eq!(
        check("block.country == 'us'", &blocks),
        Err(
            "selector: no block has the dimension country: there are city, day, endTime, startTime"
                .to_owned()
        )
    );
    let all: Vec<String> = (0..10).map(|at| format!("block.x{at} == 1")).collect();
    assert_eq!(
        check(&all.join(" && "), &blocks),
        Err(
            "selector: no block has the dimensions x0, x1, x2, x3, x4, x5, x6, x7 and 2 more: there are city, day, \
             endTime, startTime"
                .to_owned()
        )
    );
    assert_eq!(
        check("block.startTime == 1 || block.startTime < 'x'", &blocks),
        Err("selector: \"block.startTime == 1 || block.startTime < 'x'\" has no answer: < doesn't go with int and string"
            .to_owned())
    );
    // A selector that fails for some blocks only is accepted.
    assert_eq!(check("10 / (block.startTime - 20778) == 10", &blocks), Ok(()));
    // Without blocks, nothing is known to be wrong.
    assert_eq!(check("block.country == 'us'", &[]), Ok(()));
}

#[test]
fn selectors_go_from_thread_to_thread() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let selector = Selector::parse("block.city == 'nyc'").unwrap();
    shared(&selector);
    assert_eq!(selector, selector.clone());
    assert_eq!(
        format!("{selector} {selector:?}"),
        "block.city == 'nyc' Selector(\"block.city == 'nyc'\")"
    );
}
