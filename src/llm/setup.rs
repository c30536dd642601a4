//! The models that a configuration names.

use std::{collections::HashMap, sync::Arc};

use reqwest::Client;

use super::{
    Anthropic, BreakerSettings, Bulkhead, Llm, OpenAi, Provider, Replay, Resilience, Retry, Shared,
    Stub, Target, http, upstream::Upstream,
};
use crate::config::{self, Choice, LlmProvider};

/// Why models cannot be set up. Quotes no value: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address of a provider.
    #[error("{0} is not a URL such as https://host/v1; correct it")]
    Url(&'static str),
    /// What cannot be sent in a header.
    #[error("{0} has characters that cannot be sent, such as a line break; correct it")]
    Header(&'static str),
    /// The HTTP client.
    #[error("the HTTP client cannot be made; check the proxy variables of the environment")]
    Client(#[source] reqwest::Error),
}

impl Llm {
    /// The models of a configuration; `recorded` are the answers of the `replay` provider.
    pub fn configured(config: &config::Llm, recorded: &Arc<Replay>) -> Result<Self, SetupError> {
        let mut upstreams = HashMap::new();
        let mut client = None;
        // made once, and not at all for what needs no network
        let mut http = || -> Result<Client, SetupError> {
            let made = client.take().map_or_else(http::client, Ok)?;
            Ok(client.insert(made).clone())
        };
        for provider in config.providers() {
            let made = match provider {
                LlmProvider::LocalStub => Provider::Stub(stub(&config.stub)),
                LlmProvider::Openai => Provider::OpenAi(OpenAi::new(http()?, &config.openai)?),
                LlmProvider::Anthropic => {
                    Provider::Anthropic(Anthropic::new(http()?, &config.anthropic)?)
                }
                LlmProvider::Replay => Provider::Replay(Arc::clone(recorded)),
            };
            upstreams.insert(provider, Arc::new(Upstream::new(made, resilience(config))));
        }
        let targets = |first: &Choice| -> Arc<[Target]> {
            let target = |choice: Choice| {
                let upstream = upstreams.get(&choice.provider)?;
                Some(Target { upstream: Arc::clone(upstream), model: choice.model })
            };
            config.order(first).into_iter().filter_map(target).collect()
        };
        let engines = config.engines.iter().map(|e| (e.engine.clone(), targets(&e.choice)));
        let prices = config.prices.iter().map(|p| (p.model.clone(), p.price));
        Ok(Self {
            targets: targets(&config.first()),
            shared: Arc::new(Shared {
                engines: engines.collect(),
                allowed: config.models.clone(),
                prices: prices.collect(),
                max_tokens: config.max_tokens,
                temperature: Some(config.temperature),
                upstreams: upstreams.into_values().collect(),
            }),
        })
    }
}

fn stub(config: &config::Stub) -> Stub {
    Stub { latency: config.latency(), word_latency: config.word_latency(), fault: None }
}

const fn resilience(config: &config::Llm) -> Resilience {
    let config::Llm { retry, breaker, bulkhead, .. } = config;
    Resilience {
        retry: Retry { attempts: retry.attempts, base: retry.base(), max: retry.max() },
        breaker: BreakerSettings {
            failures: breaker.failures,
            open: breaker.open(),
            probes: breaker.probes,
        },
        bulkhead: Bulkhead { concurrency: bulkhead.concurrency, queue: bulkhead.queue },
    }
}
