//! `llm`: model providers, fallbacks, prices and resilience.

mod entries;
mod models;
mod named;
mod provider;
mod providers;
mod resilience;

use std::{collections::BTreeSet, time::Duration};

use reqwest::header::HeaderName;
use serde::Deserialize;

use super::{
    error::{Fault, check},
    optional::optional,
};
pub use entries::{Choice, EngineChoice, ModelPrice};
pub use models::{ModelEntry, ModelTemperature};
pub use named::{NamedProvider, ProviderDialect};
pub use provider::LlmProvider;
pub use providers::{AnswerRoutes, Anthropic, MaxTokensField, OpenAi, Replay, Stub};
pub use resilience::{LlmBreaker, LlmBulkhead, LlmRetry};

/// The model providers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// The provider that is called first.
    pub provider: LlmProvider,
    /// The name of the model at that provider.
    pub model: String,
    /// Upper limit of the tokens of a response, 1..=1,000,000.
    #[serde(deserialize_with = "optional")]
    pub max_tokens: Option<u32>,
    /// Sampling temperature of requests that name none, 0 to 2.
    #[serde(deserialize_with = "optional")]
    pub temperature: Option<f64>,
    total_timeout: u64,
    drain_timeout: u64,
    /// Providers that are called when the provider fails, in this order.
    pub fallbacks: Vec<Choice>,
    /// Engines with their own model.
    pub engines: Vec<EngineChoice>,
    /// Models that a request may name; empty allows any.
    pub models: Vec<ModelEntry>,
    /// Further providers.
    pub providers: Vec<NamedProvider>,
    /// Prices of models.
    pub prices: Vec<ModelPrice>,
    /// Request fields that pass to a provider with any value.
    pub pass_fields: Vec<String>,
    /// HTTP headers of requests that pass to a provider of the same dialect.
    pub pass_headers: Vec<String>,
    /// True if a provider may store responses.
    pub provider_store: bool,
    /// `OpenAI` or a compatible server.
    pub openai: OpenAi,
    /// Anthropic.
    pub anthropic: Anthropic,
    /// Recorded responses.
    pub replay: Replay,
    /// Retries.
    pub retry: LlmRetry,
    /// The circuit breaker of each model of a provider.
    pub breaker: LlmBreaker,
    /// The concurrency limit of each provider.
    pub bulkhead: LlmBulkhead,
    /// The built-in stub.
    pub stub: Stub,
}

/// Maximum number of fields, and of headers, that pass to a provider.
const PASSED_MAX: usize = 100;

/// Headers that belong to a connection or carry the caller's credential.
const OWN_HEADERS: [&str; 15] = [
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-api-key",
];

/// Maximum number of entries in each list.
const ENTRIES_MAX: usize = 1000;

impl Llm {
    /// The provider and model of engines without an entry in `engines`.
    pub fn first(&self) -> Choice {
        let model = self.provider.has_models().then(|| self.model.clone());
        Choice { provider: self.provider.clone(), model }
    }

    /// The providers to call in order, beginning with `first`; each provider once.
    pub fn order(&self, first: &Choice) -> Vec<Choice> {
        let mut order: Vec<Choice> = Vec::new();
        for choice in std::iter::once(first).chain(&self.fallbacks) {
            if order.iter().all(|earlier| earlier.provider != choice.provider) {
                order.push(self.with_model(choice));
            }
        }
        order
    }

    /// Adds the configured model if the provider is the configured one.
    fn with_model(&self, choice: &Choice) -> Choice {
        let same = choice.provider == self.provider && choice.provider.has_models();
        let model = choice.model.clone().or_else(|| same.then(|| self.model.clone()));
        Choice { provider: choice.provider.clone(), model }
    }

    /// Deadline of an answer, from the arrival of the request to its last byte.
    pub const fn total_timeout(&self) -> Duration {
        Duration::from_secs(self.total_timeout)
    }

