//! MLSDM: a governed cognitive memory server between applications and large language models.
//!
//! Each request is one *step*: scored against an adaptive moral threshold, given context from a
//! bounded memory, answered by a model, and remembered. Every step is appended as events to a log
//! before its answer is returned, and an engine's whole state is a fold over that log.
//!
//! # Map
//!
//! Dependencies point one way: `http, cli → engine → (store, llm, embed, score) → domain`.
//!
//! - [`domain`]: pure. [`decide`](domain::decide::decide) turns a state and a command into events,
//!   [`evolve`](domain::evolve::evolve) folds an event into a state.
//! - [`store`]: the event log on PostgreSQL and SQLite: the batching [writer](store::writer), the
//!   hash [chain](store::chain), sealed contents and their [keys](store::keys), [replay](store::replay).
//! - [`engine`]: the imperative shell: engines in memory and the [step](engine::step).
//! - [`llm`], [`embed`], [`score`]: who answers, what makes vectors, what scores prompts.
//! - [`auth`]: who is calling, and what they may do.
//! - [`http`], [`cli`], [`standalone`]: the faces. [`config`], [`telemetry`], [`lifecycle`]: at the side.
//!
//! # As a library
//!
//! [`Engine`] is one governed memory inside a program, without a server: give it a model and a
//! place for its log, and ask. `examples/standalone.rs` is a whole program.
//!
//! ```no_run
//! use mlsdm::{Engine, Generate};
//!
//! # async fn program() -> Result<(), mlsdm::Error> {
//! let engine = Engine::builder()
//!     .llm(|request| async move { Ok(format!("asked for {} tokens", request.max_tokens)) })
//!     .open("sqlite://memory.db")
//!     .await?;
//! let step = engine.generate(Generate::new("Hello").moral_value(0.8)).await?;
//! # engine.close().await
//! # }
//! ```
//!
//! # Invariants
//!
//! - The same log gives the same state, bit for bit, on any CPU.
//! - A complete answer that was returned is in the log; a request that reached a model is in the
//!   log even if the process died meanwhile.
//! - No lock or transaction is held across a call to a model.
//! - completed + rejected + failed + open = steps; the first ending of a step wins.
//! - One data subject's words never become another's context unless the policy says so aloud.
//! - Prompt and answer text never reaches a log line or an error message.
//! - Every queue, batch, page and cache has a named limit and a stated behaviour when full.

pub mod auth;
pub mod breaker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod embed;
pub mod engine;
pub mod http;
pub mod ids;
pub mod lifecycle;
pub mod limiter;
pub mod llm;
pub mod metrics;
pub mod rates;
pub mod score;
pub mod standalone;
pub mod startup;
pub mod store;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod tls;

pub use engine::{Answer, StateReport};
pub use standalone::{Builder, Engine, Error, Generate};
