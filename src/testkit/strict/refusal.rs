//! Refusals in the error bodies of the APIs.

use std::fmt;

use serde_json::{Value, json};

use super::wire::Response;

/// A refused request.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The `type` of the error.
    pub kind: &'static str,
    /// The `code` of the error, which only the APIs of OpenAI have.
    pub code: Option<&'static str>,
    /// The path of the field.
    pub param: Option<String>,
    /// The message. It has the marker text that must not appear in logs.
    pub message: String,
}

impl Refusal {
    /// An invalid request, with the path of the field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let (param, message) = (param.into(), message.into());
        let param = (!param.is_empty()).then_some(param);
        Self { status: 400, kind: "invalid_request_error", code: None, param, message }
    }

    /// An unknown route, model or id.
    pub fn not_found(message: &str) -> Self {
        Self { status: 404, kind: "not_found_error", ..Self::invalid("", message) }
    }

    /// The same with the code of OpenAI.
    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same with another status and type.
    #[must_use]
    pub fn status(self, status: u16, kind: &'static str) -> Self {
        Self { status, kind, ..self }
    }

    /// Refuses unless the condition holds.
    pub(super) fn unless(ok: bool, param: &str, message: &str) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self::invalid(param, message)) }
    }

    pub(super) fn response(&self, anthropic: bool) -> Response {
        let body = if anthropic {
            let message = self
                .param
                .as_ref()
                .map_or_else(|| self.message.clone(), |param| format!("{param}: {}", self.message));
            json!({"type": "error", "error": {"type": self.kind, "message": message},
                "request_id": "req_strict"})
        } else {
            json!({"error": {"message": self.message, "type": self.kind, "param": self.param,
                "code": self.code}})
        };
        Response::json(self.status, body.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let param = self.param.as_deref().unwrap_or("-");
        write!(f, "{} {} {param}: {}", self.status, self.kind, self.message)
    }
}

/// Refuses fields that the API does not publish.
pub(super) fn only(object: &Value, known: &[&str], path: &str) -> Result<(), Refusal> {
    let unknown = object.as_object().into_iter().flatten();
    let unknown = unknown.map(|(name, _)| name).find(|name| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |name| {
        let param = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        Err(Refusal::invalid(param, "Extra inputs are not permitted"))
    })
}

/// True for a name of a tool: letters, digits, `_` and `-`.
pub(super) fn is_name(text: &str, longest: usize) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= longest && text.chars().all(known)
}

/// Refuses a number outside a range. An absent one is valid.
pub(super) fn within(
    body: &Value,
    name: &str,
    range: std::ops::RangeInclusive<f64>,
) -> Result<(), Refusal> {
    let value = &body[name];
    let ok = value.is_null() || value.as_f64().is_some_and(|value| range.contains(&value));
    Refusal::unless(ok, name, "the value is not within the range of the API")
}
