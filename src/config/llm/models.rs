//! Entries of `llm.models`: models that a request may name, each a name or a table.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{LlmProvider, MaxTokensField};
use crate::{
    config::error::{Fault, check},
    domain::budget::Price,
};

/// A model that a request may name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Entry")]
pub struct ModelEntry {
    /// The name, which may end in `*`; in a list of names with its provider before a colon.
    pub name: String,
    /// The provider that has the model; none means the first one.
    pub provider: Option<LlmProvider>,
    /// The request field that limits the length of a response of this model.
    pub max_tokens_field: Option<MaxTokensField>,
    /// The temperature of requests that name none.
    pub temperature: Option<ModelTemperature>,
    /// The size of the context in tokens.
    pub context_window: Option<u32>,
    /// The price.
    pub price: Option<Price>,
}

/// The temperature of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ModelTemperature {
    /// The temperature of requests that name none.
    Value(f64),
    /// The model takes no temperature.
    Refused,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of names, or of tables with a name")]
enum Entry {
    Name(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    provider: Option<LlmProvider>,
    max_tokens_field: Option<MaxTokensField>,
    #[serde(default, deserialize_with = "temperature")]
    temperature: Option<ModelTemperature>,
    context_window: Option<u32>,
    #[serde(default, deserialize_with = "price")]
    price: Option<Price>,
}

impl From<Entry> for ModelEntry {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Name(name) => Self {
                name,
                provider: None,
                max_tokens_field: None,
                temperature: None,
                context_window: None,
                price: None,
            },
            Entry::Table(table) => Self {
                name: table.name,
                provider: table.provider,
                max_tokens_field: table.max_tokens_field,
                temperature: table.temperature,
                context_window: table.context_window,
                price: table.price,
            },
        }
    }
}

fn temperature<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ModelTemperature>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a temperature, or `refused`")]
    enum Given {
        Number(f64),
        Word(String),
    }
    match Given::deserialize(deserializer)? {
        Given::Number(value) => Ok(Some(ModelTemperature::Value(value))),
        Given::Word(word) if word == "refused" => Ok(Some(ModelTemperature::Refused)),
        Given::Word(_) => Err(D::Error::custom("expected a temperature, or `refused`")),
    }
}

fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| D::Error::custom("expected a price such as 2.50/10"))
}

/// Checks all entries.
pub(super) fn validate(models: &[ModelEntry]) -> Result<(), Fault> {
    for model in models {
        let prefix = model.name.strip_suffix('*').unwrap_or(&model.name);
        let named = (1..=200).contains(&model.name.len()) && !prefix.contains('*');
        let must = "names of 1 to 200 characters, with `*` only at the end";
        check(named, "llm.models", must)?;
        let temperature = match model.temperature {
            Some(ModelTemperature::Value(value)) => (0.0..=2.0).contains(&value),
            Some(ModelTemperature::Refused) | None => true,
        };
        check(temperature, "llm.models", "models whose temperature is between 0 and 2")?;
    }
    Ok(())
}
