//! The body of a request to a provider: fields and messages, each as a JSON text.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use super::LlmError;
use crate::json::{self, Fields};

/// A body with a list of messages.
#[derive(Debug)]
pub(super) struct Body {
    fields: Fields,
    /// The name of the list.
    list: &'static str,
    messages: Vec<Arc<RawValue>>,
}

impl Body {
    pub(super) const fn new(fields: Fields, list: &'static str) -> Self {
        Self { fields, list, messages: Vec::new() }
    }

    /// Sets a field.
    pub(super) fn set<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), LlmError> {
        self.fields.set(name, value).map_err(|_| NO_JSON_FORM)
    }

    /// Adds a message.
    pub(super) fn push(&mut self, message: Arc<RawValue>) {
        self.messages.push(message);
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len() + 1))?;
        for (name, value) in self.fields.iter() {
            map.serialize_entry(name, &**value)?;
        }
        let messages: Vec<&RawValue> = self.messages.iter().map(AsRef::as_ref).collect();
        map.serialize_entry(self.list, &messages)?;
        map.end()
    }
}

/// The JSON text of a part of the body.
pub(super) fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Arc<RawValue>, LlmError> {
    json::raw(value).map_err(|_| NO_JSON_FORM)
}

const NO_JSON_FORM: LlmError = LlmError::Untranslatable { what: "a value without a JSON form" };
