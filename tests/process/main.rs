//! Tests of the real binary: crashes, full disks, replicas, hostile clients and damaged databases.
//!
//! Each test starts `mlsdm serve` on its own database and observes it as a caller or an operator
//! does: by HTTP, by the command line, and by SQL where a test tampers with the database. Tests
//! that need only one process are in the other test binaries, where they run faster.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

#[path = "../logql/asked.rs"]
mod asked;
mod backup;
mod bad_input;
mod browser;
mod cli;
mod compatible;
mod damage;
mod descriptors;
mod disk_full;
mod doctor;
mod drain;
mod facts;
mod files;
mod history;
mod idempotency;
mod keys;
mod kill;
mod load;
mod login;
mod logs;
mod loki;
mod markers;
mod memory;
mod metrics;
mod otlp;
mod outage;
mod panics;
mod pooler;
mod prometheus;
mod providers;
mod real;
mod released;
mod replicas;
mod restart;
mod schema;
mod sdk;
mod silence;
mod sinks;
mod slow;
mod starting;
mod streaming;
mod subjects;
mod tls;
mod traces;
mod untrusted;

/// True in the extended tier (`.ci/test --extended`).
fn extended() -> bool {
    std::env::var_os("MLSDM_TEST_EXTENDED").is_some_and(|value| value == "1")
}
