//! Formats a comparison as text for people.

use std::fmt;

use super::{
    Comparison, End, Spread, TaskPair,
    table::{Column, Table},
};

/// A comparison as a page of text.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    comparison: &'a Comparison,
    most: usize,
}

impl Comparison {
    /// Formats the comparison as text, with at most `most` tasks that only A grants, and as many that only B
    /// grants.
    #[must_use]
    pub const fn page(&self, most: usize) -> Page<'_> {
        Page {
            comparison: self,
            most,
        }
    }
}

/// Width of the first column, in characters.
const LABEL: usize = 36;

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            a,
            b,
            tasks,
            blocks,
            classes,
            ..
        } = self.comparison;
        writeln!(f, "A: {}\nB: {}\n{tasks} tasks, {blocks} blocks\n", a.run, b.run)?;
        let mut totals = Table::new(
            [
                Column::Label(LABEL),
                Column::Right(10),
                Column::Right(12),
                Column::Right(12),
                Column::Right(12),
            ],
            ["", "tasks", "A", "B", "B - A"],
        );
        let mut row = |label: &str, tasks: usize, a: usize, b: usize| {
            let change = if a == b {
                "0".to_owned()
            } else {
                // A `usize` has at most 64 bits: an `i128` holds any difference.
                format!("{:+}", b as i128 - a as i128)
            };
            totals.row([
                label.to_owned(),
                tasks.to_string(),
                a.to_string(),
                b.to_string(),
                change,
            ]);
        };
        row("granted", *tasks, a.granted, b.granted);
        let classes: Vec<_> = classes.iter().filter(|class| class.tasks > 0).collect();
        if classes.len() > 1 {
            for class in classes {
                let label = format!("  {}", class.class);
                row(&label, class.tasks, class.granted_a, class.granted_b);
            }
        }
        row("refused", *tasks, a.refused, b.refused);
        row("waiting at the end", *tasks, a.waiting, b.waiting);
        self.delays(&mut totals);
        write!(f, "{totals}")?;
        self.ends(f)?;
        self.changes(f)?;
        self.shares(f)?;
        self.tasks(f, "A", "B", &self.comparison.only_a)?;
        self.tasks(f, "B", "A", &self.comparison.only_b)
    }
}

impl Page<'_> {
    fn delays(&self, totals: &mut Table<5>) {
        let (a, b) = (self.comparison.a.delay_seconds, self.comparison.b.delay_seconds);
        let rows = [
            (
                "delay until the grant (s): average",
                a.map(|a| a.average),
                b.map(|b| b.average),
            ),
            ("  median", a.map(|a| a.p50), b.map(|b| b.p50)),
            ("  90th percentile", a.map(|a| a.p90), b.map(|b| b.p90)),
            ("  99th percentile", a.map(|a| a.p99), b.map(|b| b.p99)),
            ("  longest", a.map(|a| a.max), b.map(|b| b.max)),
        ];
        for (label, a, b) in rows {
            let change = a.zip(b).map(|(a, b)| b - a);
            totals.row([
                label.to_owned(),
                String::new(),
                shown(a),
                shown(b),
                change.map_or_else(|| "-".to_owned(), signed),
            ]);
        }
    }

    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(
            [
                Column::Label(LABEL),
                Column::Right(10),
                Column::Right(12),
                Column::Right(12),
            ],
            ["How tasks end", "B grants", "refuses", "lets wait"],
        );
        for (label, a) in [
            ("A grants", End::Granted),
            ("A refuses", End::Refused),
            ("A lets wait", End::Waiting),
        ] {
            let count = |b| {
                let pairs = &self.comparison.ends;
                let pair = pairs.iter().find(|pair| (pair.a, pair.b) == (a, b));
                pair.map_or(0, |pair| pair.tasks).to_string()
            };
            let [granted, refused, waiting] = End::ALL.map(count);
            table.row([label.to_owned(), granted, refused, waiting]);
        }
        write!(f, "\n{table}")
    }

    fn changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = &self.comparison.delay_change;
        let Some(seconds) = change.seconds else {
            return writeln!(f, "\nNo task is granted by both.");
        };
        writeln!(
            f,
            "\nOf {} tasks that both grant, B grants {} sooner, {} at the same time and {} later: by {} s on average, {} \
             to {} s.",
            seconds.count,
            change.sooner,
            change.same,
            change.later,
            signed(seconds.average),
            signed(seconds.min),
            signed(seconds.max)
        )
    }

    fn shares(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = &self.comparison.dominant_shares;
        let mut table = Table::new(
            [
                Column::Label(LABEL),
                Column::Right(10),
                Column::Right(12),
                Column::Right(12),
                Column::Right(12),
                Column::Right(12),
            ],
            [
                "Dominant shares",
                "tasks",
                "smallest",
                "median",
                "average",
                "largest",
            ],
        );
        for (label, spread) in [
            ("granted by both", shares.both),
            ("granted by A only", shares.only_a),
            ("granted by B only", shares.only_b),
            ("granted by neither", shares.neither),
        ] {
            let count = spread.map_or(0, |spread| spread.count);
            let value = |get: fn(Spread) -> f64| share(spread.map(get));
            table.row([
                label.to_owned(),
                count.to_string(),
                value(|spread| spread.min),
                value(|spread| spread.p50),
                value(|spread| spread.average),
                value(|spread| spread.max),
            ]);
        }
        write!(f, "\n{table}")
    }

    fn tasks(&self, f: &mut fmt::Formatter<'_>, who: &str, other: &str, tasks: &[TaskPair]) -> fmt::Result {
        if tasks.is_empty() || self.most == 0 {
            return Ok(());
        }
        let all = tasks.len();
        let shown = all.min(self.most);
        let in_other = format!("in {other}");
        let mut table = Table::new(
            [
                Column::Right(10),
                Column::Right(14),
                Column::Right(8),
                Column::Right(10),
                Column::Right(14),
                Column::Left(8),
                Column::Left(0),
            ],
            [
                "task",
                "arrival (s)",
                "blocks",
                "share",
                "granted (s)",
                &in_other,
                "class",
            ],
        );
        for task in tasks.iter().take(shown) {
            let end = match task.other {
                End::Granted => "granted",
                End::Refused => "refused",
                End::Waiting => "waiting",
            };
            table.row([
                task.task.to_string(),
                format!("{:.6}", task.arrival),
                task.blocks.to_string(),
                share(Some(task.dominant_share)),
                format!("{:.6}", task.granted_at),
                end.to_owned(),
                task.class.clone(),
            ]);
        }
        write!(f, "\nGranted by {who} only, {shown} of {all}\n{table}")
    }
}

fn shown(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"))
}

/// A number with its sign; zero has none.
fn signed(seconds: f64) -> String {
    let text = format!("{seconds:+.3}");
    if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        text
    } else {
        "0.000".to_owned()
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{share:.6}"))
}
