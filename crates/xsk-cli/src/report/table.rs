//! Plain tables.

use anstyle::Style;

pub(crate) const BOLD: Style = Style::new().bold();

#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// All but the first column are numbers, which stand to the right.
    numbers: bool,
}

impl Table {
    /// A table of numbers with these column heads; the first column names the rows.
    pub(crate) fn numbers(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()], numbers: true }
    }

    /// A table of words with these column heads.
    pub(crate) fn words(heads: &[&str]) -> Self {
        Self { numbers: false, ..Self::numbers(heads) }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Its lines, the heads in bold.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut lines = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let width = *width;
                line += &if column == 0 || !self.numbers {
                    format!("  {cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
            }
            let line = line.trim_end();
            lines.push(if index == 0 { format!("{BOLD}{line}{BOLD:#}") } else { line.to_owned() });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::numbers(&["port", "packets"]);
        table.row(vec!["eth0:0".into(), "7".into()]);
        let lines: Vec<_> =
            table.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(lines, ["  port    packets", "  eth0:0        7"]);
    }
}
