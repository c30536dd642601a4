//! The structure of the crate, read from its source: imports go down the layers, and files form no
//! cycles but those listed with a reason.
//!
//! Every path in the code counts, in `use` declarations and in place; a re-export counts for the file
//! that it leads to, not for the file that re-exports. Test modules are left out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]
#![expect(clippy::wildcard_enum_match_arm, reason = "the enums of syn grow with the language")]

mod crate_graph;
mod cycles;
mod layers;
mod module;
mod paths;
mod sizes;
