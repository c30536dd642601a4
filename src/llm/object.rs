//! JSON objects in the answers of providers, read leniently: a field of an unexpected shape is absent
//! and never costs the answer.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// The fields of an object, borrowed from its text.
#[derive(Default)]
pub(super) struct Object<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'t> Object<'t> {
    /// Parses a text; `None` if it is not an object.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text of a field. `null` is absent.
    pub(super) fn get(&self, name: &str) -> Option<&'t RawValue> {
        let found = self.0.iter().rev().find(|(other, _)| other == name).map(|(_, value)| *value);
        found.filter(|value| value.get() != "null")
    }

    /// The value of a field, if it has this type.
    pub(super) fn read<T: Deserialize<'t>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A field that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.read::<String>(name)
    }

    /// A field that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?.get())
    }

    /// Adds a field.
    pub(super) fn push(&mut self, name: Cow<'t, str>, value: &'t RawValue) {
        self.0.push((name, value));
    }

    /// The fields in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'t RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(Object(fields))
    }
}

/// A name, copied only if it is written with escapes.
#[derive(Deserialize)]
pub(super) struct Name<'t>(#[serde(borrow)] pub(super) Cow<'t, str>);

/// Size of a new writer, in bytes: that of an event of a stream.
const WRITER_BYTES: usize = 192;

/// Writes an object field by field.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(WRITER_BYTES);
        text.push('{');
        Self(text)
    }

    /// Adds a field with a JSON text as its value.
    pub(super) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.0.push_str(json);
    }

    /// Adds a field with a value.
    pub(super) fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        // writing to memory does not fail
        write!(self.0, "{value}").ok();
    }

    /// Adds a field with an object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push('{');
        write(self);
        self.0.push('}');
    }

    /// Adds a field with a list of one object.
    pub(super) fn list_of(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push_str("[{");
        write(self);
        self.0.push_str("}]");
    }

    /// Adds a field with a string.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        push_quoted(&mut self.0, text);
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        push_quoted(&mut self.0, name);
        self.0.push(':');
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Appends a string as JSON. Most strings have nothing to escape.
fn push_quoted(json: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        json.push_str(&quoted(text));
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

/// A string as JSON.
pub(super) fn quoted(text: &str) -> String {
    // a string always has a JSON form
    serde_json::to_string(text).unwrap_or_default()
}

/// True for a value without content.
pub(super) fn is_empty(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "\"\"" | "[]" | "{}")
}

/// Merges a part of an object as the SDKs of providers do: strings are appended, objects merged, and
/// the elements of lists merged by their `index` or else appended. Other values are replaced.
pub(super) fn merge(into: &mut Map<String, Value>, name: &str, value: Value) {
    match into.get_mut(name) {
        Some(_) if value.is_null() => {}
        Some(old) if old.is_null() => *old = value,
        Some(old) => merge_value(name, old, value),
        None => {
            into.insert(name.to_owned(), value);
        }
    }
}

fn merge_value(name: &str, old: &mut Value, new: Value) {
    match (old, new) {
        // these name a part and do not grow
        (Value::String(_), Value::String(_)) if matches!(name, "type" | "id" | "role") => {}
        (Value::String(old), Value::String(new)) => old.push_str(&new),
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                merge(old, &name, value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for element in new {
                merge_element(old, element);
            }
        }
        (old, new) => *old = new,
    }
}

/// Elements that are compared with a new one, so that an answer of many elements costs little.
/// Providers list the elements in the order of their indexes, or continue the last one.
const COMPARED_MAX: usize = 128;

fn merge_element(list: &mut Vec<Value>, element: Value) {
    let Some(index) = element.get("index") else { return list.push(element) };
    let is_same = |other: &Value| other.get("index") == Some(index);
    let at_index = index.as_u64().map(|index| index as usize);
    let ends = (0..list.len().min(COMPARED_MAX)).chain(list.len().checked_sub(1)).chain(at_index);
    let mut candidates = ends.filter(|at| list.get(*at).is_some_and(is_same));
    match candidates.next().and_then(|at| list.get_mut(at)) {
        Some(old) => merge_value("", old, element),
        None => list.push(element),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_another_type_is_absent() {
        let object = Object::parse(r#"{"a":7,"b":null,"a\u0062":"x","n":"1","n":"2"}"#).unwrap();
        assert_eq!((object.text("a"), object.read::<u8>("a")), (None, Some(7)));
        assert!(object.get("b").is_none());
        assert_eq!(object.text("ab").as_deref(), Some("x"));
        assert_eq!(object.text("n").as_deref(), Some("2"), "the last one counts");
        assert!(Object::parse("[]").is_none());
    }

    #[test]
    fn parts_are_merged_as_the_sdks_do() {
        let mut whole = Map::new();
        for part in [
            json!({ "t": "Hel", "a": { "id": "x", "data": "AA" }, "l": [{ "index": 1, "s": "a" }] }),
            json!({ "t": "lo", "a": { "id": "x", "data": "BB" }, "n": null, "k": 1 }),
            json!({ "l": [{ "index": 1, "s": "b" }, { "index": 0, "s": "c" }], "k": 2 }),
        ] {
            let Value::Object(part) = part else { panic!("a part is an object") };
            for (name, value) in part {
                merge(&mut whole, &name, value);
            }
        }
        assert_eq!(
            Value::Object(whole),
            json!({
                "t": "Hello", "a": { "id": "x", "data": "AABB" }, "k": 2, "n": null,
                "l": [{ "index": 1, "s": "ab" }, { "index": 0, "s": "c" }]
            })
        );
    }

    #[test]
    fn lists_of_many_elements_are_merged_in_the_time_of_their_length() {
        const COUNT: usize = 200_000;
        let (mut indexed, mut plain) = (Value::Array(Vec::new()), Value::Array(Vec::new()));
        for part in ["a", "b"] {
            let element = |index| json!({ "index": index, "s": part });
            merge_value("", &mut indexed, (0..COUNT).map(element).collect());
            merge_value("", &mut plain, vec![json!({ "s": part }); COUNT].into());
        }
        let (indexed, plain) = (indexed.as_array().unwrap(), plain.as_array().unwrap());
        assert_eq!((indexed.len(), plain.len()), (COUNT, 2 * COUNT));
        assert_eq!(indexed[COUNT - 1], json!({ "index": COUNT - 1, "s": "ab" }));
    }

    #[test]
    fn an_object_is_written_field_by_field() {
        let mut writer = Writer::new();
        writer.text("a", "\"");
        writer.raw("b", "[1]");
        writer.object("c", |_| {});
        writer.list_of("d", |inner| {
            inner.value("x\n", &json!([1.5, "é"]));
            inner.object("y", |deep| deep.text("z", "{"));
        });
        writer.raw("e", "null");
        let expected =
            r#"{"a":"\"","b":[1],"c":{},"d":[{"x\n":[1.5,"é"],"y":{"z":"{"}}],"e":null}"#;
        assert_eq!(writer.end(), expected);
    }
}
