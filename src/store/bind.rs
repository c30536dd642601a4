//! Values in the form in which the two databases bind them.

/// A list for SQLite, whose statements read it with `json_each`.
pub(super) fn json(values: impl IntoIterator<Item = impl Into<serde_json::Value>>) -> String {
    values.into_iter().map(Into::into).collect::<serde_json::Value>().to_string()
}

/// Positions and step numbers as the databases store them.
pub(super) fn signed(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().map(|n| *n as i64).collect()
}
