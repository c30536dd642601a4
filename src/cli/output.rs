//! Output as JSON and as tables.

use std::io::{self, Write as _};

use serde_json::Value;

/// Prints a value on standard output: as JSON, else as the text of `render`.
pub(super) fn print(
    json: bool,
    value: &Value,
    render: impl Fn(&Value) -> String,
) -> anyhow::Result<()> {
    let text = if json { self::json(value) } else { render(value) };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Pretty JSON with a final newline.
fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// One line per leaf: dotted name and value.
pub(super) fn fields(value: &Value) -> String {
    let mut rows = Vec::new();
    collect("", value, &mut rows);
    table(&[], &rows)
}

fn collect(path: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value.as_object() {
        Some(map) => {
            for (key, inner) in map {
                let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&name, inner, rows);
            }
        }
        None => rows.push(vec![path.to_owned(), cell(Some(value))]),
    }
}

/// A value as text; `-` for none.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        // control characters in the text of a caller must not reach the terminal
        Some(Value::String(text)) => {
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        }
        Some(other) => other.to_string(),
    }
}

/// A table with columns as wide as their widest cell, without a header line if there are no headers.
pub(super) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    let lines: Vec<&Vec<String>> =
        std::iter::once(&head).filter(|head| !head.is_empty()).chain(rows).collect();
    let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cell, fields, table};

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["k", "value"], &rows), "k     value\na     1\nlong  2\n");
        assert_eq!(table(&[], &[]), "");
    }

    #[test]
    fn fields_have_dotted_names_and_no_control_characters() {
        let value = json!({"a": {"b": 1, "c": null}, "d": [1, 2]});
        assert_eq!(fields(&value), "a.b  1\na.c  -\nd    [1,2]\n");
        assert_eq!(cell(Some(&json!("red\u{1b}[31m"))), "red\u{fffd}[31m");
    }
}
