//! `llm`: model providers, fallbacks, prices and resilience.

mod entries;
mod provider;
mod providers;
mod resilience;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::{Fault, check};
pub use entries::{Choice, EngineChoice, ModelPrice};
pub use provider::LlmProvider;
pub use providers::{Anthropic, MaxTokensField, OpenAi, Replay, Stub};
pub use resilience::{LlmBreaker, LlmBulkhead, LlmRetry};

/// The model providers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// The provider that is called first.
    pub provider: LlmProvider,
    /// The name of the model at that provider.
    pub model: String,
    /// Upper limit of `max_tokens` in requests to providers, 1..=1,000,000, whatever the policy allows.
    pub max_tokens: u32,
    /// Sampling temperature, 0 to 2.
    pub temperature: f64,
    /// Providers that are called when the provider fails, in this order.
    pub fallbacks: Vec<Choice>,
    /// Engines with their own model.
    pub engines: Vec<EngineChoice>,
    /// Models that a request may name; empty allows any.
    pub models: Vec<String>,
    /// Prices of models.
    pub prices: Vec<ModelPrice>,
    /// `OpenAI` or a compatible server.
    pub openai: OpenAi,
    /// Anthropic.
    pub anthropic: Anthropic,
    /// Recorded responses.
    pub replay: Replay,
    /// Retries.
    pub retry: LlmRetry,
    /// The circuit breaker of each provider.
    pub breaker: LlmBreaker,
    /// The concurrency limit of each provider.
    pub bulkhead: LlmBulkhead,
    /// The built-in stub.
    pub stub: Stub,
}

/// Maximum number of entries in each list.
const ENTRIES_MAX: usize = 1000;

impl Llm {
    /// The provider and model of engines without an entry in `engines`.
    pub fn first(&self) -> Choice {
        let model = self.provider.has_models().then(|| self.model.clone());
        Choice { provider: self.provider, model }
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
        Choice { provider: choice.provider, model }
    }

    /// All providers that may be called.
    pub fn providers(&self) -> BTreeSet<LlmProvider> {
        let engines = self.engines.iter().map(|entry| entry.choice.provider);
        let fallbacks = self.fallbacks.iter().map(|choice| choice.provider);
        std::iter::once(self.provider).chain(fallbacks).chain(engines).collect()
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let named = (1..=200).contains(&self.model.len());
        check(named, "llm.model", "a name of 1 to 200 characters")?;
        let missing = self.provider.has_models() && self.model == "local-stub";
        check(!missing, "llm.model", MODEL_MISSING)?;
        let tokens = (1..=1_000_000).contains(&self.max_tokens);
        check(tokens, "llm.max_tokens", "between 1 and 1000000")?;
        let temperature = (0.0..=2.0).contains(&self.temperature);
        check(temperature, "llm.temperature", "between 0 and 2")?;
        self.validate_entries()?;
        let providers = self.providers();
        self.openai.validate(providers.contains(&LlmProvider::Openai))?;
        self.anthropic.validate(providers.contains(&LlmProvider::Anthropic))?;
        self.replay.validate()?;
        self.retry.validate()?;
        self.breaker.validate()?;
        self.bulkhead.validate()?;
        self.stub.validate()
    }

    fn validate_entries(&self) -> Result<(), Fault> {
        let lacks_model = |choice: &Choice| {
            choice.provider.has_models() && self.with_model(choice).model.is_none()
        };
        check(!self.fallbacks.iter().any(lacks_model), "llm.fallbacks", MODEL_UNNAMED)?;
        let engines = self.engines.iter().map(|entry| &entry.choice);
        check(!engines.clone().any(lacks_model), "llm.engines", MODEL_UNNAMED)?;
        let must = "a list of at most 1000 entries";
        check(self.fallbacks.len() <= ENTRIES_MAX, "llm.fallbacks", must)?;
        check(self.engines.len() <= ENTRIES_MAX, "llm.engines", must)?;
        check(self.models.len() <= ENTRIES_MAX, "llm.models", must)?;
        check(self.prices.len() <= ENTRIES_MAX, "llm.prices", must)
    }
}

const MODEL_MISSING: &str = "the name of a model of the provider: set llm.model in the file, or \
                             MLSDM__LLM__MODEL";

const MODEL_UNNAMED: &str = "entries that name a model (openai:MODEL) if their provider is not \
                             llm.provider";
