//! Configuration: defaults < file < environment < flags, each value with its source.
//!
//! `config/default.toml` is embedded: it holds the default of every key and documents it
//! (`deploy/CONFIGURATION.md` is generated from it). The type of a default is the type of its key, so the
//! text of a variable is parsed as that type, and a secret of digits stays a string. Settings for
//! protections that are not implemented yet are refused, never ignored (`unbuilt`).
//!
//! The module is plain data and imports nothing but [`domain`](crate::domain). Deliberately not here: the
//! process environment, which callers pass in, and the conversions to the settings of engine, store, llm,
//! embed and auth, which are in [`startup`](crate::startup); `http::server`, `tls` and `telemetry` read
//! their section directly.

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
mod optional;
mod rates;
mod raw;
mod schema;
mod source;
mod suggest;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod traces;
mod unbuilt;

use std::path::PathBuf;

pub use api::{Api, EndUserNames, ForwardedHeader, MoralRefusal};
pub use audit::Audit;
pub use auth::{ApiKeys, Auth, AuthMode, CertificateEntry, Oidc, RoleEntry};
pub use database::Database;
pub use embeddings::{Embeddings, EmbeddingsProvider};
pub use engine::Engine;
pub use env::NAMED as NAMED_VARIABLES;
pub use error::{ConfigError, Invalid, Refusal};
pub use limits::{BODY_COPIES, Limits};
pub use llm::{
    AnswerRoutes, Anthropic, Choice, EngineChoice, Llm, LlmBreaker, LlmBulkhead, LlmProvider,
    LlmRetry, MaxTokensField, ModelEntry, ModelPrice, ModelTemperature, NamedProvider, OpenAi,
    ProviderDialect, Replay, Stub,
};
pub use logging::{Format, Level, Logging};
pub use merge::{DEFAULT_TOML, Setting};
pub use mlsdm::Mlsdm;
pub use monitoring::Monitoring;
pub use rates::{RateLimits, RoleRate};
pub use raw::{Flag, SECRETS, Source};
pub use schema::Config;
pub use source::read_document;
pub use tls::{ClientAuth, Tls, TlsVersion};
pub use traces::{TraceExporter, TraceSampler, Traces};

use error::{Fault, check};
use merge::Settings;
use raw::Raw;

/// The layers above the embedded defaults.
#[derive(Clone, Debug)]
pub struct Sources<E> {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// The directory in which `config.yaml` and `config.toml` are searched when no file is named.
    pub dir: PathBuf,
    /// Environment variables.
    pub env: E,
    /// Command line flags.
    pub flags: Vec<Flag>,
}

const ANY_MODEL: &str = "llm.models is empty: requests may name any model of a provider that charges \
                         for it; list the models that they may name";

/// A valid configuration, with the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Every key with its value and source, by name.
    pub settings: Vec<Setting>,
    /// Warnings about settings that have no effect.
    pub warnings: Vec<String>,
}

impl Config {
    /// Merges all layers and validates the result.
    ///
    /// Reads the configuration file and the files of `*_FILE` secrets, no other file.
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
        warnings.extend(unbuilt::without_effect(&settings, config.embeddings.unused_keys()));
        warnings.extend(config.llm.allows_any_model().then(|| ANY_MODEL.to_owned()));
        let embedder = config.embeddings.embedder_id();
        let (id, from) = (embedder.id.as_str().into(), "embeddings.provider");
        settings.derive("mlsdm.policy.embedder.id", id, from);
        settings.derive("mlsdm.policy.embedder.version", embedder.version.into(), from);
        config.mlsdm.policy.embedder = embedder;
        let enabled_given = settings.source("auth.oidc.enabled") != Some(&Source::Default);
        config.auth.validate_enabled(enabled_given).map_err(|fault| settings.explain(fault))?;
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
        let verified = self.auth.certificates.is_empty() || self.tls.client_ca().is_some();
        check(verified, "auth.certificates", "empty unless tls.client_ca is set")?;
        self.auth.validate(self.api.host)
    }
}
