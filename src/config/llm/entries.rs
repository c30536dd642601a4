//! Entries of lists, each a short text: `provider:model`, `engine=provider:model`, `model=in/out`.

use serde::Deserialize;

use super::provider::LlmProvider;
use crate::domain::{budget::Price, ids::EngineId};

/// A provider and, if it has several, the model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Choice {
    /// The provider.
    pub provider: LlmProvider,
    /// The model; none means `llm.model`.
    pub model: Option<String>,
}

/// The provider and model of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct EngineChoice {
    /// The engine.
    pub engine: EngineId,
    /// The provider and model.
    pub choice: Choice,
}

/// The price of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ModelPrice {
    /// The name of the model as the provider reports it.
    pub model: String,
    /// The price.
    pub price: Price,
}

const CHOICE: &str = "expected a list of `provider` or `provider:model`";
const ENGINE: &str = "expected a list of `engine=provider` or `engine=provider:model`";
const PRICE: &str = "expected a list of `model=input/output` in US dollars per million tokens, \
                     such as gpt-4o=2.50/10";

impl TryFrom<String> for Choice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        choice(&text).ok_or(CHOICE)
    }
}

impl TryFrom<String> for EngineChoice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (engine, rest) = text.split_once('=').ok_or(ENGINE)?;
        let engine = engine.trim().parse().map_err(|_| ENGINE)?;
        Ok(Self { engine, choice: choice(rest).ok_or(ENGINE)? })
    }
}

impl TryFrom<String> for ModelPrice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (model, price) = text.rsplit_once('=').ok_or(PRICE)?;
        let price = price.parse().map_err(|_| PRICE)?;
        let model = model.trim();
        if model.is_empty() { Err(PRICE) } else { Ok(Self { model: model.to_owned(), price }) }
    }
}

/// Splits at the first colon: names of models may contain colons.
fn choice(text: &str) -> Option<Choice> {
    let (provider, model) = match text.split_once(':') {
        Some((_, model)) if model.trim().is_empty() => return None,
        Some((provider, model)) => (provider, Some(model.trim().to_owned())),
        None => (text, None),
    };
    let provider = provider.trim();
    (!provider.is_empty()).then(|| Choice { provider: provider.to_owned().into(), model })
}
