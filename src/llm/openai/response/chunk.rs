//! A chunk of a stream, or a whole response, read in one pass.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::llm::object::{Name, Object};

/// The fields of a chunk, its first choice and the message in it.
#[derive(Default)]
pub(super) struct Chunk<'t> {
    /// The fields besides the choices.
    pub(super) fields: Object<'t>,
    pub(super) choice: Option<Choice<'t>>,
}

/// A choice.
#[derive(Default)]
pub(super) struct Choice<'t> {
    /// The fields besides the message.
    pub(super) fields: Object<'t>,
    /// The message, or a part of it.
    pub(super) message: Option<Object<'t>>,
}

impl<'t> Chunk<'t> {
    /// Parses a text; `None` if it is not an object, or if its choices are not a list of objects.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl<'de> Deserialize<'de> for Chunk<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChunkVisitor)
    }
}

struct ChunkVisitor;

impl<'de> Visitor<'de> for ChunkVisitor {
    type Value = Chunk<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunk<'de>, A::Error> {
        let mut chunk = Chunk::default();
        while let Some(Name(name)) = map.next_key()? {
            if name == "choices" {
                chunk.choice = map.next_value::<Option<First<'de>>>()?.and_then(|first| first.0);
            } else {
                chunk.fields.push(name, map.next_value()?);
            }
        }
        Ok(chunk)
    }
}

/// The first choice of a list. A step has one answer.
struct First<'t>(Option<Choice<'t>>);

impl<'de> Deserialize<'de> for First<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor)
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<'de>, A::Error> {
        let first = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first))
    }
}

impl<'de> Deserialize<'de> for Choice<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = Choice<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice<'de>, A::Error> {
        let (mut fields, mut delta, mut message) = (Object::default(), None, None);
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "delta" => delta = map.next_value::<Lenient<'de>>()?.0,
                "message" => message = map.next_value::<Lenient<'de>>()?.0,
                _ => fields.push(name, map.next_value()?),
            }
        }
        Ok(Choice { fields, message: delta.or(message) })
    }
}

/// The fields of an object. Anything else is absent and does not cost the answer.
struct Lenient<'t>(Option<Object<'t>>);

impl<'de> Deserialize<'de> for Lenient<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor)
    }
}

struct LenientVisitor;

impl<'de> Visitor<'de> for LenientVisitor {
    type Value = Lenient<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lenient<'de>, A::Error> {
        let mut fields = Object::default();
        while let Some((Name(name), value)) = map.next_entry()? {
            fields.push(name, value);
        }
        Ok(Lenient(Some(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lenient<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lenient(None))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Lenient<'de>, E> {
        Ok(Lenient(None))
    }
}
