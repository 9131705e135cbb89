//! The page of the metrics, made of their declarations.

use std::{error::Error, fmt::Write};

use super::{Declaration, Metrics};

/// What stands above the tables.
const INTRODUCTION: &str = "# Metrics
<!-- Made by `make generate` from the declarations in extender/src. -->
`http://privatekube-webhooks.privatekube-system.svc:8080/metrics`, in Prometheus' text format, at most a second old. What
to alert on is in [operations.md](operations.md#metrics); the measures of fairness are defined in
[fairness.md](fairness.md).

- Counters begin at 0 when the extender starts. Gauges say what is committed, also after a restart.
- Series are bounded. Of a dataset, at most `--metrics-most-blocks` blocks (1000) and 100 claimants have series of their
  own; the series with `block=\"_other\"` or `claimant=\"_other\"` is the sum of all others, and no object can have that
  name. The series of a dataset end with its ledger, those of a block with its object.
- Amounts of blocks with Renyi composition are those at the order that `kubectl get pb -o wide` shows.
- Labels that aren't explained: `namespace` and `dataset` are the dataset.
";

/// The page of the metrics, `docs/metrics.md`.
pub fn page() -> Result<String, Box<dyn Error>> {
    let mut text = INTRODUCTION.to_owned();
    let mut room = "";
    for declared in Metrics::new()?.declared() {
        if declared.room != room {
            room = declared.room;
            write!(
                text,
                "\n## {room}\n| metric | type | unit | labels | says |\n|---|---|---|---|---|\n"
            )?;
        }
        writeln!(text, "{}", row(declared))?;
    }
    Ok(text)
}

fn row(declared: &Declaration) -> String {
    let labels: Vec<String> = declared
        .labels
        .iter()
        .map(|(name, values)| match *name {
            "namespace" | "dataset" => format!("`{name}`"),
            _ => format!("`{name}` ({})", cell(values)),
        })
        .collect();
    format!(
        "| `{}` | {} | {} | {} | {} |",
        declared.name,
        declared.kind.as_str(),
        declared.unit().unwrap_or_default(),
        labels.join(", "),
        cell(&declared.help)
    )
}

/// A text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
