//! Configuration: defaults < file < environment < flags, each value with its source.
//!
//! `config/default.toml` is embedded, is the default and documents every key. Its values also give
//! each key its type, so a variable's text is read as what the key is: an all-digit secret stays a
//! text. What protects and is not built yet is refused, never ignored (`unbuilt`).
//! Deliberately not here: reading the process environment; callers pass it in.

mod api;
mod audit;
mod auth;
mod database;
mod embeddings;
mod engine;
mod env;
mod error;
mod limits;
mod llm;
mod logging;
mod merge;
mod mlsdm;
mod monitoring;
mod rates;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod traces;
mod unbuilt;

use std::path::PathBuf;

use serde::Deserialize;

pub use api::{Api, ForwardedHeader, MoralRefusal};
pub use audit::Audit;
pub use auth::{ApiKeys, Auth, AuthMode, Oidc};
pub use database::Database;
pub use embeddings::{Embeddings, EmbeddingsProvider};
pub use engine::Engine;
pub use error::{ConfigError, Invalid, Refusal};
pub use limits::Limits;
pub use llm::{
    Anthropic, Choice, EngineChoice, Llm, LlmBreaker, LlmBulkhead, LlmProvider, LlmRetry,
    MaxTokensField, ModelPrice, OpenAi, Replay, Stub,
};
pub use logging::{Format, Level, Logging};
pub use merge::Setting;
pub use mlsdm::Mlsdm;
pub use monitoring::Monitoring;
pub use rates::RateLimits;
pub use source::{Source, read_document};
pub use tls::{ClientAuth, Tls, TlsVersion};
pub use traces::{TraceExporter, TraceSampler, Traces};

use error::{Fault, check};
use merge::{Raw, Settings};

/// Every setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The policy of engines created from this configuration.
    pub mlsdm: Mlsdm,
    /// Where the log is.
    pub database: Database,
    /// Engines in memory.
    pub engine: Engine,
    /// Verifying the log.
    pub audit: Audit,
    /// The model.
    pub llm: Llm,
    /// The embedder.
    pub embeddings: Embeddings,
    /// The HTTP server.
    pub api: Api,
    /// Limits of queues, batches and bodies.
    pub limits: Limits,
    /// Logs.
    pub logging: Logging,
    /// Metrics and probes.
    pub monitoring: Monitoring,
    /// Traces.
    pub traces: Traces,
    /// Who may call.
    pub auth: Auth,
    /// Transport security.
    pub tls: Tls,
}

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as typed, for messages.
    pub name: String,
    /// The key it sets.
    pub key: String,
    /// The value as typed.
    pub value: String,
}

/// Where values come from, beside the embedded defaults.
#[derive(Clone, Debug)]
pub struct Sources<E> {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// Where `config.yaml` and `config.toml` are looked for when no file is named.
    pub dir: PathBuf,
    /// Environment variables.
    pub env: E,
    /// Command line flags.
    pub flags: Vec<Flag>,
}

/// A configuration that may be used, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Every key with its value and source, by name.
    pub settings: Vec<Setting>,
    /// What was given and has no effect.
    pub warnings: Vec<String>,
}

impl Config {
    /// Merges all sources and validates the outcome.
    ///
    /// Reads the configuration file and the files of `*_FILE` secrets, nothing else.
    pub fn load<E>(sources: Sources<E>) -> Result<Loaded, ConfigError>
    where
        E: IntoIterator<Item = (String, String)>,
    {
        let mut settings = Settings::defaults()?;
        let env = env::read(sources.env);
        if let Some(path) = source::find(sources.file, env.config_file, &sources.dir)? {
            settings.apply(source::read(&path)?)?;
        }
        settings.apply(env.values)?;
        settings.apply(sources.flags.into_iter().map(Raw::from).collect())?;
        let (refusals, mut warnings) = unbuilt::check(&settings);
        let refusals: Vec<_> = env.refusals.into_iter().chain(refusals).collect();
        if !refusals.is_empty() {
            return Err(ConfigError::NotBuilt(refusals));
        }
        warnings.extend(env.warnings);
        let mut config = settings.build()?;
        warnings.extend(unbuilt::without_effect(&settings, config.embeddings.unread()));
        let embedder = config.embeddings.embedder_id();
        let (id, from) = (embedder.id.as_str().into(), "embeddings.provider");
        settings.derive("mlsdm.policy.embedder.id", id, from);
        settings.derive("mlsdm.policy.embedder.version", embedder.version.into(), from);
        config.mlsdm.policy.embedder = embedder;
        let said = settings.source("auth.oidc.enabled") != Some(&Source::Default);
        config.auth.check_enabled(said).map_err(|fault| settings.explain(fault))?;
        config.validate().map_err(|fault| settings.explain(fault))?;
        Ok(Loaded { config, settings: settings.into_rows(), warnings })
    }

    fn validate(&self) -> Result<(), Fault> {
        self.mlsdm.validate()?;
        self.database.validate()?;
        self.engine.validate()?;
        self.audit.validate()?;
        self.llm.validate()?;
        self.embeddings.validate(&self.mlsdm.policy)?;
        self.api.validate()?;
        self.limits.validate()?;
        self.logging.validate()?;
        self.monitoring.validate()?;
        self.traces.validate()?;
        self.tls.validate()?;
        let asked = self.auth.certificates.is_empty() || self.tls.client_ca().is_some();
        check(asked, "auth.certificates", "empty as long as tls.client_ca is not set")?;
        self.auth.validate(self.api.host)
    }
}
