//! The real binary, from outside: killed, starved, doubled, lied to.
//!
//! Each test starts `mlsdm serve` on a database of its own and looks at it only as a caller or an
//! operator could: by HTTP, by the command line, and by SQL where somebody tampers. Not here: what
//! can be shown in one process, which is faster there.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

#[path = "../logql/asked.rs"]
mod asked;
mod bad_input;
mod browser;
mod cli;
mod compatible;
mod damage;
mod disk_full;
mod doctor;
mod drain;
mod history;
mod idempotency;
mod keys;
mod kill;
mod load;
mod login;
mod logs;
mod loki;
mod markers;
mod metrics;
mod otlp;
mod outage;
mod panics;
mod pooler;
mod prometheus;
mod providers;
mod real;
mod replicas;
mod restart;
mod schema;
mod sdk;
mod sinks;
mod slow;
mod streaming;
mod subjects;
mod tls;
mod traces;

/// Whether the long tier was asked for (`.ci/test --extended`).
fn extended() -> bool {
    std::env::var_os("MLSDM_TEST_EXTENDED").is_some_and(|value| value == "1")
}