    /// Time for which a stopping server completes answers.
    pub const fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout)
    }

    /// All providers that may be called.
    pub fn called(&self) -> BTreeSet<LlmProvider> {
        let engines = self.engines.iter().map(|entry| &entry.choice.provider);
        let fallbacks = self.fallbacks.iter().map(|choice| &choice.provider);
        let models = self.models().into_iter().filter_map(|model| model.provider);
        std::iter::once(&self.provider)
            .chain(fallbacks)
            .chain(engines)
            .cloned()
            .chain(models)
            .collect()
    }

    /// The models that a request may name. A name may begin with that of its provider and a colon;
    /// other colons are part of the name.
    pub fn models(&self) -> Vec<ModelEntry> {
        let split = |mut model: ModelEntry| {
            if let (None, Some((provider, name))) = (&model.provider, model.name.split_once(':')) {
                let provider = LlmProvider::from(provider.to_owned());
                if provider.has_models() && self.has(&provider) {
                    (model.name, model.provider) = (name.to_owned(), Some(provider));
                }
            }
            model
        };
        self.models.iter().cloned().map(split).collect()
    }

    /// The provider of this name in `providers`.
    pub fn named(&self, name: &str) -> Option<&NamedProvider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// True if a request may name any model, at a provider that charges for it.
    pub fn allows_any_model(&self) -> bool {
        let has_key = |provider: &LlmProvider| match provider {
            LlmProvider::Openai => self.openai.key().is_some(),
            LlmProvider::Anthropic => self.anthropic.key().is_some(),
            LlmProvider::Named(name) => self.named(name).is_some_and(|named| named.key().is_some()),
            LlmProvider::LocalStub | LlmProvider::Replay => false,
        };
        self.models.is_empty() && self.called().iter().any(has_key)
    }

    /// True for a built-in provider, and for one in `providers`.
    fn has(&self, provider: &LlmProvider) -> bool {
        match provider {
            LlmProvider::Named(name) => self.named(name).is_some(),
            LlmProvider::LocalStub
            | LlmProvider::Openai
            | LlmProvider::Anthropic
            | LlmProvider::Replay => true,
        }
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        named::validate(&self.providers)?;
        check(self.has(&self.provider), "llm.provider", PROVIDER)?;
        let named = (1..=200).contains(&self.model.len());
        check(named, "llm.model", "a name of 1 to 200 characters")?;
        let missing = self.provider.has_models() && self.model == "local-stub";
        check(!missing, "llm.model", MODEL_MISSING)?;
        let tokens = self.max_tokens.is_none_or(|max| (1..=1_000_000).contains(&max));
        check(tokens, "llm.max_tokens", "between 1 and 1000000, or not set")?;
        let temperature = self.temperature.is_none_or(|t| (0.0..=2.0).contains(&t));
        check(temperature, "llm.temperature", "between 0 and 2, or not set")?;
        self.validate_passed()?;
        let total = (1..=86_400).contains(&self.total_timeout);
        check(total, "llm.total_timeout", "between 1 and 86400 seconds")?;
        let drain = (1..=3_600).contains(&self.drain_timeout);
        check(drain, "llm.drain_timeout", "between 1 and 3600 seconds")?;
        self.validate_entries()?;
        let providers = self.called();
        self.openai.validate(providers.contains(&LlmProvider::Openai))?;
        self.anthropic.validate(providers.contains(&LlmProvider::Anthropic))?;
        self.replay.validate()?;
        self.retry.validate()?;
        self.breaker.validate()?;
        self.bulkhead.validate()?;
        self.stub.validate()
    }

    fn validate_passed(&self) -> Result<(), Fault> {
        let fields = &self.pass_fields;
        let named = fields.iter().all(|name| (1..=64).contains(&name.len()));
        let must = "a list of at most 100 names of 1 to 64 characters";
        check(named && fields.len() <= PASSED_MAX, "llm.pass_fields", must)?;
        let headers = &self.pass_headers;
        let may_pass = |name: &String| {
            let name = name.to_ascii_lowercase();
            HeaderName::from_bytes(name.as_bytes()).is_ok() && !OWN_HEADERS.contains(&&*name)
        };
        let fit = headers.len() <= PASSED_MAX && headers.iter().all(may_pass);
        check(fit, "llm.pass_headers", HEADERS)
    }

    fn validate_entries(&self) -> Result<(), Fault> {
        let lacks_model = |choice: &Choice| {
            choice.provider.has_models() && self.with_model(choice).model.is_none()
        };
        let is_known = |choice: &Choice| self.has(&choice.provider);
        check(self.fallbacks.iter().all(is_known), "llm.fallbacks", FALLBACK)?;
        let engines = self.engines.iter().map(|entry| &entry.choice);
        check(engines.clone().all(is_known), "llm.engines", ENGINE)?;
        let models = self.models();
        let known = models.iter().filter_map(|m| m.provider.as_ref()).all(|p| self.has(p));
        check(known, "llm.models", "models whose provider is in llm.providers")?;
        models::validate(&models)?;
        check(!self.fallbacks.iter().any(lacks_model), "llm.fallbacks", MODEL_UNNAMED)?;
        check(!engines.clone().any(lacks_model), "llm.engines", MODEL_UNNAMED)?;
        let must = "a list of at most 1000 entries";
        check(self.fallbacks.len() <= ENTRIES_MAX, "llm.fallbacks", must)?;
        check(self.engines.len() <= ENTRIES_MAX, "llm.engines", must)?;
        check(self.models.len() <= ENTRIES_MAX, "llm.models", must)?;
        check(self.prices.len() <= ENTRIES_MAX, "llm.prices", must)
    }
}

const PROVIDER: &str = "local_stub, openai, anthropic, replay, or a name in llm.providers";

const FALLBACK: &str = "a list of `provider` or `provider:model`, with the provider local_stub, openai, \
                        anthropic, replay, or a name in llm.providers";

const ENGINE: &str = "a list of `engine=provider` or `engine=provider:model`, with the provider \
                      local_stub, openai, anthropic, replay, or a name in llm.providers";

const MODEL_MISSING: &str = "the name of a model of the provider: set llm.model in the file, or \
                             MLSDM__LLM__MODEL";

const HEADERS: &str = "a list of at most 100 names of headers, but not of headers with a credential or \
                       of the connection";

const MODEL_UNNAMED: &str = "entries that name a model (openai:MODEL) if their provider is not \
                             llm.provider";
