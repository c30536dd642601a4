//! JSON objects that keep the order and the text of their fields.
//!
//! A request is passed to a provider as the client wrote it: the order of the keys in a JSON schema is
//! the order in which a model generates them, and a number or a string may be written in several ways.
//! A tree of values would lose both.

mod borrowed;

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{
    Value,
    ser::{CompactFormatter, Formatter},
    value::RawValue,
};

pub use borrowed::BorrowedFields;

/// Upper bound of the fields of an object, so that a lookup stays cheap.
pub const FIELDS_MAX: usize = 512;

/// The fields of a JSON object in their order. Names are unique: a reader that takes the first of two
/// equal names and one that takes the last would see different requests.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, Arc<RawValue>)>);

impl Fields {
    /// True if there are no fields.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of fields.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The names and texts of the fields, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<RawValue>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a field.
    pub fn get(&self, name: &str) -> Option<&Arc<RawValue>> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// True if a field is present and not `null`.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !is_null(value))
    }

    /// The value of a field. A field that is absent or `null` has none.
    ///
    /// # Errors
    /// The field has another type.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        match self.get(name) {
            Some(value) if !is_null(value) => read(value).map(Some),
            _ => Ok(None),
        }
    }

    /// Removes a field and returns its value. A field that is absent or `null` has none.
    ///
    /// # Errors
    /// The field has another type.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, serde_json::Error> {
        match self.remove(name) {
            Some(value) if !is_null(&value) => read(&value).map(Some),
            _ => Ok(None),
        }
    }

    /// Sets a field. A new one comes last.
    pub fn insert(&mut self, name: impl Into<String>, value: Arc<RawValue>) {
        let name = name.into();
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets a field to a value that has a JSON form.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn set<T: Serialize + ?Sized>(
        &mut self,
        name: impl Into<String>,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        self.insert(name, raw(value)?);
        Ok(())
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) -> Option<Arc<RawValue>> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    /// Removes the fields for which the function returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &RawValue) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// The canonical text: keys sorted, without insignificant white space.
    pub fn canonical(&self) -> Vec<u8> {
        canonical(self)
    }
}

impl FromIterator<(String, Arc<RawValue>)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Arc<RawValue>)>>(fields: I) -> Self {
        let mut collected = Self::default();
        for (name, value) in fields {
            collected.insert(name, value);
        }
        collected
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let text = |fields: &Self| -> Vec<(String, String)> {
            fields.iter().map(|(name, value)| (name.to_owned(), value.get().to_owned())).collect()
        };
        self.len() == other.len() && text(self) == text(other)
    }
}

/// Omits the fields, which may quote a prompt.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({})", self.len())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, value)| (name, &**value)))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            check_next(fields.len(), fields.get(&name).is_some())?;
            fields.0.push((name, value.into()));
        }
        Ok(fields)
    }
}

/// Checks that another field may be added.
fn check_next<E: serde::de::Error>(count: usize, is_known: bool) -> Result<(), E> {
    if is_known {
        return Err(E::custom("duplicate field, expected unique names"));
    }
    if count == FIELDS_MAX {
        return Err(E::custom("too many fields, expected at most 512"));
    }
    Ok(())
}

/// The JSON text of a value.
///
/// # Errors
/// The value has no JSON form.
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Arc<RawValue>, serde_json::Error> {
    serde_json::value::to_raw_value(value).map(Arc::from)
}

/// The value of a JSON text.
///
/// # Errors
/// The text has another type.
pub fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(value.get())
}

/// True for the text `null`.
pub fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// The JSON form of a value in which the keys of raw texts are sorted, so that their order and their
/// white space do not influence a digest. A text that is nested too deeply to be sorted stays as it is.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Canonical);
    // writing to memory does not fail, and a plain structure always has a JSON form
    match value.serialize(&mut serializer) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Serializes a raw text in a canonical form.
struct Canonical;

impl Formatter for Canonical {
    fn write_raw_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        match serde_json::from_str::<Value>(fragment) {
            Ok(sorted) => Ok(serde_json::to_writer(writer, &sorted)?),
            Err(_) => CompactFormatter.write_raw_fragment(writer, fragment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn fields_keep_their_order_and_their_text() {
        let text = r#"{"z":{"reasoning":1.50,"answer":"\u00e9"},"a":[ 1 ],"m":null}"#;
        assert_eq!(serde_json::to_string(&fields(text)).unwrap(), text);
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        for twice in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(serde_json::from_str::<Fields>(twice).is_err(), "{twice}");
            assert!(serde_json::from_str::<BorrowedFields<'_>>(twice).is_err(), "{twice}");
        }
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("\"f{n}\":0")).collect();
        assert!(serde_json::from_str::<Fields>(&format!("{{{}}}", many.join(","))).is_err());
    }

    #[test]
    fn borrowed_fields_keep_their_order_and_their_text_when_they_are_copied() {
        let text = r#"{"z":{"b":1.50,"a":"\u00e9"},"x":null,"\u0061":[ 1 ],"m":7}"#;
        let borrowed: BorrowedFields<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(borrowed.read::<u8>("m").unwrap(), Some(7));
        assert!(borrowed.read::<u8>("x").unwrap().is_none() && borrowed.read::<u8>("z").is_err());
        let copied = serde_json::to_string(&borrowed.without(&["m", "x"])).unwrap();
        assert_eq!(copied, r#"{"z":{"b":1.50,"a":"\u00e9"},"a":[ 1 ]}"#);
    }

    #[test]
    fn a_null_field_has_no_value() {
        let mut fields = fields(r#"{"a":null,"b":7}"#);
        assert!(fields.take::<u8>("a").unwrap().is_none() && fields.get("a").is_none());
        assert_eq!(fields.read::<u8>("b").unwrap(), Some(7));
        assert!(fields.read::<String>("b").is_err());
        fields.set("b", "seven").unwrap();
        assert_eq!(fields.take::<String>("b").unwrap().as_deref(), Some("seven"));
        assert!(fields.is_empty());
    }

    #[test]
    fn the_canonical_form_does_not_depend_on_order_and_white_space() {
        let [one, other] = [r#"{"b":{"y":1,"x":[ 2 ]},"a":1}"#, r#"{"b": {"x":[2],"y":1},"a":1}"#];
        assert_eq!(fields(one).canonical(), fields(other).canonical());
        assert_eq!(fields(one).canonical(), br#"{"b":{"x":[2],"y":1},"a":1}"#);
    }

    #[test]
    fn a_deeply_nested_text_has_a_canonical_form() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(fields(&deep).canonical(), deep.as_bytes());
    }
}
