//! The shipped deployment: image, compose files, manifests, documents. What can run on one machine is run
//! in real containers; what cannot (a Kubernetes API server, Grafana, Loki, Tempo) is checked as a file.
//!
//! Containers need root, podman and Debian packages, which `.ci/test` installs. A test that misses one
//! fails and names the package.

#[cfg(test)]
mod database;
