//! Reads the published trace, `privacy_tasks_30_days.csv`, as the repository alibaba-dp-workload writes it
//! and DPack's simulator reads it.
//!
//! The file has a header and one line for each task, in the order of arrival. These columns are read, in any
//! order; others are ignored.
//!
//! | column | meaning | accepted |
//! |---|---|---|
//! | `n_blocks` | how many of the newest blocks it asks for | a whole number, 1 or more |
//! | `profit` | how much its grant is worth | a whole number, 1 or more |
//! | `block_selection_policy` | which blocks | `LatestBlocksFirst` |
//! | `task_name` | its mechanism, a `-`, and the mechanism's parameters | any text |
//! | `alphas` | Renyi orders, `[1.5, 1.75, 2]` | the same in every line |
//! | `rdp_epsilons` | an epsilon for each order | 0 to 9000000 |
//! | `relative_submit_time` | seconds since the task before it came | 0 or more |

use std::{collections::HashMap, io::Read, num::NonZeroU32};

use csv::{Reader, StringRecord};
use privatekube_policy::{Budget, Order, Orders, Weight};
use thiserror::Error;

use super::{Submission, Submissions};
use crate::workload::digits;

const COLUMNS: [&str; 7] = [
    "n_blocks",
    "profit",
    "block_selection_policy",
    "task_name",
    "alphas",
    "rdp_epsilons",
    "relative_submit_time",
];
/// Every epsilon up to this fits the engine's 64-bit amounts.
const MOST_EPSILON: f64 = 9e6;

/// The reason why a file is not such a trace. The message names the place, the value and what is accepted,
/// but not the file.
#[derive(Debug, Error)]
pub enum TraceCsvError {
    /// The file is not CSV.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("line 1: no column {missing:?}: needed are {needed}", needed = COLUMNS.join(", "))]
    NoColumn {
        /// The first missing column.
        missing: &'static str,
    },
    /// A value is invalid.
    #[error("line {line}, column {column}: {value:?}: {accepted}")]
    Value {
        /// The line's number; the header is line 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// The value, shortened if it is long.
        value: String,
        /// The accepted values.
        accepted: String,
    },
    /// There is no line after the header.
    #[error("no task: one line for each task is accepted, after the header")]
    NoTask,
}

/// One line of the file.
struct Line<'a> {
    number: u64,
    record: &'a StringRecord,
    places: [usize; 7],
}

impl Line<'_> {
    fn get(&self, column: &'static str) -> &str {
        let nth = COLUMNS.iter().position(|known| *known == column);
        let place = nth.and_then(|nth| self.places.get(nth)).copied();
        place
            .and_then(|place| self.record.get(place))
            .unwrap_or_default()
            .trim()
    }

    fn wrong(&self, column: &'static str, accepted: impl Into<String>) -> TraceCsvError {
        TraceCsvError::Value {
            line: self.number,
            column,
            value: self.get(column).chars().take(100).collect(),
            accepted: accepted.into(),
        }
    }

    /// Parses a whole number of at least 1, which may be written `3.0`.
    fn count(&self, column: &'static str) -> Result<NonZeroU32, TraceCsvError> {
        let text = self.get(column);
        let digits = text.strip_suffix(".0").unwrap_or(text);
        let accepted = || self.wrong(column, "accepted is a whole number, 1 to 4294967295");
        digits.parse().map_err(|_| accepted())
    }

    fn weight(&self) -> Result<Weight, TraceCsvError> {
        let profit = self.count("profit")?.get();
        Weight::new(profit).ok_or_else(|| self.wrong("profit", "accepted is a weight of 1 or more"))
    }

    fn list(&self, column: &'static str) -> Result<Vec<&str>, TraceCsvError> {
        let inner = self
            .get(column)
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let inner = inner.ok_or_else(|| self.wrong(column, "accepted is a list like [1.5, 2, 64]"))?;
        Ok(inner.split(',').map(str::trim).collect())
    }

    fn orders(&self) -> Result<Vec<Order>, TraceCsvError> {
        let list = self.list("alphas")?.into_iter();
        let orders = list.map(|order| {
            let order: Result<Order, _> = order.parse();
            order.map_err(|error| self.wrong("alphas", error.to_string()))
        });
        orders.collect()
    }

    /// Parses the demand, whose epsilons are at these places of the list.
    fn demand(&self, places: &[usize]) -> Result<Budget, TraceCsvError> {
        let column = "rdp_epsilons";
        let list = self.list(column)?;
        if list.len() != places.len() {
            let accepted = format!("accepted are {} epsilons, one for each of alphas", places.len());
            return Err(self.wrong(column, accepted));
        }
        let units = places.iter().map(|place| {
            let epsilon = list.get(*place).and_then(|text| text.parse::<f64>().ok());
            let epsilon = epsilon.filter(|epsilon| (0.0..=MOST_EPSILON).contains(epsilon));
            let epsilon = epsilon.ok_or_else(|| self.wrong(column, "accepted are numbers, 0 to 9000000"))?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most 9e18, which is below 2^63"
            )]
            let units = (epsilon * 1e12).ceil() as i64;
            Ok(units)
        });
        let units = units.collect::<Result<_, TraceCsvError>>()?;
        let demand = Budget::new(units).and_then(|demand| digits::writable(&demand));
        demand.map_err(|error| self.wrong(column, error.to_string()))
    }

    fn wait(&self) -> Result<f64, TraceCsvError> {
        let column = "relative_submit_time";
        let wait = self.get(column).parse().ok();
        let wait = wait.filter(|wait: &f64| wait.is_finite() && *wait >= 0.0);
        wait.ok_or_else(|| self.wrong(column, "accepted are seconds, 0 or more"))
    }
}

