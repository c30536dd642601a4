//! The order of keys in JSON texts, which `serde_json::Value` does not keep.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object in their order.
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Fields(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The names of the properties of the schema of a structured answer, in their order.
pub(super) fn schema_properties(body: &[u8]) -> Vec<String> {
    let paths: [&[&str]; 3] = [
        &["response_format", "json_schema", "schema", "properties"],
        &["text", "format", "schema", "properties"],
        &["output_config", "format", "schema", "properties"],
    ];
    paths.into_iter().find_map(|path| names_at(body, path)).unwrap_or_default()
}

fn names_at(body: &[u8], path: &[&str]) -> Option<Vec<String>> {
    let mut fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    for name in path {
        let (_, value) = fields.0.into_iter().find(|(known, _)| known == name)?;
        fields = serde_json::from_str(value.get()).ok()?;
    }
    Some(fields.0.into_iter().map(|(name, _)| name).collect())
}
