//! The middleware, in the order in which a request passes it.
//!
//! A response passes the same list from the bottom to the top. [`create_app`](super::create_app) in
//! `src/http/app.rs` registers the list in reverse, because actix runs the middleware that was added
//! last first.

/// 1. Assigns ids, opens the trace span and the log span, catches panics, writes error bodies, adds
///    the security headers, records metrics and writes the access log.
pub(super) mod request_context;

/// The headers that [`request_context`] adds to every response, also to those of a panic.
mod security_headers;

/// 2. Answers CORS preflight requests and adds CORS headers.
pub(super) mod cors;

/// 3. Limits the time in which the response must begin (504). Steps have limits of their own.
pub(super) mod time_limit;

/// 4. Verifies the credential of the request. Does not reject: a public route needs no identity.
pub(super) mod authentication;

/// 5. Rejects requests above the rate limit of their caller (429).
pub(super) mod rate_limit;

/// 6. Rejects requests above the concurrency limit of their kind, and all while the server stops (503).
pub(super) mod concurrency;

/// 7. Limits the time in which the request body must arrive (408).
pub(super) mod body_timeout;
