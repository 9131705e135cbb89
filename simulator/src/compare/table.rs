//! A table of text whose columns are as wide as their longest cell needs, so that two never run into each other.

use std::fmt;

/// The least number of blanks between two columns.
const GAP: usize = 2;

/// How the cells of a column are placed, and the least width of the column in characters. A wider cell widens it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Left-aligned, at the beginning of a line.
    Label(usize),
    /// Left-aligned, behind the gap.
    Left(usize),
    /// Right-aligned. The width includes the gap.
    Right(usize),
}

/// A table: columns, and rows with a cell for each column.
#[derive(Clone, Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table whose first row is `head`.
    pub(super) fn new(columns: [Column; COLUMNS], head: [&str; COLUMNS]) -> Self {
        Self {
            columns,
            rows: vec![head.map(str::to_owned)],
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells);
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((column, longest), cell) in self.columns.iter().zip(widths).zip(row) {
                let (gap, width) = match column {
                    Column::Label(least) => (0, longest.max(*least)),
                    Column::Left(least) => (GAP, longest.max(*least)),
                    Column::Right(least) => (0, (longest + GAP).max(*least)),
                };
                let blanks = width.saturating_sub(cell.chars().count());
                let (before, after) = match column {
                    Column::Label(_) | Column::Left(_) => (gap, blanks),
                    Column::Right(_) => (blanks, 0),
                };
                line.extend(std::iter::repeat_n(' ', before));
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', after));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
