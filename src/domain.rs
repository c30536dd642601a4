//! The pure core of an engine: commands are decided, events are folded into a state.
//!
//! [`decide`](decide::decide) turns a state and a command into events, and
//! [`evolve`](evolve::evolve) folds an event into a state. No other code changes a state, so the
//! state is a function of the log.
//!
//! **Invariant.** No async, clock, randomness, IO, tracing or environment variables, and no
//! arithmetic whose result depends on the CPU: the same log gives the same state, bit for bit, on
//! every machine.

pub mod budget;
pub mod command;
pub mod confidence;
pub mod context;
pub mod decide;
pub mod digest;
pub mod embedders;
pub mod event;
pub mod evolve;
pub mod ids;
pub mod keys;
pub mod lattice;
pub mod moral;
pub mod permission;
pub mod policy;
pub mod rhythm;
pub mod role;
pub mod rules;
pub mod state;
pub mod synaptic;
pub mod vector;
