//! All sections of the configuration.

use serde::Deserialize;

use super::{
    Api, Audit, Auth, Database, Embeddings, Engine, Limits, Llm, Logging, Mlsdm, Monitoring, Tls,
    Traces,
};

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The policy of engines that are created from this configuration.
    pub mlsdm: Mlsdm,
    /// The database of the event log.
    pub database: Database,
    /// Loading and unloading of engines.
    pub engine: Engine,
    /// Verification of the event logs.
    pub audit: Audit,
    /// The model providers.
    pub llm: Llm,
    /// The embedder.
    pub embeddings: Embeddings,
    /// The HTTP server.
    pub api: Api,
    /// Limits of request bodies, queues and batches.
    pub limits: Limits,
    /// Logs.
    pub logging: Logging,
    /// Metrics and probes.
    pub monitoring: Monitoring,
    /// Traces.
    pub traces: Traces,
    /// Authentication and roles.
    pub auth: Auth,
    /// Transport security.
    pub tls: Tls,
}
