//! The HTTP frame: one app factory, one error shape, and what surrounds every request.
//!
//! A handler returns its answer or a [`Problem`]; everything else (ids, headers, the access line,
//! limits, errors of the framework) happens here. Deliberately not here: SQL, and decisions.

pub mod access;
pub mod app;
pub mod caller;
mod carried;
pub mod client;
mod cors;
pub mod endpoint;
pub mod envelope;
pub mod errors;
mod failures;
pub mod governance;
mod headers;
pub mod health;
pub mod identity;
pub mod line;
pub mod metrics;
pub mod openapi;
mod parameters;
pub mod problem;
pub mod rate;
pub mod request;
pub mod server;
mod slow;
pub mod stream;
#[cfg(test)]
mod tests;
mod trace;
pub mod v1;

pub use app::{AppState, create_app};
pub use endpoint::Endpoint;
pub use identity::Identity;
pub use problem::{Code, Problem};
pub use request::RequestIds;
