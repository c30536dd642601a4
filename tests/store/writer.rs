//! The writer under faults: every command once, every state what its log says.

mod ahead;
mod batches;
mod commits;
mod doubt;
mod fixture;
mod keys;
mod model;
mod replicas;
mod simulation;
mod tails;
