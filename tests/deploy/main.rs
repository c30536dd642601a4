//! The shipped deployment: image, compose files, manifests, documents. What can run on one machine is run
//! in real containers; what cannot (a Kubernetes API server, Grafana, Loki, Tempo) is checked as a file.
//!
//! Containers need root, podman and Debian packages, which `.ci/test` installs. A test that misses one
//! fails and names the package.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod canary;
mod compose;
mod containers;
mod database;
mod database_tls;
mod documents;
mod guide;
mod helm;
mod image;
mod kubernetes;
mod lambda;
mod linters;
mod manifests;
mod migration;
mod pgbackrest;
mod pods;
mod resolver;
mod rolling;
mod scale;
mod serverless;
mod slo;
mod supply_chain;
mod systemd;
mod workflows;

use std::path::{Path, PathBuf};

/// A path in the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
