//! The writer under faults: every command once, every state what its log says.

mod ahead;
mod batches;
mod commits;
mod doubt;
mod keys;
mod replicas;
mod rig;
mod tails;
