//! Tables: columns under their heads, two spaces apart.

use super::plain;
use super::style::{HEAD, paint};
use anstyle::Style;
use std::fmt;

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A cell: text without characters that a terminal would obey, and its style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Creates a cell of untrusted text.
    pub(crate) fn new(text: &str, style: Style) -> Self {
        Self { text: plain(text), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(&text, Style::new())
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<Cell>),
    /// Text as wide as it is, which no column makes room for.
    Line(String),
}

impl Table {
    /// Creates it with its heads.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let heads = columns.iter().map(|(head, _)| Cell::new(head, HEAD)).collect();
        let align = columns.iter().map(|(_, align)| *align).collect();
        Self { align, rows: vec![Row::Cells(heads)] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        let cells: Vec<_> = cells.into_iter().map(Into::into).collect();
        debug_assert_eq!(cells.len(), self.align.len());
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line that belongs to the row above it. `line` ends with a newline.
    pub(crate) fn line(&mut self, line: String) {
        self.rows.push(Row::Line(line));
    }

    /// Returns the width of the columns together, in characters.
    pub(crate) fn width(&self) -> usize {
        self.widths().iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.align.len()];
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = cell.width().max(*width);
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            match row {
                Row::Cells(cells) => writeln!(f, "{}", line(cells, &self.align, &widths))?,
                Row::Line(line) => write!(f, "{line}")?,
            }
        }
        Ok(())
    }
}

fn line(cells: &[Cell], align: &[Align], widths: &[usize]) -> String {
    let mut line = String::new();
    // Blanks wait for the next text, so that none are at the end.
    let mut blanks = 0;
    for ((cell, align), width) in cells.iter().zip(align).zip(widths) {
        let missing = width - cell.width();
        let (before, after) = match align {
            Align::Left => (0, missing),
            Align::Right => (missing, 0),
        };
        blanks += before;
        if !cell.text.is_empty() {
            // Not with `format!`, which panics if a width is greater than 65,535.
            line += &" ".repeat(blanks);
            line += &paint(cell.style, &cell.text);
            blanks = 0;
        }
        blanks += after + 2;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style::GOOD;

    #[test]
    fn numbers_are_right_aligned_and_lines_have_no_trailing_blanks() {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("", Align::Left)]);
        table.row(["ä".into(), "1000".into(), String::new()]);
        assert_eq!(unstyled(&table), "NAME     N\nä     1000\n");
        let long = "x".repeat(70_000);
        table.row([long.clone(), "1".into(), String::new()]);
        assert!(unstyled(&table).ends_with(&format!("{long}     1\n")));
    }

    #[test]
    fn styles_and_lines_between_rows_do_not_move_the_columns() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row([Cell::new("blue", GOOD), Cell::new("5", Style::new())]);
        table.line("    http://127.0.0.1:8081\n".into());
        table.row(["b".to_owned(), "10".to_owned()]);
        assert_eq!(unstyled(&table), "NAME   N\nblue   5\n    http://127.0.0.1:8081\nb     10\n");
        assert_eq!(table.width(), 8);
        assert!(table.to_string().contains(&paint(GOOD, "blue")));
    }

    fn unstyled(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }
}
