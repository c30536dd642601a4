//! Model providers: they answer admitted steps.
//!
//! [`Llm::call`] calls the first of a list of providers under one deadline, and the next one if that
//! fails. [`CallReport`] holds the result and the number of attempts. The answer itself goes to a
//! [`Sink`], piece by piece, so that a client can be streamed to and the log has the part that was
//! received before a failure. Deliberately not here: the value of an answer (the domain), and its
//! record (the log).

mod activity;
mod anthropic;
mod body;
mod body_chunks;
mod breakers;
mod calls;
mod chat;
mod deadline;
mod error;
mod finish;
mod http;
mod known;
pub mod metrics;
mod model_facts;
mod names;
mod native;
mod object;
mod openai;
mod price;
mod provider;
mod provider_error;
mod published;
mod replay;
mod report;
mod response_body;
mod responses;
mod routing;
mod setup;
mod setup_error;
mod sink;
mod spans;
mod sse;
mod stub;
mod thinking;
mod tokens;
mod tool_calls;
mod translate;
#[doc(hidden)]
pub mod turn;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use tracing::Instrument as _;

pub use anthropic::{Anthropic, AnthropicSettings};
pub use breakers::BreakerState;
pub use calls::CallLog;
pub use chat::{
    Dialect, Extra, LimitField, Message, Messages, ProviderCompletion, Reply, Request, Role,
    TokenLimit, ToolCall,
};
pub use deadline::Deadline;
pub use error::{LlmError, UnreachableCause};
pub use http::http_client;
pub use model_facts::ModelRule;
pub use names::provider_name;
pub use native::{Citation, NativeAnswer, NativeEvent};
pub use openai::{OpenAi, OpenAiRoutes, OpenAiSettings};
pub use price::BadPrice;
pub use provider::{Function, Provider, ReplyFuture};
pub use provider_error::{
    CONTEXT_LENGTH_EXCEEDED, INSUFFICIENT_QUOTA, MODEL_NOT_FOUND, PROVIDER_UNAUTHORIZED,
    ProviderError, RATE_LIMIT_EXCEEDED,
};
pub use published::{FieldFault, check as check_fields};
pub use replay::{RecordedAnswer, Replay};
pub use report::{CallReport, Completion};
pub use responses::{NamedTool, Translated, custom_input, is_instructions, renamed_tools, to_chat};
pub use setup::{LlmSetup, Passed, Route};
pub use setup_error::SetupError;
pub use sink::{ANSWER_BYTES_MAX, AnswerParts, DELTAS_MAX, Delta, Sink};
pub use stub::Stub;
pub use tokens::{TOKEN_CHARS, estimate_tokens};
pub use upstream::{Bulkhead, Resilience, Retry};

use crate::{
    breaker::Breaker,
    domain::{budget::Price, ids::EngineId},
    metrics::{Counter, OTHER},
};
use known::known_models;
use upstream::Upstream;

/// The models of an engine. Cheap to clone.
#[derive(Clone)]
pub struct Llm {
    shared: Arc<Shared>,
    /// The order in which providers are called: the first one, then its fallbacks. Never empty.
    targets: Arc<[Target]>,
}

/// The state that the models of all engines share.
struct Shared {
    /// Each provider once, so that all engines share its circuit breakers and its bulkhead.
    upstreams: Vec<Arc<Upstream>>,
    /// The engines that have their own order of providers.
    engines: HashMap<EngineId, Arc<[Target]>>,
    /// The models that a request may name. Empty: any model.
    models: Vec<ModelRule>,
    prices: HashMap<String, Price>,
    /// Upper limit of the tokens of an answer.
    max_tokens: Option<u32>,
    /// The temperature of requests that name none.
    temperature: Option<f64>,
    passed: Passed,
}

/// A provider, and the model for requests that name none.
#[derive(Clone)]
struct Target {
    upstream: Arc<Upstream>,
    model: Option<String>,
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.provider())
    }
}

impl Llm {
    /// One provider, with a single attempt per call.
    pub fn new(provider: Provider) -> Self {
        Self::protected(provider, Resilience::NONE)
    }

