//! Settings that may be unset, which an empty text stands for.

use serde::{Deserialize, Deserializer, de::Error as _};

/// The value of a setting whose empty text means "not set".
pub(super) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or an empty text")]
    enum Optional<T> {
        Value(T),
        Text(String),
    }
    match Optional::deserialize(deserializer)? {
        Optional::Value(value) => Ok(Some(value)),
        Optional::Text(text) if text.is_empty() => Ok(None),
        Optional::Text(_) => Err(D::Error::custom("expected a number, or an empty text")),
    }
}
