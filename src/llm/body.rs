//! The body of a request to a provider: fields and messages, each as a JSON text.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use super::{LlmError, Role};
use crate::json::{self, Fields};

/// A body with a list of messages.
#[derive(Debug)]
pub(super) struct Body {
    fields: Fields,
    /// The name of the list; empty if there is none.
    list: &'static str,
    messages: Vec<Arc<RawValue>>,
}

impl Body {
    pub(super) const fn new(fields: Fields, list: &'static str) -> Self {
        Self { fields, list, messages: Vec::new() }
    }

    /// A body whose fields are all of it.
    pub(super) const fn without_list(fields: Fields) -> Self {
        Self::new(fields, "")
    }

    /// Sets a field.
    pub(super) fn set<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), LlmError> {
        set(&mut self.fields, name, value)
    }

    /// Sets a number, unless the client wrote an equal one: 1.0 and 1 are equal.
    pub(super) fn set_number<T: Serialize>(
        &mut self,
        name: &str,
        number: &T,
    ) -> Result<(), LlmError> {
        let number = raw(number)?;
        let parsed = |text: &RawValue| json::read::<f64>(text).ok();
        let given = self.fields.get(name).and_then(|given| parsed(given));
        if given.is_none() || given != parsed(&number) {
            self.fields.insert(name, number);
        }
        Ok(())
    }

    /// Removes a field.
    pub(super) fn remove(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// Adds a message.
    pub(super) fn push(&mut self, message: Arc<RawValue>) {
        self.messages.push(message);
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.fields.iter() {
            map.serialize_entry(name, &**value)?;
        }
        if !self.list.is_empty() {
            let messages: Vec<&RawValue> = self.messages.iter().map(AsRef::as_ref).collect();
            map.serialize_entry(self.list, &messages)?;
        }
        map.end()
    }
}

/// Sets a field.
pub(super) fn set<T: Serialize + ?Sized>(
    fields: &mut Fields,
    name: &str,
    value: &T,
) -> Result<(), LlmError> {
    fields.set(name, value).map_err(|_| NO_JSON_FORM)
}

/// A message that consists of a text, as clients of both chat dialects write it: the role comes first.
pub(super) fn text_message(role: Role, text: &str) -> Result<Arc<RawValue>, LlmError> {
    #[derive(Serialize)]
    struct TextMessage<'a> {
        role: Role,
        content: &'a str,
    }
    raw(&TextMessage { role, content: text })
}

/// The JSON text of a part of the body.
pub(super) fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Arc<RawValue>, LlmError> {
    json::raw(value).map_err(|_| NO_JSON_FORM)
}

const NO_JSON_FORM: LlmError = LlmError::Untranslatable { what: "a value without a JSON form" };
