//! Which blocks a selector matches, and what is said of one that can't be used.

use std::thread;

use privatekube_api::{Dimension, Dimensions, Selector, check_selector};

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
        ("['sf', 'nyc'].exists(city, city == block.city)", true),
        ("has(block.city)", true),
        ("has(block.country)", false),
        ("!has(block.country) || block.country == 'us'", true),
        ("block.startTime > 20000 ? block.city == 'nyc' : false", true),
        ("block.city == 3", false),
        // A block that lacks what is read isn't wanted, whichever way it is asked.
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

#[test]
fn what_a_selector_reads_is_known() {
    for (text, attributes) in [
        ("true", &[][..]),
        ("block.a == 1 && (block.b == 2 || has(block.c))", &["a", "b"]),
        ("[block.a].all(block, block.b == 1)", &["a"]),
        ("['x'].exists(x, x == block.city)", &["city"]),
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
fn what_is_no_selector_is_refused_with_what_is_accepted() {
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
        ("block.all(name, true)", whole.to_owned()),
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
            "[1].all(x, [2].all(y, x == y))",
            "all, exists, exists_one, filter and map can't be nested in each other".to_owned(),
        ),
        (
            "block.city == 'nyc' &&\n  block.a = 1",
            "\"block.city == 'nyc' &&\\n  block.a = 1\" is not a CEL expression: at line 2, column 11: syntax error: \
             token recognition error at: '= '"
                .to_owned(),
        ),
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

/// What runs deepest in the parser, of the most characters that it is given.
#[test]
fn deep_nesting_is_refused_and_ends_nothing() {
    let nested = |open: &str, close: &str, times: usize| {
        format!("{}1{} == 1", open.repeat(times), close.repeat(times))
    };
    for text in [
        nested("(", ")", 10_000),
        nested("(", ")", 990),
        nested("[", "]", 90),
        nested("[", "]", 990),
        nested("{1:", "}", 400),
        nested("int(", ")", 390),
        nested("", "[0]", 600),
        nested("", "+1", 900),
        nested("", ".a", 900),
        nested("true?true:", "", 190),
    ] {
        let error = Selector::parse(&text).unwrap_err().to_string();
        let known = error.contains("nested too deeply") || error.contains("characters");
        assert!(known, "{error}");
    }
}

/// A thread of the extender has 2 MiB of stack.
#[test]
fn what_is_accepted_is_evaluated_on_a_small_stack() {
    let nested = |open: &str, close: &str, times: usize| {
        format!("{}1{} == 1", open.repeat(times), close.repeat(times))
    };
    for text in [
        nested("(", ")", 90),
        nested("int(", ")", 31),
        nested("[", "]", 30),
        nested("", "+1", 31),
        format!("{}true", "!".repeat(1000)),
        format!("true{}", " && true".repeat(240)),
        format!("{}true", "true ? true : ".repeat(30)),
    ] {
        let evaluation = thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || Selector::parse(&text).unwrap().matches(&nyc()).unwrap());
        evaluation.unwrap().join().unwrap();
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
    assert_eq!(
        check("block.startTime == 1 || block.startTime < 'x'", &blocks),
        Err("selector: \"block.startTime == 1 || block.startTime < 'x'\" has no answer: < doesn't go with int and string"
            .to_owned())
    );
    // One block that has an answer is enough.
    assert_eq!(check("10 / (block.startTime - 20778) == 10", &blocks), Ok(()));
    // As long as there are no blocks, nothing is known to be wrong.
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