    /// One provider, protected by retries, a circuit breaker and a bulkhead.
    pub fn protected(provider: Provider, resilience: Resilience) -> Self {
        let routes = vec![Route { provider: provider.name(), model: None }];
        Self::with_setup(LlmSetup {
            providers: vec![provider],
            resilience,
            routes,
            engines: HashMap::new(),
            models: Vec::new(),
            prices: HashMap::new(),
            max_tokens: None,
            temperature: None,
            passed: Passed::default(),
        })
    }

    /// Several providers, with an order of fallbacks per engine.
    pub fn with_setup(setup: LlmSetup) -> Self {
        let LlmSetup { providers, resilience, routes, engines, .. } = setup;
        let names = providers.iter().map(Provider::name);
        let known = known_models(names, engines.values().chain([&routes]), &setup.models);
        let none = BTreeSet::new();
        let upstream = |provider: Provider| {
            let models = known.get(provider.name()).unwrap_or(&none);
            Arc::new(Upstream::new(provider, models, resilience))
        };
        let upstreams: Vec<Arc<Upstream>> = providers.into_iter().map(upstream).collect();
        let targets = |routes: Vec<Route>| -> Arc<[Target]> {
            let target = |Route { provider, model }| {
                let upstream = upstreams.iter().find(|u| u.provider.name() == provider)?;
                Some(Target { upstream: Arc::clone(upstream), model })
            };
            routes.into_iter().filter_map(target).collect()
        };
        let engines = engines.into_iter().map(|(engine, routes)| (engine, targets(routes)));
        let (engines, targets) = (engines.collect(), targets(routes));
        let shared = Shared {
            upstreams,
            engines,
            models: setup.models,
            prices: setup.prices,
            max_tokens: setup.max_tokens,
            temperature: setup.temperature,
            passed: setup.passed,
        };
        Self { shared: Arc::new(shared), targets }
    }

    /// The built-in stub model.
    pub fn stub(stub: Stub) -> Self {
        Self::new(Provider::Stub(stub))
    }

    /// A function of the program that uses this library.
    pub fn function(function: Function) -> Self {
        Self::new(Provider::Function(function))
    }

    /// The models of one engine.
    #[must_use]
    pub fn for_engine(&self, engine: &EngineId) -> Self {
        let targets = self.shared.engines.get(engine).unwrap_or(&self.targets);
        Self { shared: Arc::clone(&self.shared), targets: Arc::clone(targets) }
    }

