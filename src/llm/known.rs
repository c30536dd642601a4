//! The models that the configuration names: they have a circuit breaker and metrics of their own.

use std::collections::BTreeSet;

use super::{ModelRule, Route, metrics::KnownModels};

/// Maximum number of models of a provider with a breaker, and a metric, of their own. Further models
/// share one.
const MODELS_MAX: usize = 1_000;

/// The models that the configuration names, by provider. Those in the order of calls come first, if
/// there are too many.
pub(super) fn known_models<'r>(
    providers: impl IntoIterator<Item = &'static str>,
    orders: impl IntoIterator<Item = &'r Vec<Route>>,
    rules: &[ModelRule],
) -> KnownModels {
    let mut known: KnownModels =
        providers.into_iter().map(|provider| (provider, BTreeSet::new())).collect();
    let mut add = |provider: &'static str, model: &str| {
        let models = known.entry(provider).or_default();
        if models.len() < MODELS_MAX {
            models.insert(model.to_owned());
        }
    };
    let mut first = BTreeSet::new();
    for order in orders {
        first.extend(order.first().map(|route| route.provider));
        for Route { provider, model } in order {
            if let Some(model) = model {
                add(provider, model);
            }
        }
    }
    for rule in rules.iter().filter(|rule| !rule.is_pattern()) {
        // a model that a request names belongs to the first provider, unless its entry names another
        match rule.provider {
            Some(provider) => add(provider, &rule.name),
            None => first.iter().for_each(|provider| add(provider, &rule.name)),
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, provider: Option<&'static str>) -> ModelRule {
        ModelRule { name: name.to_owned(), provider, ..ModelRule::default() }
    }

    #[test]
    fn the_models_of_a_provider_with_breakers_of_their_own_are_limited() {
        let order = vec![Route { provider: "openai", model: Some("zz".to_owned()) }];
        let rules: Vec<ModelRule> =
            (0..2 * MODELS_MAX).map(|n| rule(&format!("m-{n}"), None)).collect();
        let known = known_models(["openai"], [&order], &rules);
        assert_eq!(known["openai"].len(), MODELS_MAX);
        assert!(known["openai"].contains("zz"), "the configured model");
    }

    #[test]
    fn patterns_and_models_of_other_providers_are_no_models_of_the_first() {
        let order = vec![
            Route { provider: "openai", model: Some("m-1".to_owned()) },
            Route { provider: "local_stub", model: None },
        ];
        let rules = [rule("m-2", None), rule("gpt-*", None), rule("llama", Some("vllm"))];
        let known = known_models(["openai", "local_stub", "vllm"], [&order], &rules);
        let models = |provider| known[provider].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(models("openai"), ["m-1", "m-2"]);
        assert_eq!(models("vllm"), ["llama"]);
        assert!(models("local_stub").is_empty());
    }
}
