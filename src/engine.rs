//! The imperative shell: engines in memory, and the use cases on them.
//!
//! An engine is a folded state, the writer that appends to its log, and the parts that a step needs:
//! model providers, an embedder, the keys of data subjects. Effects happen here, after the commit
//! that permits them. Deliberately not here: decisions (the domain), SQL (the store), HTTP.
//!
//! [`step`] is the way of one request; `commands` and `queries` are everything else that can be
//! asked of a loaded engine; `registry` loads and unloads engines; `background` and `auditor` run
//! without a request.

mod abandon;
mod append;
mod auditor;
mod background;
mod caches;
mod commands;
mod content;
mod error;
mod facts;
pub mod heartbeat;
mod instance;
mod log;
mod mac_key;
pub mod metrics;
pub mod migrate;
mod open_steps;
mod queries;
mod recorded;
mod refusals;
mod registry;
mod report;
mod settings;
mod started;
pub mod step;
pub mod upgrade;
pub mod verify;

pub use append::Receipt;
pub use error::EngineError;
pub use instance::Engine;
pub use log::{EventFilter, EventPage, EventReport, PAGE_MAX};
pub use metrics::{EngineMetrics, Metrics};
pub use recorded::read_recorded_answers;
pub use registry::Engines;
pub use report::StateReport;
pub use settings::{Pace, Parts, Settings};
pub use started::StartRecord;
pub use step::{
    StepHandle,
    answer::{Answer, StepResponse},
    error::{FailedCall, StepError},
    exchange::{Exchange, ExchangeError, exchange},
    request::{Caller, Chat, StepRequest},
};
