//! Tables for people: columns without borders, plain text without colour, so that they survive a
//! pipe, a log and a small terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// How wide text is that has to be broken into lines.
const WIDTH: u16 = 100;

/// Columns under a header.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(header.map(str::to_uppercase));
    render(table.add_rows(rows.into_iter().map(|row| row.map(one_line))))
}

/// Names and values below each other; a value that is empty is left out.
pub(super) fn list<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    render(
        table
            .load_style(NOTHING)
            .add_rows(rows.map(|(name, value)| [name.to_owned(), one_line(value)])),
    )
}

/// As [`table()`], with sentences that are broken into lines.
pub(super) fn wrapped<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.map(str::to_uppercase));
    render(table.add_rows(rows.into_iter().map(|row| row.map(one_line))))
}

/// A text broken into lines.
pub(super) fn paragraph(text: &str) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    render(table.add_row([one_line(text.to_owned())]))
}

fn render(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text of others must not break the table, nor steer the terminal.
pub(super) fn one_line(text: String) -> String {
    if text.contains(char::is_control) {
        text.replace(char::is_control, " ")
    } else {
        text
    }
}

/// The text behind an indentation on every line that is not empty.
pub(super) fn indented(text: &str) -> String {
    text.lines()
        .map(|line| match line {
            "" => String::new(),
            line => format!("  {line}"),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_decoration() {
        let rows = [
            ["offers".to_owned(), "GIVEN".to_owned()],
            ["x".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["purpose", "state"], rows),
            "PURPOSE  STATE\noffers   GIVEN\nx"
        );
    }

    #[test]
    fn a_list_leaves_out_what_is_empty() {
        let rows = [
            ("event", "e1".to_owned()),
            ("notice", String::new()),
            ("valid for", "5s".to_owned()),
        ];
        assert_eq!(indented(&list(rows)), "  event      e1\n  valid for  5s");
        assert_eq!(indented("a\n\nb"), "  a\n\n  b");
    }

    #[test]
    fn sentences_are_broken_into_lines_of_their_column() {
        let words = "word ".repeat(30);
        let shown = wrapped(
            ["rule", "what"],
            [["a".to_owned(), words.trim().to_owned()]],
        );
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= usize::from(WIDTH)));
        assert!(lines[2].starts_with("      word"), "{shown}");
        assert_eq!(paragraph(&words).lines().count(), 2);
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        let rows = [["a\u{1b}[31mb\nc".to_owned()]];
        assert_eq!(table(["title"], rows), "TITLE\na [31mb c");
    }
}
