//! A JSON deserializer that records the fields of structs and the variants of enums it meets, and
//! the ones the JSON contains.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde::{
    de::{
        Deserializer, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

/// A field: the names of its struct and of itself.
pub(super) type Field = (&'static str, &'static str);

/// The fields and variants met so far.
#[derive(Default)]
pub(super) struct Seen {
    /// Fields that a struct declares.
    pub(super) declared: BTreeSet<Field>,
    /// Fields that had a value.
    pub(super) present: BTreeSet<Field>,
    /// Fields that were missing or null.
    pub(super) absent: BTreeSet<Field>,
    /// Variants that an enum declares.
    pub(super) variants: BTreeSet<Field>,
    /// Variants that occurred.
    pub(super) occurred: BTreeSet<Field>,
}

/// Deserializes a value and records it.
#[derive(Clone, Copy)]
pub(super) struct Recorder<'a> {
    pub(super) value: &'a Value,
    pub(super) seen: &'a RefCell<Seen>,
    /// A field that is treated as missing wherever it occurs.
    pub(super) without: Option<Field>,
}

impl<'a> Recorder<'a> {
    fn of(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Recorder<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Recorder<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.value {
            Value::Object(fields) => {
                let fields: BTreeMap<&str, Self> =
                    fields.iter().map(|(name, value)| (name.as_str(), self.of(value))).collect();
                visitor.visit_map(MapDeserializer::new(fields.into_iter()))
            }
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(|item| self.of(item))))
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let given = self.value.as_object().cloned().unwrap_or_default();
        let is_given = |field| {
            self.without != Some((name, field)) && given.get(field).is_some_and(|v| !v.is_null())
        };
        {
            let mut seen = self.seen.borrow_mut();
            for field in fields {
                seen.declared.insert((name, field));
                let side = if is_given(field) { &mut seen.present } else { &mut seen.absent };
                side.insert((name, field));
            }
        }
        let Value::Object(all) = self.value else { return self.deserialize_any(visitor) };
        let left: Vec<(&str, Self)> = all
            .iter()
            .filter(|(field, _)| self.without.is_none_or(|out| out != (name, field.as_str())))
            .map(|(field, value)| (field.as_str(), self.of(value)))
            .collect();
        visitor.visit_map(MapDeserializer::new(left.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let mut seen = self.seen.borrow_mut();
        seen.variants.extend(variants.iter().map(|variant| (name, *variant)));
        let occurred = variants.iter().find(|variant| self.value == **variant);
        seen.occurred.extend(occurred.map(|variant| (name, *variant)));
        drop(seen);
        self.value.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
