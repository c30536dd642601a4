//! Errors as `application/problem+json` (RFC 9457).
//!
//! A handler returns `Result<_, Problem>`. [`code`](self::Code) is the table of error codes,
//! `from_engine` and `from_actix` convert errors of the layers below and of the framework, and
//! [`envelope`] writes the body in the format of the route's dialect.

mod body;
mod code;
pub mod envelope;
pub(super) mod from_actix;
mod from_engine;
pub mod responses;

pub use body::{PROBLEM_JSON, Problem, ProblemBody, ProviderErrorBody};
pub use code::Code;
pub(super) use from_engine::whole_seconds;
