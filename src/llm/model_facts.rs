//! What is known of models: from the configuration, else from the beginning of a model's name.

use super::LimitField;
use crate::domain::budget::Price;

/// A model that requests may name, as the configuration describes it.
#[derive(Clone, Debug, Default)]
pub struct ModelRule {
    /// The name; `*` at its end stands for any ending.
    pub name: String,
    /// The name of the provider that has the model; `None` means the first one.
    pub provider: Option<&'static str>,
    /// The request field that limits the tokens of an answer.
    pub limit_field: Option<LimitField>,
    /// The temperature of requests that name none.
    pub temperature: Option<f64>,
    /// True if the model takes no temperature.
    pub refuses_temperature: bool,
    /// The size of the context in tokens.
    pub context_window: Option<u32>,
    /// The price.
    pub price: Option<Price>,
}

impl ModelRule {
    /// True if the rule is about this model.
    pub fn matches(&self, model: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => self.name == model,
        }
    }

    /// Whether the model takes a temperature, if the rule says it.
    pub(super) fn takes_temperature(&self) -> Option<bool> {
        match (self.refuses_temperature, self.temperature) {
            (true, _) => Some(false),
            (false, Some(_)) => Some(true),
            (false, None) => None,
        }
    }

    /// True if the rule is about all models whose names begin alike.
    pub fn is_pattern(&self) -> bool {
        self.name.ends_with('*')
    }
}

/// How a model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all.
    None,
    /// By a level of effort.
    Effort,
    /// By a budget of tokens.
    Budget,
}

/// What a request to a model has to respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelFacts {
    /// The request field that limits the tokens of an answer; `None` means the provider's setting.
    pub(super) limit_field: Option<LimitField>,
    pub(super) takes_temperature: bool,
    pub(super) thinking: Thinking,
}

impl ModelFacts {
    const PLAIN: Self =
        Self { limit_field: None, takes_temperature: true, thinking: Thinking::None };

    const REASONING: Self = Self {
        limit_field: Some(LimitField::MaxCompletionTokens),
        takes_temperature: false,
        thinking: Thinking::Effort,
    };

    const EXTENDED: Self = Self { thinking: Thinking::Budget, ..Self::PLAIN };

    const ADAPTIVE: Self =
        Self { takes_temperature: false, thinking: Thinking::Effort, ..Self::PLAIN };
}

/// Facts by the beginning of a name. Of several that fit, the longest counts.
const BUILT_IN: [(&str, ModelFacts); 17] = [
    ("o1", ModelFacts::REASONING),
    ("o3", ModelFacts::REASONING),
    ("o4", ModelFacts::REASONING),
    ("gpt-5", ModelFacts::REASONING),
    (
        "gpt-5-chat",
        ModelFacts { limit_field: Some(LimitField::MaxCompletionTokens), ..ModelFacts::PLAIN },
    ),
    ("claude-3-7", ModelFacts::EXTENDED),
    ("claude-opus-4", ModelFacts::EXTENDED),
    ("claude-sonnet-4", ModelFacts::EXTENDED),
    ("claude-haiku-4", ModelFacts::EXTENDED),
    ("claude-opus-4-7", ModelFacts::ADAPTIVE),
    ("claude-opus-4-8", ModelFacts::ADAPTIVE),
    ("claude-opus-5", ModelFacts::ADAPTIVE),
    ("claude-sonnet-5", ModelFacts::ADAPTIVE),
    ("claude-haiku-5", ModelFacts::ADAPTIVE),
    ("claude-fable", ModelFacts::ADAPTIVE),
    ("claude-mythos", ModelFacts::ADAPTIVE),
    ("codex-", ModelFacts::REASONING),
];

/// The facts of a model. Servers that offer models of several vendors put the vendor before a slash.
pub(super) fn facts(model: &str, rule: Option<&ModelRule>) -> ModelFacts {
    let name = model.rsplit('/').next().unwrap_or(model);
    let fitting = BUILT_IN.iter().filter(|(prefix, _)| name.starts_with(prefix));
    let known = fitting.max_by_key(|(prefix, _)| prefix.len());
    let mut facts = known.map_or(ModelFacts::PLAIN, |(_, facts)| *facts);
    if let Some(rule) = rule {
        facts.limit_field = rule.limit_field.or(facts.limit_field);
        facts.takes_temperature = rule.takes_temperature().unwrap_or(facts.takes_temperature);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_the_longest_beginning_of_their_name() {
        assert_eq!(facts("gpt-4o", None), ModelFacts::PLAIN);
        assert_eq!(facts("o3-mini", None), ModelFacts::REASONING);
        assert_eq!(facts("openai/gpt-5.1", None), ModelFacts::REASONING);
        assert!(facts("gpt-5-chat-latest", None).takes_temperature);
        assert_eq!(facts("claude-sonnet-4-5", None).thinking, Thinking::Budget);
        assert!(!facts("claude-opus-4-8", None).takes_temperature);
    }

    #[test]
    fn the_configuration_counts_more_than_the_name() {
        let rule = ModelRule {
            limit_field: Some(LimitField::MaxTokens),
            temperature: Some(1.0),
            ..ModelRule::default()
        };
        let facts = facts("o3", Some(&rule));
        assert_eq!(facts.limit_field, Some(LimitField::MaxTokens));
        assert!(facts.takes_temperature);
    }

    #[test]
    fn a_pattern_matches_the_beginning_of_a_name() {
        let rule = |name: &str| ModelRule { name: name.to_owned(), ..ModelRule::default() };
        assert!(rule("gpt-4*").matches("gpt-4o") && !rule("gpt-4*").matches("gpt-5"));
        assert!(rule("gpt-4").matches("gpt-4") && !rule("gpt-4").matches("gpt-4o"));
    }
}
