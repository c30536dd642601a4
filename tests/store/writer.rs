//! The writer under faults: every command is in the log once, every state is the fold of the log.

mod ahead;
mod batches;
mod commits;
mod doubt;
mod endings;
mod fixture;
mod forgeries;
mod keys;
mod model;
mod replicas;
mod simulation;
mod tails;

pub(crate) use fixture::create_engine;
