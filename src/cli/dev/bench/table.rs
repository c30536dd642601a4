//! The table of figures, each next to its limit.

use serde_json::{Value, json};

use crate::cli::output;

/// One figure.
pub(super) struct Row {
    /// The measured quantity.
    pub(super) name: String,
    /// The median.
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// The limit: name, and value in the same unit.
    pub(super) limit: Option<(&'static str, f64)>,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, limit: None }
    }

    pub(super) fn limit(mut self, name: &'static str, value: f64) -> Self {
        self.limit = Some((name, value));
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.map(|(_, limit)| self.value / limit)
    }
}

pub(super) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "name": row.name,
            "value": row.value,
            "unit": row.unit,
            "beside": row.limit.map(|(name, value)| json!({"name": name, "value": value})),
            "ratio": row.ratio(),
        })
    };
    json!({"rows": rows.iter().map(row).collect::<Vec<_>>()})
}

/// Renders the JSON as a table.
pub(super) fn render(table: &Value) -> String {
    let number = |value: &Value| {
        let n = value.as_f64().unwrap_or_default();
        if n >= 100.0 { format!("{n:.0}") } else { format!("{n:.3}") }
    };
    let cells = |row: &Value| {
        let limit = &row["beside"];
        let (text, ratio) = if limit.is_null() {
            ("-".to_owned(), "-".to_owned())
        } else {
            let name = output::cell(limit.get("name"));
            (format!("{name}: {}", number(&limit["value"])), number(&row["ratio"]))
        };
        vec![
            output::cell(row.get("name")),
            number(&row["value"]),
            output::cell(row.get("unit")),
            text,
            ratio,
        ]
    };
    let rows: Vec<_> = table["rows"].as_array().into_iter().flatten().map(cells).collect();
    output::table(&["MEASURED", "MEDIAN", "UNIT", "LIMIT", "RATIO"], &rows)
}

/// The median; 0 for no values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
