//! The HTTP API.
//!
//! [`routes`] lists the routes, `middleware` the middleware in the order in which it runs. A handler
//! takes an authorized caller ([`EngineCall`](engine::EngineCall) or
//! [`Authorized`](access::Authorized)) and returns its answer or a [`Problem`]. Deliberately not here:
//! SQL, and decisions of the domain.

pub mod access;
pub mod access_log;
mod app;
pub mod body;
mod caller;
pub mod client;
mod departure;
mod docs;
mod draining;
pub mod end_user;
pub mod endpoint;
pub mod engine;
pub mod governance;
pub mod health;
pub mod identity;
pub mod metrics;
mod middleware;
mod native;
pub mod openapi;
mod parameters;
mod paths;
pub mod probe_cache;
pub mod problem;
pub mod request_id;
mod retain_body;
pub mod routes;
pub mod server;
pub mod state;
pub mod stream;
#[cfg(test)]
mod tests;
mod time_limit;
mod trace_context;
mod turned_away;
pub mod v1;

pub use app::create_app;
pub use endpoint::Endpoint;
pub use problem::{Code, Problem};
pub use state::AppState;
