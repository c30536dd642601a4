//! Entries of `llm.providers`: further providers, each with a name.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    LlmProvider,
    providers::{AnswerRoutes, MaxTokensField, given, is_url},
};
use crate::config::error::{Fault, check};

/// Maximum number of providers: each has metrics of its own.
const PROVIDERS_MAX: usize = 100;

/// Maximum number of headers of a provider.
const HEADERS_MAX: usize = 32;

/// A provider with a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedProvider {
    /// The name that models and fallbacks refer to.
    pub name: String,
    /// The API of the server.
    pub dialect: ProviderDialect,
    /// URL of the API, as in `llm.openai` and `llm.anthropic`.
    pub base_url: String,
    #[serde(default)]
    api_key: SecretString,
    /// Headers of every request. Their values may be credentials.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// `api-version` of Azure; empty for other servers.
    #[serde(default)]
    pub api_version: String,
    /// Version of Anthropic's API.
    #[serde(default = "version")]
    pub version: String,
    /// The request field that limits the length of a response.
    #[serde(default)]
    pub max_tokens_field: MaxTokensField,
    /// True if the server has the route `/responses` beside chat completions.
    #[serde(default)]
    responses: bool,
}

/// The API of a named provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderDialect {
    /// Chat completions.
    Openai,
    /// Messages.
    Anthropic,
    /// Responses of `OpenAI`, and no chat completions.
    Responses,
}

fn version() -> String {
    "2023-06-01".to_owned()
}

impl NamedProvider {
    /// The API key, if one is given.
    pub fn key(&self) -> Option<&SecretString> {
        given(&self.api_key)
    }

    /// The routes of a server in a dialect of `OpenAI`.
    pub fn routes(&self) -> AnswerRoutes {
        match self.dialect {
            ProviderDialect::Responses => AnswerRoutes::Responses,
            ProviderDialect::Openai | ProviderDialect::Anthropic if self.responses => {
                AnswerRoutes::Both
            }
            ProviderDialect::Openai | ProviderDialect::Anthropic => AnswerRoutes::Chat,
        }
    }
}

/// Checks all entries. No error holds a key: the message shows none of their values.
pub(super) fn validate(providers: &[NamedProvider]) -> Result<(), Fault> {
    let key = "llm.providers";
    check(providers.len() <= PROVIDERS_MAX, key, "a list of at most 100 tables")?;
    for (index, provider) in providers.iter().enumerate() {
        let name = &provider.name;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let named = (1..=64).contains(&name.len()) && name.bytes().all(plain);
        let is_new = matches!(LlmProvider::from(name.clone()), LlmProvider::Named(_))
            && providers[..index].iter().all(|earlier| earlier.name != *name);
        check(named && is_new, key, NAME)?;
        check(is_url(&provider.base_url), key, "tables whose base_url is a URL without a query")?;
        let header = |(name, value): (&String, &SecretString)| {
            HeaderName::from_bytes(name.as_bytes()).is_ok()
                && HeaderValue::from_str(value.expose_secret()).is_ok()
        };
        let valid = provider.headers.len() <= HEADERS_MAX && provider.headers.iter().all(header);
        check(valid, key, "tables with at most 32 headers, of valid names and values")?;
        let version =
            |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        let versions = version(&provider.version) && version(&provider.api_version);
        check(versions, key, "tables whose versions are such as 2023-06-01")?;
    }
    Ok(())
}

const NAME: &str = "tables whose names are different, 1 to 64 characters of a-z, 0-9, '-' and '_', and \
                    not local_stub, openai, anthropic or replay";
