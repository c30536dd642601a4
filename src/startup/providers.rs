//! The settings of the model providers, from a configuration.

use std::sync::Arc;

use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    breaker,
    config::{
        self, AnswerRoutes, Choice, LlmProvider, MaxTokensField, ModelEntry, ModelTemperature,
        NamedProvider, ProviderDialect,
    },
    llm::{
        Anthropic, AnthropicSettings, Bulkhead, LimitField, Llm, LlmSetup, ModelRule, OpenAi,
        OpenAiRoutes, OpenAiSettings, Passed, Provider, Replay, Resilience, Retry, Route,
        SetupError, Stub, http_client, provider_name,
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
        models: config.models().into_iter().map(model).collect(),
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
    let connect = |provider: LlmProvider| {
        Ok(match provider {
            LlmProvider::LocalStub => Provider::Stub(Stub {
                latency: config.stub.latency(),
                word_latency: config.stub.word_latency(),
                fault: None,
            }),
            LlmProvider::Openai => Provider::OpenAi(openai(client()?, config)?),
            LlmProvider::Anthropic => Provider::Anthropic(anthropic(client()?, &config.anthropic)?),
            LlmProvider::Named(name) => match config.named(&name) {
                Some(entry) => named(client()?, entry, config.provider_store)?,
                // the validation of the configuration excludes it
                None => return Err(SetupError::Url("llm.providers")),
            },
            LlmProvider::Replay => Provider::Replay(Arc::clone(recorded)),
        })
    };
    config.called().into_iter().map(connect).collect()
}

fn openai(http: Client, llm: &config::Llm) -> Result<OpenAi, SetupError> {
    let config = &llm.openai;
    let settings = OpenAiSettings {
        name: "openai",
        base_url: &config.base_url,
        api_key: config.key(),
        api_version: &config.api_version,
        max_tokens_field: limit_field(config.max_tokens_field),
        headers: HeaderMap::new(),
        routes: routes(config.routes()),
        may_store: llm.provider_store,
    };
    OpenAi::new(http, settings)
}

fn anthropic(http: Client, config: &config::Anthropic) -> Result<Anthropic, SetupError> {
    let settings = AnthropicSettings {
        name: "anthropic",
        base_url: &config.base_url,
        api_key: config.key(),
        version: &config.version,
        headers: HeaderMap::new(),
    };
    Anthropic::new(http, settings)
}

fn named(http: Client, config: &NamedProvider, may_store: bool) -> Result<Provider, SetupError> {
    let (name, headers) = (provider_name(&config.name), headers(config)?);
    let (base_url, api_key) = (config.base_url.as_str(), config.key());
    Ok(match config.dialect {
        ProviderDialect::Openai | ProviderDialect::Responses => {
            let settings = OpenAiSettings {
                name,
                base_url,
                api_key,
                api_version: &config.api_version,
                max_tokens_field: limit_field(config.max_tokens_field),
                headers,
                routes: routes(config.routes()),
                may_store,
            };
            Provider::OpenAi(OpenAi::new(http, settings)?)
        }
        ProviderDialect::Anthropic => {
            let version = config.version.as_str();
            let settings = AnthropicSettings { name, base_url, api_key, version, headers };
            Provider::Anthropic(Anthropic::new(http, settings)?)
        }
    })
}

const fn routes(config: AnswerRoutes) -> OpenAiRoutes {
    match config {
        AnswerRoutes::Chat => OpenAiRoutes::Chat,
        AnswerRoutes::Both => OpenAiRoutes::Both,
        AnswerRoutes::Responses => OpenAiRoutes::Responses,
    }
}

/// The headers of a provider. Their values may be credentials.
fn headers(config: &NamedProvider) -> Result<HeaderMap, SetupError> {
    let header = |(name, value): (&String, &SecretString)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let headers: Option<HeaderMap> = config.headers.iter().map(header).collect();
    headers.ok_or(SetupError::Header("llm.providers"))
}

fn model(entry: ModelEntry) -> ModelRule {
    let (temperature, refuses_temperature) = match entry.temperature {
        Some(ModelTemperature::Value(value)) => (Some(value), false),
        Some(ModelTemperature::Refused) => (None, true),
        None => (None, false),
    };
    ModelRule {
        name: entry.name,
        provider: entry.provider.map(|provider| provider_name(provider.as_str())),
        limit_field: entry.max_tokens_field.map(limit_field),
        temperature,
        refuses_temperature,
        context_window: entry.context_window,
        price: entry.price,
    }
}

const fn limit_field(field: MaxTokensField) -> LimitField {
    match field {
        MaxTokensField::MaxTokens => LimitField::MaxTokens,
        MaxTokensField::MaxCompletionTokens => LimitField::MaxCompletionTokens,
    }
}

fn route(Choice { provider, model }: Choice) -> Route {
    Route { provider: provider_name(provider.as_str()), model }
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
