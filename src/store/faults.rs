//! Test hooks in the append path.
//!
//! Every append calls its [`Hooks`] where it begins, inserts and commits. With the feature `testkit`
//! they make the database fail as a test planned it, in ways that a test can neither cause nor wait
//! for. Without the feature `Hooks` is empty and its methods do nothing, so the append path is the same
//! code in both builds.

#[cfg(not(any(test, feature = "testkit")))]
mod inert;
#[cfg(any(test, feature = "testkit"))]
mod injected;

#[cfg(not(any(test, feature = "testkit")))]
pub use inert::Hooks;
#[cfg(any(test, feature = "testkit"))]
pub use injected::{Fault, Faults, Hooks};