/// The orders of a file, which its first line states.
struct FileOrders {
    /// In the file's order.
    given: Vec<Order>,
    sorted: Orders,
    /// For each sorted order, its place in the file.
    places: Vec<usize>,
}

impl FileOrders {
    fn of(line: &Line) -> Result<Self, TraceCsvError> {
        let given = line.orders()?;
        let sorted = Orders::new(given.clone());
        let sorted = sorted.map_err(|error| line.wrong("alphas", error.to_string()))?;
        let places = sorted
            .iter()
            .filter_map(|order| given.iter().position(|other| *other == order));
        Ok(Self {
            places: places.collect(),
            sorted,
            given,
        })
    }
}

impl Submissions {
    /// Reads the published trace, or its first `most` tasks. The classes are the mechanisms.
    pub fn read_csv(from: impl Read, most: Option<u32>) -> Result<Self, TraceCsvError> {
        let mut csv = Reader::from_reader(from);
        let places = places(csv.headers()?)?;
        let mut orders: Option<FileOrders> = None;
        let mut classes = Classes::default();
        let mut tasks = Vec::new();
        let mut now = 0.0;
        // Without `most`, no file has as many lines as a `usize` can count; with it, a `u32` fits a `usize`.
        for record in csv.records().take(most.map_or(usize::MAX, |most| most as usize)) {
            let record = record?;
            let line = Line {
                number: record.position().map_or(0, csv::Position::line),
                record: &record,
                places,
            };
            let orders = match &mut orders {
                Some(orders) => {
                    if line.orders()? != orders.given {
                        return Err(line.wrong("alphas", "accepted are those of the first task"));
                    }
                    orders
                }
                none => none.insert(FileOrders::of(&line)?),
            };
            let which = line.get("block_selection_policy");
            if which != "LatestBlocksFirst" {
                return Err(line.wrong("block_selection_policy", "accepted is LatestBlocksFirst"));
            }
            now += line.wait()?;
            tasks.push(Submission {
                at: now,
                blocks: line.count("n_blocks")?.get(),
                demand: line.demand(&orders.places)?,
                weight: line.weight()?,
                class: classes.of(line.get("task_name")),
            });
        }
        let orders = orders.ok_or(TraceCsvError::NoTask)?.sorted;
        // If all tasks arrive at once, they arrive at the start.
        let duration = if now > 0.0 { now } else { 1.0 };
        for task in &mut tasks {
            task.at /= duration;
        }
        Ok(Self {
            orders,
            classes: classes.names,
            tasks,
        })
    }
}

fn places(header: &StringRecord) -> Result<[usize; 7], TraceCsvError> {
    let mut places = [0; 7];
    for (place, missing) in places.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|name| name.trim() == missing);
        *place = found.ok_or(TraceCsvError::NoColumn { missing })?;
    }
    Ok(places)
}

/// The mechanisms, in the order of first use.
#[derive(Default)]
struct Classes {
    names: Vec<String>,
    known: HashMap<String, usize>,
}

