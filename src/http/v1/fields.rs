//! Reads the fields of requests in the dialects of providers.

use std::io;

use actix_web::HttpRequest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    http::{Code, Problem},
    json::{self, BorrowedFields, Fields},
    llm::{self, Dialect, FieldFault, Llm, turn},
};

/// Longest value of a header that passes to a provider, in bytes.
const HEADER_MAX: usize = 4_096;

/// Removes a field and returns its value. The error names the field and does not quote it.
pub(super) fn take<T: DeserializeOwned, E: serde::de::Error>(
    fields: &mut Fields,
    name: &'static str,
) -> Result<Option<T>, E> {
    fields.take(name).map_err(|error| invalid(name, &error))
}

/// The value of a field of a body that is not copied.
pub(super) fn borrow<'t, T: Deserialize<'t>, E: serde::de::Error>(
    fields: &BorrowedFields<'t>,
    name: &'static str,
) -> Result<Option<T>, E> {
    fields.read(name).map_err(|error| invalid(name, &error))
}

/// The value of a field, which stays.
pub(super) fn read<T: DeserializeOwned, E: serde::de::Error>(
    fields: &Fields,
    name: &'static str,
) -> Result<Option<T>, E> {
    fields.read(name).map_err(|error| invalid(name, &error))
}

fn invalid<E: serde::de::Error>(name: &str, error: &serde_json::Error) -> E {
    let message = error.to_string();
    // the last occurrence: the quoted input may contain the same text
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    let expected = expected.and_then(|text| text.split(" at line ").next());
    let expected = expected.unwrap_or("another value");
    E::custom(format!("invalid value, expected {expected} in the field `{name}`"))
}

/// Checks that the fields may pass to a provider.
pub(super) fn check(dialect: Dialect, fields: &Fields, llm: &Llm) -> Result<(), Problem> {
    let detail = match llm::check_fields(dialect, fields, &llm.passed().fields) {
        Ok(()) => return Ok(()),
        Err(FieldFault::Denied(name)) => format!(
            "the field `{name}` would change where the request goes; this server chooses the provider \
             and its credential"
        ),
        Err(FieldFault::Unpublished(name)) => {
            let field =
                name.map_or_else(|| "a field".to_owned(), |name| format!("the field `{name}`"));
            format!(
                "{field} is not a field of the provider's published API; if the provider takes it, add \
                 it to llm.pass_fields"
            )
        }
    };
    Err(Problem::new(Code::BadField, detail))
}

/// The headers of a request that pass to a provider of the same dialect.
pub(super) fn headers(
    request: &HttpRequest,
    dialect: Dialect,
    llm: &Llm,
) -> Result<Vec<(String, String)>, Problem> {
    let own: &[&str] = match dialect {
        Dialect::Anthropic => &["anthropic-beta", "anthropic-version"],
        Dialect::OpenAi | Dialect::Responses => {
            &["openai-beta", "openai-organization", "openai-project"]
        }
    };
    let mut passed = Vec::new();
    for name in own.iter().copied().chain(llm.passed().headers.iter().map(String::as_str)) {
        // a header that occurs several times is a list
        let values: Vec<&str> =
            request.headers().get_all(name).filter_map(|value| value.to_str().ok()).collect();
        let value = values.join(",");
        if value.len() > HEADER_MAX {
            let detail = format!("{name} is longer than {HEADER_MAX} bytes");
            return Err(Problem::new(Code::BadHeader, detail));
        }
        if !value.is_empty() {
            passed.push((name.to_owned(), value));
        }
    }
    Ok(passed)
}

/// The text of a message: its content, or its text parts joined by line breaks.
pub(super) fn text_of(content: Option<&RawValue>) -> Result<String, &'static str> {
    let Some(content) = content else { return Ok(String::new()) };
    match content.get().as_bytes().first() {
        Some(b'n') => Ok(String::new()),
        Some(b'"') => json::read(content).map_err(|_| "content is not a valid string"),
        Some(b'[') => {
            let parts: Vec<BorrowedFields<'_>> =
                json::read(content).map_err(|_| "a part is not an object with unique names")?;
            let mut texts = Vec::new();
            for part in &parts {
                if part.text("type").ok().flatten().as_deref() == Some("text") {
                    let text = part.read::<String>("text").ok().flatten();
                    texts.push(text.ok_or("a part of type text has no text")?);
                }
            }
            Ok(turn::joined(texts, "\n"))
        }
        _ => Err("content must be a string or a list of parts"),
    }
}

/// True if a message has nothing but a role and a text, written as this server writes it.
pub(super) fn is_plain(raw: &RawValue, role: &str, text: &str) -> bool {
    #[derive(Serialize)]
    struct Plain<'a> {
        role: &'a str,
        content: &'a str,
    }
    let mut rest = Rest(raw.get().as_bytes());
    role != "developer"
        && serde_json::to_writer(&mut rest, &Plain { role, content: text }).is_ok()
        && rest.0.is_empty()
}

/// Compares what is written with a text, and fails at the first difference.
struct Rest<'t>(&'t [u8]);

impl io::Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
