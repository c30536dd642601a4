//! MLSDM: a governed memory server for applications that use a large language model.
//!
//! Each request is one *step*: the engine scores the prompt against an adaptive moral threshold, adds
//! context from a bounded memory, calls the model and remembers the answer. Each step is appended as
//! events to a log before its answer is complete, and the state of an engine is a fold over its log.
//!
//! # As a library
//!
//! [`Engine`] is one governed memory inside a program, without a server. It needs a model and a path for
//! its log; `examples/standalone.rs` is a complete program.
//!
//! ```no_run
//! use mlsdm::{Engine, Generate};
//!
//! # async fn program() -> Result<(), mlsdm::Error> {
//! let engine = Engine::builder()
//!     .llm(|request| async move { Ok(format!("{} messages", request.messages.len())) })
//!     .open("sqlite://memory.db")
//!     .await?;
//! let step = engine.generate(Generate::new("Hello").moral_value(0.8)).await?;
//! # engine.close().await
//! # }
//! ```
//!
//! The library consists of [`Engine`], [`Builder`], [`Generate`], [`Answer`], [`StateReport`], [`Policy`],
//! [`Embedder`], [`Error`], [`StepError`] and the module [`llm`]. All other modules are internals of the
//! server; they are public for its binaries and tests only and may change in any version.
//!
//! # Modules
//!
//! Imports point one way: `cli → startup → http → engine → (store, llm, embed, score) → domain`.
//!
//! - [`domain`] is pure. [`decide`](domain::decide::decide) turns a state and a command into events,
//!   [`evolve`](domain::evolve::evolve) folds an event into a state.
//! - [`store`] has the event log on PostgreSQL and SQLite: the batching [writer](store::writer), the hash
//!   [chain](store::chain), encrypted contents and their [keys](store::keys), and [replay](store::replay).
//! - [`engine`] has the engines in memory and the [step](engine::step).
//! - [`llm`], [`embed`] and [`score`] have the model providers, the embedders and the scorers.
//! - [`auth`] turns a credential into a principal with roles and permissions.
//! - [`startup`] builds all parts from the [configuration](config); [`http`] serves them.
//! - [`metrics`] has metric primitives; [`telemetry`] has logs and traces.
//!
//! The README describes the architecture, its invariants and the way of a step through these modules.

#[doc(hidden)]
pub mod auth;
#[doc(hidden)]
pub mod breaker;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod domain;
#[doc(hidden)]
pub mod embed;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod ids;
#[doc(hidden)]
pub mod inflight;
#[doc(hidden)]
pub mod json;
#[doc(hidden)]
pub mod lifecycle;
#[doc(hidden)]
pub mod limiter;
pub mod llm;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod rates;
#[doc(hidden)]
pub mod score;
#[doc(hidden)]
pub mod standalone;
#[doc(hidden)]
pub mod startup;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod testkit;
#[doc(hidden)]
pub mod tls;
#[doc(hidden)]
pub mod trust;

pub use domain::policy::Policy;
pub use embed::Embedder;
pub use engine::{Answer, StateReport, StepError};
pub use standalone::{Builder, Engine, Error, Generate};
