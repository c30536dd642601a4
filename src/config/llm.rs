//! `llm`: the models that answer.

mod entries;
mod providers;
mod resilience;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::{Fault, check};
pub use entries::{Choice, EngineChoice, ModelPrice};
pub use providers::{Anthropic, MaxTokensField, OpenAi, Replay, Stub};
pub use resilience::{LlmBreaker, LlmBulkhead, LlmRetry};

/// Who provides the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmProvider {
    /// The built-in model.
    LocalStub,
    /// Chat completions, by `OpenAI` or a compatible server.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// Recorded answers.
    Replay,
}

impl LlmProvider {
    /// All of them.
    const ALL: [Self; 4] = [Self::LocalStub, Self::Openai, Self::Anthropic, Self::Replay];

    /// Its name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalStub => "local_stub",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Replay => "replay",
        }
    }

    /// Whether it has several models, of which one must be named.
    const fn has_models(self) -> bool {
        match self {
            Self::Openai | Self::Anthropic => true,
            Self::LocalStub | Self::Replay => false,
        }
    }
}

/// The models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// Who provides the model.
    pub provider: LlmProvider,
    /// Its name with that provider.
    pub model: String,
    /// Most tokens ever asked of it, 1..=1,000,000, whatever the policy grants.
    pub max_tokens: u32,
    /// Sampling temperature, 0 to 2.
    pub temperature: f64,
    /// Who is asked instead when the provider fails, in this order.
    pub fallbacks: Vec<Choice>,
    /// Engines with a model of their own.
    pub engines: Vec<EngineChoice>,
    /// Models that a request may name; any, if there are none.
    pub models: Vec<String>,
    /// What models cost.
    pub prices: Vec<ModelPrice>,
    /// `OpenAI`, or what speaks like it.
    pub openai: OpenAi,
    /// Anthropic.
    pub anthropic: Anthropic,
    /// Recorded answers.
    pub replay: Replay,
    /// How a failed call is tried again.
    pub retry: LlmRetry,
    /// When a failing provider is left alone.
    pub breaker: LlmBreaker,
    /// How many calls of one provider may run and wait.
    pub bulkhead: LlmBulkhead,
    /// Settings of the built-in model.
    pub stub: Stub,
}

/// Most entries of each list.
const ENTRIES_MAX: usize = 1000;

impl Llm {
    /// Who answers, unless an engine has others.
    pub fn first(&self) -> Choice {
        let model = self.provider.has_models().then(|| self.model.clone());
        Choice { provider: self.provider, model }
    }

    /// Who is asked, in order, where this one is asked first; each provider once.
    pub fn order(&self, first: &Choice) -> Vec<Choice> {
        let mut order: Vec<Choice> = Vec::new();
        for choice in std::iter::once(first).chain(&self.fallbacks) {
            if order.iter().all(|earlier| earlier.provider != choice.provider) {
                order.push(self.with_model(choice));
            }
        }
        order
    }

    /// The configured model belongs to the configured provider.
    fn with_model(&self, choice: &Choice) -> Choice {
        let same = choice.provider == self.provider && choice.provider.has_models();
        let model = choice.model.clone().or_else(|| same.then(|| self.model.clone()));
        Choice { provider: choice.provider, model }
    }

    /// All providers that may be asked.
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
        let nameless = |choice: &Choice| {
            choice.provider.has_models() && self.with_model(choice).model.is_none()
        };
        check(!self.fallbacks.iter().any(nameless), "llm.fallbacks", MODEL_UNNAMED)?;
        let engines = self.engines.iter().map(|entry| &entry.choice);
        check(!engines.clone().any(nameless), "llm.engines", MODEL_UNNAMED)?;
        let few = "a list of at most 1000 entries";
        check(self.fallbacks.len() <= ENTRIES_MAX, "llm.fallbacks", few)?;
        check(self.engines.len() <= ENTRIES_MAX, "llm.engines", few)?;
        check(self.models.len() <= ENTRIES_MAX, "llm.models", few)?;
        check(self.prices.len() <= ENTRIES_MAX, "llm.prices", few)
    }
}

const MODEL_MISSING: &str = "the name of one of the provider's models: set llm.model in the file, \
                             or MLSDM__LLM__MODEL";

const MODEL_UNNAMED: &str = "entries that name a model, as in openai:MODEL, where the provider is \
                             not that of llm.provider";
