//! Tables of text: columns are aligned, numbers to the right, and nothing is cut.

use crate::paint::Paint;

/// A table with a head.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    is_right: bool,
}

impl Table {
    /// A table without rows. A column whose name begins with `>` is aligned to the right.
    #[must_use]
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => Column { name, is_right: true },
            None => Column {
                name,
                is_right: false,
            },
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no row.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table, each after `indent`.
    #[must_use]
    pub(crate) fn text(&self, indent: &str, paint: Paint) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let widths = cells.map(|cell| cell.chars().count());
            widths.chain([self.columns[at].name.chars().count()]).max()
        };
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| width(at).unwrap_or_default())
            .collect();
        let line = |cells: &[&str]| {
            let mut line = String::from(indent);
            for (at, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
                let space = widths[at].saturating_sub(cell.chars().count());
                let gap = if at == 0 { "" } else { "   " };
                line.push_str(gap);
                if column.is_right {
                    line.extend(std::iter::repeat_n(' ', space));
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.extend(std::iter::repeat_n(' ', space));
                }
            }
            line.trim_end().to_owned()
        };
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let mut text = paint.bold(&line(&names)) + "\n";
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            text.push_str(&line(&cells));
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_space_at_their_ends() {
        let mut table = Table::new(&["NAME", ">EPSILON", "WHY"]);
        table.row(["a", "10", "fits"]);
        table.row(["block-2", "0.5", ""]);
        assert_eq!(
            table.text("  ", Paint::default()),
            "  NAME      EPSILON   WHY\n  a              10   fits\n  block-2       0.5\n"
        );
    }
}
