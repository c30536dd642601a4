//! The fields of an object, borrowed from its text.

use std::{borrow::Cow, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Fields, check_next, is_null};

/// The fields of a JSON object in their order, borrowed from its text: what is large is copied when it
/// is known to be needed. Names are unique.
#[derive(Default)]
pub struct BorrowedFields<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'t> BorrowedFields<'t> {
    /// The text of a field.
    pub fn get(&self, name: &str) -> Option<&'t RawValue> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    /// The value of a field. A field that is absent or `null` has none.
    ///
    /// # Errors
    /// The field has another type.
    pub fn read<T: Deserialize<'t>>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        match self.get(name) {
            Some(value) if !is_null(value) => super::read(value).map(Some),
            _ => Ok(None),
        }
    }

    /// A field that is a string, copied only if it is written with escapes. A field that is absent or
    /// `null` has none.
    ///
    /// # Errors
    /// The field has another type.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'t, str>>, serde_json::Error> {
        Ok(self.read::<Text<'t>>(name)?.map(|Text(text)| text))
    }

    /// Copies the fields, without those that are named.
    pub fn without(self, names: &[&str]) -> Fields {
        let kept = self.0.into_iter().filter(|(name, _)| !names.contains(&name.as_ref()));
        Fields(kept.map(|(name, value)| (name.into_owned(), Arc::from(value.to_owned()))).collect())
    }
}

impl<'de> Deserialize<'de> for BorrowedFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = BorrowedFields<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BorrowedFields<'de>, A::Error> {
        let mut fields = BorrowedFields(Vec::with_capacity(8));
        while let Some((Text(name), value)) = map.next_entry()? {
            check_next(fields.0.len(), fields.get(&name).is_some())?;
            fields.0.push((name, value));
        }
        Ok(fields)
    }
}

/// A string, copied only if it is written with escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
