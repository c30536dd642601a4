//! The pure core: it decides and folds.
//!
//! [`decide`](decide::decide) turns a state and a command into events, [`evolve`](evolve::evolve)
//! folds an event into a state; nothing else changes a state, and a state is nothing but that fold.
//!
//! **Invariant.** No async, clock, randomness, IO, tracing or environment in here, and no arithmetic
//! that differs between CPUs: the same log gives the same state, bit for bit, everywhere.

pub mod budget;
pub mod command;
pub mod confidence;
pub mod context;
pub mod decide;
pub mod digest;
pub mod event;
pub mod evolve;
pub mod ids;
pub mod keys;
pub mod lattice;
pub mod moral;
pub mod policy;
pub mod rhythm;
pub mod state;
pub mod synaptic;
pub mod vector;
