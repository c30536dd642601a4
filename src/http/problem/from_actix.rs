//! Converts errors of the framework to problems: invalid bodies, queries and paths.
//!
//! A parser's message may quote the body and thus a prompt. Only the part about what was expected is
//! sent to the client.

use std::{
    future::{Ready, ready},
    io::ErrorKind,
};

use actix_web::{
    HttpRequest, HttpResponse,
    error::{PathError, PayloadError, QueryPayloadError},
    web::{PathConfig, QueryConfig},
};
use serde_json::error::Category;

use super::{Code, Problem};
use crate::domain::ids::{EngineId, InvalidEngineId};

/// Longest field name that an error repeats, in bytes.
const NAME_MAX: usize = 64;

/// Errors of query strings.
pub(in crate::http) fn query() -> QueryConfig {
    QueryConfig::default().error_handler(|error, _| {
        let QueryPayloadError::Deserialize(error) = &error else {
            return Problem::new(
                Code::BadParameter,
                "the query string cannot be parsed; check its percent-encoding",
            )
            .into();
        };
        Problem::new(Code::BadParameter, expectation(&error.to_string())).into()
    })
}

/// Errors of path parameters.
pub(in crate::http) fn path() -> PathConfig {
    PathConfig::default().error_handler(|error, request| path_problem(&error, request).into())
}

/// Parts of paths of `OpenAI`'s and Anthropic's APIs that this server does not have.
const NOT_SERVED: [&str; 20] = [
    "assistants",
    "audio",
    "batches",
    "chatkit",
    "complete",
    "containers",
    "conversations",
    "evals",
    "files",
    "fine_tuning",
    "images",
    "organization",
    "organizations",
    "realtime",
    "rerank",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// Answers requests whose path has no route.
pub(in crate::http) fn not_found(path: &str) -> Ready<Result<HttpResponse, Problem>> {
    let known = NOT_SERVED.iter().find(|part| path.split('/').any(|own| own == **part));
    let detail = match known {
        Some(part) => format!(
            "this server does not serve {part}; it serves chat/completions, completions, responses, \
             messages, embeddings, moderations and models, and /openapi.json lists all routes"
        ),
        None => "no route has this path; /openapi.json lists all routes".to_owned(),
    };
    ready(Err(Problem::new(Code::NotFound, detail)))
}

/// The body exceeds `limits.body_bytes`.
pub(in crate::http) fn too_large(bytes_max: usize) -> Problem {
    let detail =
        format!("the body is larger than {bytes_max} bytes; send less, or raise limits.body_bytes");
    Problem::new(Code::PayloadTooLarge, detail)
}

/// The body has no media type of JSON.
pub(in crate::http) fn not_json() -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        "the body is not declared as JSON; send the header Content-Type: application/json",
    )
}

/// The body did not arrive before its deadline.
pub(in crate::http) fn timed_out() -> Problem {
    Problem::new(
        Code::BodyTimedOut,
        "the body did not arrive in time; send it together with the head",
    )
}

/// The body is not JSON, or not of the expected shape.
pub(in crate::http) fn unparsable(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::new(Code::BadField, expectation(&error.to_string())),
        Category::Syntax | Category::Eof | Category::Io => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("invalid JSON at line {line} column {column}");
            Problem::new(Code::BadJson, detail)
        }
    }
}

/// The body did not arrive completely.
pub(in crate::http) fn unreadable(error: &PayloadError) -> Problem {
    let is_late = |error: &std::io::Error| error.kind() == ErrorKind::TimedOut;
    if matches!(error, PayloadError::Io(error) if is_late(error)) {
        return timed_out();
    }
    Problem::new(
        Code::BadRequest,
        "the body could not be read completely; check Content-Length and Content-Encoding",
    )
}

fn path_problem(error: &PathError, request: &HttpRequest) -> Problem {
    let engine = request.match_info().get("engine");
    if engine.is_some_and(|engine| engine.parse::<EngineId>().is_err()) {
        return Problem::new(Code::InvalidEngineId, InvalidEngineId.to_string());
    }
    let PathError::Deserialize(error) = error else {
        return Problem::new(
            Code::BadParameter,
            "the path cannot be parsed; check its percent-encoding",
        );
    };
    Problem::new(Code::BadParameter, expectation(&error.to_string()))
}

/// The part of a parser's message that does not quote the input: `expected f64 at line 1 column 9`.
fn expectation(message: &str) -> String {
    let name = |prefix| {
        let (name, _) = message.strip_prefix(prefix)?.split_once('`')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        (name.len() <= NAME_MAX && name.bytes().all(plain)).then_some(name)
    };
    if let Some(missing) = name("missing field `") {
        return format!("the field `{missing}` is missing");
    }
    // the last occurrence: the quoted input may contain the same text
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    let unknown = message.starts_with("unknown field");
    match (name("unknown field `"), expected) {
        (Some(field), Some(known)) => format!("unknown field `{field}`, expected {known}"),
        (Some(field), None) => format!("unknown field `{field}`"),
        (None, Some(known)) if unknown => format!("unknown field, expected {known}"),
        (None, Some(expected)) => format!("wrong type or value: expected {expected}"),
        (None, None) => "a value cannot be parsed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::expectation;

    #[test]
    fn an_error_never_quotes_the_input() {
        let cases = [
            (
                "invalid type: string \"a secret, expected nothing\", expected f64 at line 1 column 9",
                "wrong type or value: expected f64 at line 1 column 9",
            ),
            (
                "unknown field `promt`, expected `prompt`",
                "unknown field `promt`, expected `prompt`",
            ),
            ("unknown field `my secret`, expected `prompt`", "unknown field, expected `prompt`"),
            ("missing field `prompt` at line 1 column 2", "the field `prompt` is missing"),
            ("a secret", "a value cannot be parsed"),
        ];
        for (message, shown) in cases {
            assert_eq!(expectation(message), shown);
        }
    }
}
