//! The settings of the model providers, from a configuration.

use std::sync::Arc;

use reqwest::Client;

use crate::{
    breaker,
    config::{self, Choice, LlmProvider},
    llm::{
        Anthropic, AnthropicSettings, Bulkhead, Llm, LlmSetup, OpenAi, OpenAiSettings, Passed,
        Provider, Replay, Resilience, Retry, Route, SetupError, Stub, http_client,
    },
};

/// The models of a configuration. `recorded` holds the answers of the provider `replay`.
pub fn providers(config: &config::Llm, recorded: &Arc<Replay>) -> Result<Llm, SetupError> {
    let routes = |first: &Choice| config.order(first).into_iter().map(route).collect();
    let engines = config.engines.iter().map(|e| (e.engine.clone(), routes(&e.choice)));
    let prices = config.prices.iter().map(|p| (p.model.clone(), p.price));
    Ok(Llm::with_setup(LlmSetup {
        providers: connect(config, recorded)?,
        resilience: resilience(config),
        routes: routes(&config.first()),
        engines: engines.collect(),
        allowed: config.models.clone(),
        prices: prices.collect(),
        max_tokens: config.max_tokens,
        temperature: config.temperature,
        passed: Passed {
            fields: config.pass_fields.clone(),
            headers: config.pass_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        },
    }))
}

fn connect(config: &config::Llm, recorded: &Arc<Replay>) -> Result<Vec<Provider>, SetupError> {
    // one client for all providers, and none if no provider needs the network
    let mut shared = None;
    let mut client = || -> Result<Client, SetupError> {
        let client = shared.take().map_or_else(http_client, Ok)?;
        Ok(shared.insert(client).clone())
    };
    let connect = |provider| {
        Ok(match provider {
            LlmProvider::LocalStub => Provider::Stub(Stub {
                latency: config.stub.latency(),
                word_latency: config.stub.word_latency(),
                fault: None,
            }),
            LlmProvider::Openai => Provider::OpenAi(openai(client()?, config)?),
            LlmProvider::Anthropic => Provider::Anthropic(anthropic(client()?, &config.anthropic)?),
            LlmProvider::Replay => Provider::Replay(Arc::clone(recorded)),
        })
    };
    config.providers().into_iter().map(connect).collect()
}

fn openai(http: Client, llm: &config::Llm) -> Result<OpenAi, SetupError> {
    let config = &llm.openai;
    let settings = OpenAiSettings {
        base_url: &config.base_url,
        api_key: config.key(),
        api_version: &config.api_version,
        max_tokens_field: config.max_tokens_field.as_str(),
        has_responses: config.has_responses(),
        may_store: llm.provider_store,
    };
    OpenAi::new(http, &settings)
}

fn anthropic(http: Client, config: &config::Anthropic) -> Result<Anthropic, SetupError> {
    let settings = AnthropicSettings {
        base_url: &config.base_url,
        api_key: config.key(),
        version: &config.version,
    };
    Anthropic::new(http, &settings)
}

fn route(Choice { provider, model }: Choice) -> Route {
    Route { provider: provider.as_str(), model }
}

const fn resilience(config: &config::Llm) -> Resilience {
    let config::Llm { retry, breaker, bulkhead, .. } = config;
    Resilience {
        retry: Retry { attempts: retry.attempts, base: retry.base(), max: retry.max() },
        breaker: breaker::Settings {
            failures: breaker.failures,
            open: breaker.open(),
            probes: breaker.probes,
        },
        bulkhead: Bulkhead { concurrency: bulkhead.concurrency, queue: bulkhead.queue },
    }
}
