//! The numbers in docs/mechanisms.md are those that the crate computes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::cast_precision_loss, reason = "four digits")]

use std::{fs, path::Path};

use privatekube_policy::{Composition, Conversion, Mechanism, Orders};

/// `mechanism | at order 2 | at order 8 | at order 64 | Basic | epsilon`
fn row(text: &str) -> String {
    let mechanism: Mechanism = text.parse().unwrap();
    assert_eq!(mechanism.to_string(), text);
    let orders = Orders::default();
    let curve = mechanism.demand(&Composition::Renyi(orders.clone())).unwrap();
    let at = |name: &str| {
        let index = orders.iter().position(|order| order.to_string() == name).unwrap();
        number(curve.units()[index] as f64 / 1e12)
    };
    let basic = match mechanism.demand(&Composition::Basic) {
        Ok(demand) if demand.units()[1] == 0 => number(demand.units()[0] as f64 / 1e12),
        Ok(_) => "as it is".to_owned(),
        Err(_) => "refused".to_owned(),
    };
    let proven = Conversion::Improved.epsilon(&orders, &curve, "1e-9".parse().unwrap());
    let proven = number(proven.unwrap().value.units() as f64 / 1e12);
    format!(
        "| `{text}` | {} | {} | {} | {basic} | {proven} |",
        at("2"),
        at("8"),
        at("64")
    )
}

fn number(value: f64) -> String {
    format!("{value:.4}")
}

#[test]
fn the_table_has_the_costs_that_are_charged() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mechanisms.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() >= 12);
    for line in rows {
        let text = line.split('`').nth(1).unwrap();
        assert_eq!(line, row(text));
    }
}
