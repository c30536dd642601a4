//! Endpoints and keys of the providers.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::{
    config::error::{Fault, check},
    domain::ids::EngineId,
};

/// URL of the `OpenAI` API.
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// URL of the Anthropic API.
const ANTHROPIC_URL: &str = "https://api.anthropic.com";

/// `OpenAI` or a compatible server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAi {
    /// URL of the API without `/chat/completions`.
    pub base_url: String,
    api_key: SecretString,
    /// `api-version` of Azure; empty for other servers.
    pub api_version: String,
    /// The request field that limits the length of a response.
    pub max_tokens_field: MaxTokensField,
    responses: ResponsesRoute,
}

/// Whether a server has the route `/responses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponsesRoute {
    /// `OpenAI` has it, another server does not.
    #[default]
    Auto,
    /// The server has it.
    Always,
    /// The server does not have it.
    Never,
    /// The server has it, and no chat completions.
    Only,
}

/// The routes of a server for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerRoutes {
    /// `/chat/completions`.
    Chat,
    /// `/chat/completions` and `/responses`.
    Both,
    /// `/responses`.
    Responses,
}

/// The request field that limits the length of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_tokens`, which all servers support.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, which reasoning models of `OpenAI` require.
    MaxCompletionTokens,
}

/// Anthropic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anthropic {
    /// URL of the API without `/v1/messages`.
    pub base_url: String,
    api_key: SecretString,
    /// Version of the API: a date.
    pub version: String,
}

/// Responses recorded in an event log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    database: SecretString,
    /// The engine whose log contains the responses.
    pub engine: EngineId,
}

/// The built-in stub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    latency_ms: u64,
    word_latency_ms: u64,
}

impl OpenAi {
    /// The API key, if one is given.
    pub fn key(&self) -> Option<&SecretString> {
        given(&self.api_key)
    }

    /// The routes of the server.
    pub fn routes(&self) -> AnswerRoutes {
        match self.responses {
            ResponsesRoute::Auto if has_host_of(&self.base_url, OPENAI_URL) => AnswerRoutes::Both,
            ResponsesRoute::Always => AnswerRoutes::Both,
            ResponsesRoute::Auto | ResponsesRoute::Never => AnswerRoutes::Chat,
            ResponsesRoute::Only => AnswerRoutes::Responses,
        }
    }

    pub(super) fn validate(&self, used: bool) -> Result<(), Fault> {
        check(is_url(&self.base_url), "llm.openai.base_url", URL)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let version = self.api_version.chars().all(plain);
        check(version, "llm.openai.api_version", "a version such as 2024-10-21")?;
        let missing = used && self.key().is_none() && has_host_of(&self.base_url, OPENAI_URL);
        check(!missing, "llm.openai.api_key", OPENAI_KEY_MISSING)
    }
}

impl Anthropic {
    /// The API key, if one is given.
    pub fn key(&self) -> Option<&SecretString> {
        given(&self.api_key)
    }

    pub(super) fn validate(&self, used: bool) -> Result<(), Fault> {
        check(is_url(&self.base_url), "llm.anthropic.base_url", URL)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let version = !self.version.is_empty() && self.version.chars().all(plain);
        check(version, "llm.anthropic.version", "a version such as 2023-06-01")?;
        let missing = used && self.key().is_none() && has_host_of(&self.base_url, ANTHROPIC_URL);
        check(!missing, "llm.anthropic.api_key", ANTHROPIC_KEY_MISSING)
    }
}

impl Replay {
    /// The database of the log; none means the server's own.
    pub fn database(&self) -> Option<&SecretString> {
        given(&self.database)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        let fits = |url: &SecretString| known.iter().any(|s| url.expose_secret().starts_with(s));
        let must = "sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME, or not set";
        check(self.database().is_none_or(fits), "llm.replay.database", must)
    }
}

impl Stub {
    /// Delay before the first word.
    pub const fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// Delay between words of a streamed response.
    pub const fn word_latency(&self) -> Duration {
        Duration::from_millis(self.word_latency_ms)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        check(self.latency_ms <= 600_000, "llm.stub.latency_ms", "between 0 and 600000")?;
        check(self.word_latency_ms <= 60_000, "llm.stub.word_latency_ms", "between 0 and 60000")
    }
}

const URL: &str = "a URL such as https://host/v1, without a query";

const OPENAI_KEY_MISSING: &str = "given, as OPENAI_API_KEY or OPENAI_API_KEY_FILE; or set \
                                  llm.openai.base_url to a server that does not need one";

const ANTHROPIC_KEY_MISSING: &str = "given, as ANTHROPIC_API_KEY or ANTHROPIC_API_KEY_FILE; or set \
                                     llm.anthropic.base_url to a server that does not need one";

pub(super) fn given(secret: &SecretString) -> Option<&SecretString> {
    Some(secret).filter(|secret| !secret.expose_secret().is_empty())
}

pub(super) fn is_url(text: &str) -> bool {
    let http = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    reqwest::Url::parse(text).is_ok_and(|url| http(&url) && url.query().is_none())
}

fn has_host_of(url: &str, other: &str) -> bool {
    let host = |url: &str| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned);
    host(url) == host(other)
}
