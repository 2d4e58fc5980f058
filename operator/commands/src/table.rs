//! Aligned columns. Nothing is cut or wrapped, so that what is seen can be copied and searched for.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::paint::{FAINT, PLAIN, paint};

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Text in a style.
    #[allow(clippy::needless_pass_by_value)] // Numbers, names and texts alike, as the call reads best.
    pub fn styled(text: impl ToString, style: Style) -> Self {
        Self {
            text: text.to_string(),
            style,
        }
    }
}

impl<Text: ToString> From<Text> for Cell {
    fn from(text: Text) -> Self {
        Self::styled(text, PLAIN)
    }
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
    /// Columns whose cells are given and not shown.
    hidden: Vec<usize>,
}

impl Table {
    /// An empty table. A column whose name begins with `>` is set right (numbers).
    #[must_use]
    pub fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.to_vec(),
            rows: Vec::new(),
            indent: 0,
            hidden: Vec::new(),
        }
    }

    /// Leaves out these columns, whose cells are given all the same.
    #[must_use]
    pub(crate) fn without(mut self, columns: &[&'static str]) -> Self {
        let names = self.heading.iter().enumerate();
        let hidden = names.filter(|(_, name)| columns.contains(name));
        self.hidden = hidden.map(|(index, _)| index).collect();
        self.heading.retain(|name| !columns.contains(name));
        self
    }

    /// Moves it to the right.
    #[must_use]
    pub fn indented(mut self) -> Self {
        self.indent = 2;
        self
    }

    /// Adds a row; cells beyond the heading are dropped, missing ones empty.
    pub fn row(&mut self, cells: Vec<Cell>) {
        let cells = cells.into_iter().enumerate();
        let shown = cells.filter(|(index, _)| !self.hidden.contains(index));
        self.rows.push(shown.map(|(_, cell)| cell).collect());
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, a line break at the end of each line.
    #[must_use]
    pub fn text(&self) -> String {
        let names: Vec<&str> = self
            .heading
            .iter()
            .map(|name| name.trim_start_matches('>'))
            .collect();
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.width());
            cells.max().unwrap_or(0).max(names[column].width())
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let heading: Vec<Cell> = names.iter().map(|name| Cell::styled(name, FAINT)).collect();
        std::iter::once(&heading)
            .chain(&self.rows)
            .map(|row| self.line(row, &widths))
            .collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize]) -> String {
        let mut line = " ".repeat(self.indent);
        let last = row
            .iter()
            .take(widths.len())
            .rposition(|cell| !cell.text.is_empty())
            .unwrap_or(0);
        for (column, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
            let padding = " ".repeat(width - cell.text.width());
            let painted = paint(cell.style, &cell.text);
            if self.heading[column].starts_with('>') {
                line += &padding;
                line += &painted;
            } else {
                line += &painted;
                if column < last {
                    line += &padding;
                }
            }
            if column < last {
                line += "  ";
            }
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_is_seen() {
        let mut table = Table::new(&["PATH", ">COST", "NOTE"]);
        table.row(vec!["a ← b".into(), 12.into(), "x".into()]);
        table.row(vec!["a".into(), 3.into(), "".into()]);
        let text = anstream::adapter::strip_str(&table.text()).to_string();
        assert_eq!(text, "PATH   COST  NOTE\na ← b    12  x\na         3\n");
    }

    #[test]
    fn a_column_that_is_left_out_takes_its_cells_with_it() {
        let mut table = Table::new(&["PATH", ">COST", "NOTE"]).without(&[">COST"]);
        table.row(vec!["a".into(), 3.into(), "x".into()]);
        let text = anstream::adapter::strip_str(&table.text()).to_string();
        assert_eq!(text, "PATH  NOTE\na     x\n");
    }
}
