//! Tables of records, as Markdown and as HTML.

use serde_json::Value;

use crate::chart::escape;

/// Cells in rows; the first column is words, the others are numbers.
pub struct Table {
    pub title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns in which nobody has anything are left out.
    pub fn new(title: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) -> Table {
        let has_any = |at: &usize| rows.iter().any(|row| !matches!(&row[*at][..], "-" | ""));
        let kept: Vec<usize> = (0..head.len()).filter(has_any).collect();
        let head = kept.iter().map(|at| head[*at].to_owned()).collect();
        let rows = rows.iter().map(|row| kept.iter().map(|at| row[*at].clone()).collect()).collect();
        Table { title: title.into(), head, rows }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("\n{}:\n\n{}", self.title, line(&self.head));
        text += &line(&vec!["---".to_owned(); self.head.len()]);
        self.rows.iter().for_each(|row| text += &line(row));
        text
    }

    pub fn html(&self) -> String {
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>")
        };
        let mut text = format!("<h2>{}</h2><table class=\"numbers\">{}", escape(&self.title), row(&self.head, "th"));
        self.rows.iter().for_each(|cells| text += &row(cells, "td"));
        text + "</table>"
    }
}

/// A word of a record.
pub fn word(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or("?").to_owned()
}

/// A number of a record with so many digits behind the point; `-` where there is none.
pub fn number(value: &Value, key: &str, digits: usize) -> String {
    value[key].as_f64().map_or("-".to_owned(), |number| format!("{number:.digits$}"))
}
