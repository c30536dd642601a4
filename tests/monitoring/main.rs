//! What is shipped for monitoring: files that parse, resolve and say what they claim.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

#[path = "../logql/asked.rs"]
mod asked;
mod logql;