impl Classes {
    /// Returns the class of a task called `name`, which is the part before the first `-`.
    fn of(&mut self, name: &str) -> usize {
        let mechanism = name.split('-').next().unwrap_or_default();
        if let Some(known) = self.known.get(mechanism) {
            return *known;
        }
        let next = self.names.len();
        self.names.push(mechanism.to_owned());
        self.known.insert(mechanism.to_owned(), next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "epsilon,delta,n_blocks,profit,block_selection_policy,task_name,alphas,rdp_epsilons,relative_submit_time,submit_time,workload,normalized_rdp_epsilons";

    fn line(blocks: &str, profit: &str, alphas: &str, epsilons: &str, wait: &str) -> String {
        format!(
            "0.23,0.001,{blocks},{profit},LatestBlocksFirst,\"laplace-epsilon=2.30e-01\",\"{alphas}\",\"{epsilons}\",{wait},2500000.0,,\"[10]\""
        )
    }

    /// A valid line, except for one value.
    fn line_with(column: &str, value: &str) -> String {
        let or = |of: &str, good| if of == column { value } else { good };
        let line = line(
            or("n_blocks", "1"),
            or("profit", "1"),
            or("alphas", "[2, 64]"),
            or("rdp_epsilons", "[0.1, 0.2]"),
            or("relative_submit_time", "1"),
        );
        let latest = "LatestBlocksFirst";
        line.replace(latest, or("block_selection_policy", latest))
    }

    fn read(lines: &[String]) -> Result<Submissions, String> {
        let text = format!("{HEADER}\n{}\n", lines.join("\n"));
        Submissions::read_csv(text.as_bytes(), None).map_err(|error| error.to_string())
    }

    #[test]
    fn the_published_columns_are_read() {
        let tasks = [
            line("3", "1", "[1.5, 2, 64]", "[0.001, 2.5e-05, 1000000]", "0.0"),
            line("1", "2.0", "[1.5, 2, 64]", "[0.1, 0.2, 1e-13]", "30.0"),
            line("1", "1", "[1.5, 2, 64]", "[0.1, 0.2, 0.3]", "10.0"),
        ];
        let read = read(&tasks).unwrap();
        assert_eq!(read.classes, ["laplace"]);
        let ats: Vec<f64> = read.tasks.iter().map(|task| task.at).collect();
        assert_eq!(ats, [0.0, 0.75, 1.0]);
        let first = &read.tasks[0];
        assert_eq!((first.blocks, first.weight.get()), (3, 1));
        assert_eq!(first.demand.units(), [1_000_000_000, 25_000_000, 10_i64.pow(18)]);
        assert_eq!(read.tasks[1].weight.get(), 2);
        assert_eq!(read.tasks[1].demand.units()[2], 1, "rounded up");
    }

    /// The engine sorts orders, but a file may have them in any order.
    #[test]
    fn epsilons_go_with_their_orders() {
        let tasks = [line("1", "1", "[64, 1.5]", "[0.64, 0.15]", "0")];
        let read = read(&tasks).unwrap();
        assert_eq!(read.tasks[0].demand.units(), [150_000_000_000, 640_000_000_000]);
    }

    #[test]
    fn only_so_many_tasks_are_read() {
        let good = line("1", "1", "[2]", "[0.1]", "1");
        let text = format!("{HEADER}\n{good}\n{good}\nnonsense\n");
        let read = Submissions::read_csv(text.as_bytes(), Some(2)).unwrap();
        assert_eq!(read.tasks.len(), 2);
        assert!(Submissions::read_csv(text.as_bytes(), None).is_err());
    }

    #[test]
    fn errors_are_named_with_their_place_and_what_is_accepted() {
        for (column, value, accepted) in [
            ("n_blocks", "0", "accepted is a whole number"),
            ("n_blocks", "1.5", "accepted is a whole number"),
            ("profit", "0.5", "accepted is a whole number"),
            (
                "block_selection_policy",
                "RandomBlocks",
                "accepted is LatestBlocksFirst",
            ),
            ("alphas", "[2, 32]", "accepted are those of the first task"),
            ("alphas", "2, 64", "accepted is a list like [1.5, 2, 64]"),
            ("rdp_epsilons", "[0.1]", "accepted are 2 epsilons"),
            ("rdp_epsilons", "[0.1, nan]", "accepted are numbers, 0 to 9000000"),
            ("rdp_epsilons", "[0.1, inf]", "accepted are numbers, 0 to 9000000"),
            ("rdp_epsilons", "[0.1, -1]", "accepted are numbers, 0 to 9000000"),
            ("relative_submit_time", "-3", "accepted are seconds"),
        ] {
            let good = line("1", "1", "[2, 64]", "[0.1, 0.2]", "1");
            let error = read(&[good, line_with(column, value)]).unwrap_err();
            let says = format!("line 3, column {column}: {value:?}: {accepted}");
            assert!(error.starts_with(&says), "{error}");
        }
        let one = read(&[line("1", "1", "[0.5]", "[0.1]", "1")]).unwrap_err();
        assert!(one.starts_with("line 2, column alphas: \"[0.5]\""), "{one}");
        assert!(read(&[]).unwrap_err().contains("no task"));
        let header = Submissions::read_csv("n_blocks,profit\n".as_bytes(), None).unwrap_err();
        assert!(
            header
                .to_string()
                .contains("no column \"block_selection_policy\""),
            "{header}"
        );
    }
}
