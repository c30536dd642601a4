//! The refusal of what has no form in chat completions.

use serde_json::value::RawValue;

use crate::{
    json::{self, Fields},
    llm::LlmError,
};

/// The fields of an object.
pub(super) fn object(value: &RawValue, what: &'static str) -> Result<Fields, LlmError> {
    json::read(value).map_err(|_| untranslatable(what))
}

pub(super) const fn untranslatable(what: &'static str) -> LlmError {
    LlmError::Untranslatable { what }
}
