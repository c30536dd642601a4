//! The handlers of version 1 of the API. [`routes`](super::routes) lists their paths.

pub mod admin;
mod bounds;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod engines;
pub mod events;
mod fields;
pub mod generate;
pub mod keys;
pub mod log_level;
pub mod me;
mod memory;
pub mod messages;
pub mod models;
pub mod moderations;
mod prompt;
pub mod responses;
pub mod state;