    /// The name of the provider that is called first.
    pub fn provider(&self) -> &'static str {
        self.targets.first().map_or("none", |target| target.upstream.provider.name())
    }

    /// The configured model, for requests that name none. `None` if the provider has only one.
    pub fn model(&self) -> Option<&str> {
        self.targets.first().and_then(|target| target.model.as_deref())
    }

    /// True if a request may name this model: it is listed or configured, or there is no list.
    pub fn allows(&self, model: &str) -> bool {
        self.shared.models.is_empty() || self.rule(model).is_some() || self.model() == Some(model)
    }

    /// What the configuration says about a model: its own entry, else the first pattern that fits.
    pub fn rule(&self, model: &str) -> Option<&ModelRule> {
        let models = &self.shared.models;
        let own = models.iter().find(|rule| rule.name == model);
        own.or_else(|| models.iter().find(|rule| rule.matches(model)))
    }

    /// The names of the configured model and of all listed models, in this order. Patterns end in `*`.
    pub fn models(&self) -> Vec<&str> {
        let own = self.model();
        let listed = self.shared.models.iter().map(|rule| rule.name.as_str());
        own.into_iter().chain(listed.filter(|name| Some(*name) != own)).collect()
    }

    /// The price of a model, if it is configured.
    pub fn price(&self, model: &str) -> Option<Price> {
        let listed = self.shared.prices.get(model).copied();
        listed.or_else(|| self.rule(model)?.price)
    }

    /// The configured upper limit of the tokens of an answer.
    pub fn max_tokens(&self) -> Option<u32> {
        self.shared.max_tokens
    }

    /// What requests may pass to a provider beside its published API.
    pub fn passed(&self) -> &Passed {
        &self.shared.passed
    }

    /// The states of all circuit breakers.
    pub fn breaker_states(&self) -> Vec<BreakerState> {
        let states = |upstream: &Arc<Upstream>| {
            let provider = upstream.provider.name();
            let state = |(model, breaker): (&str, &Breaker)| BreakerState {
                provider,
                model: model.to_owned(),
                configured: self.is_configured(provider, model),
                state: breaker.state(),
            };
            upstream.breakers.by_label().map(state).collect::<Vec<_>>()
        };
        self.shared.upstreams.iter().flat_map(states).collect()
    }

    /// The states of all circuit breakers by `provider:model`, or by the provider if it has only one
    /// model.
    pub fn breakers(&self) -> BTreeMap<String, String> {
        let known = self.known();
        let name = |it: &BreakerState| match known.get(it.provider) {
            Some(models) if !models.is_empty() => format!("{}:{}", it.provider, it.model),
            _ => it.provider.to_owned(),
        };
        let states = self.breaker_states();
        states.iter().map(|it| (name(it), it.state.name().to_owned())).collect()
    }

    /// True if a model is in the order of calls of an engine.
    fn is_configured(&self, provider: &str, label: &str) -> bool {
        let orders = self.shared.engines.values().chain([&self.targets]);
        let mut targets = orders.flat_map(|order| order.iter());
        targets.any(|target| {
            let model = target.model.as_deref().unwrap_or(OTHER);
            (target.upstream.provider.name(), model) == (provider, label)
        })
    }

    /// All providers with the names of their models, as far as the configuration names them.
    pub fn known(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let models = |upstream: &Arc<Upstream>| {
            let models = upstream.breakers.models().map(str::to_owned).collect();
            (upstream.provider.name(), models)
        };
        self.shared.upstreams.iter().map(models).collect()
    }

    /// The listed models whose names are complete.
    fn listed(&self) -> impl Iterator<Item = &ModelRule> {
        self.shared.models.iter().filter(|rule| !rule.is_pattern())
    }

    /// The counters of attempts, by provider and outcome.
    pub fn attempts(&self) -> impl Iterator<Item = (&'static str, &'static str, Counter)> {
        let counters = |upstream: &Arc<Upstream>| {
            let name = upstream.provider.name();
            upstream
                .attempts
                .by_outcome()
                .map(move |(outcome, counter)| (name, outcome, counter))
                .collect::<Vec<_>>()
        };
        self.shared.upstreams.iter().flat_map(counters)
    }

    /// Calls the providers in their order until one answers or the deadline is over. Dropping the
    /// future cancels the call; the sink then holds the part of the answer received so far, and `calls`
    /// the calls made.
    pub async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
        calls: &mut CallLog,
        deadline: impl Into<Deadline>,
    ) -> CallReport {
        let deadline = deadline.into();
        let not_allowed = Err(LlmError::NotAllowed);
        let mut report =
            CallReport { provider: self.provider(), model: None, attempts: 0, result: not_allowed };
        if request.model.as_ref().is_some_and(|model| !self.allows(model)) {
            return report;
        }
        let order = self.order(request.model.as_deref());
        for (index, target) in order.iter().enumerate() {
            let request = self.request_for(target, request, index == 0);
            let has_fallback = index + 1 < order.len();
            let before = calls.attempts();
            let provider = target.upstream.provider.name();
            let label = request.model.as_deref().map(|model| self.label(model));
            let span = spans::chat(provider, label, &request);
            let call = target.upstream.call(&request, sink, deadline, has_fallback, calls);
            let result = report::completion(call.instrument(span.clone()).await, &request, sink);
            let attempts = calls.attempts() - before;
            spans::record_result(&span, label, &result, attempts);
            let ends = match &result {
                Ok(_) => true,
                Err(error) => {
                    !error.may_fall_back()
                        || sink.has_started()
                        || !deadline.has_time_after(Duration::ZERO)
                }
            };
            // a failure after an attempt says more than a fallback that was never called, and a refusal,
            // which the caller can act on, more than a failure of a fallback
            if index == 0 || result.is_ok() || (attempts > 0 && !report.is_refused()) {
                (report.provider, report.result) = (provider, result);
                report.model = request.model;
            }
            if ends {
                break;
            }
        }
        report.attempts = calls.attempts();
        report
    }

    /// The name of a model in spans: `other` unless the configuration names it, because clients can
    /// invent names.
    fn label<'m>(&self, model: &'m str) -> &'m str {
        let configured = self.targets.iter().any(|target| target.model.as_deref() == Some(model));
        let listed = self.listed().any(|rule| rule.name == model);
        if configured || listed { model } else { OTHER }
    }
}
