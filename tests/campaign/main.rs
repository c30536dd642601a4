//! The fault campaign: replicas of the real binary under load, while processes, databases,
//! networks, disks and clocks fail.
//!
//! Clients record every call ([`client`], [`send`]). After the run the checker ([`check`]) compares
//! the calls with the log: nothing answered is lost, doubled or out of order. [`liveness`] measures
//! what callers and probes notice after each fault. A run prints its row of the table in
//! `deploy/RELIABILITY.md`; with `MLSDM_RELIABILITY=1` it also replaces the row there. The extended
//! tier has all faults, the fast tier a few short ones (see the modules `heavy`).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

mod admin;
mod call;
mod check;
mod client;
mod clock;
mod failover;
mod fleet;
mod kills;
mod liveness;
mod locks;
mod log;
mod model;
mod network;
mod postgres;
mod probe;
mod report;
mod run;
mod send;
mod soak;
mod sqlite;

/// True in the extended tier (`.ci/test --extended`).
fn extended() -> bool {
    std::env::var_os("MLSDM_TEST_EXTENDED").is_some_and(|value| value == "1")
}
