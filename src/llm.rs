//! Models: who answers an admitted step.
//!
//! [`Llm::call`] asks one of a closed set of providers, under one deadline, and says what came of it
//! with the number of attempts. The answer itself goes to a [`Sink`], piece by piece, so that a
//! caller can have it as it is made and the log has what was said before a failure.
//! Deliberately not here: what an answer is worth (the domain's), and any record of it (the log's).

mod anthropic;
mod chat;
mod error;
mod http;
pub mod metrics;
mod openai;
mod price;
mod provider;
mod replay;
mod setup;
mod sink;
mod spans;
mod sse;
mod stub;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use tokio::time::Instant;
use tracing::Instrument as _;

pub use crate::breaker::Settings as BreakerSettings;
pub use anthropic::Anthropic;
pub use chat::{
    Dialect, Extra, Message, Messages, ProviderCompletion, Reply, Request, Role, ToolCall,
};
pub use error::LlmError;
pub use openai::OpenAi;
pub use price::BadPrice;
pub use provider::{Function, Provider, ReplyFuture};
pub use replay::{RecordedAnswer, Replay};
pub use setup::SetupError;
pub use sink::{ANSWER_BYTES_MAX, DELTAS_MAX, Delta, Sink};
pub use stub::Stub;
pub use upstream::{Bulkhead, Resilience, Retry};

use crate::{
    domain::{budget::Price, event::Usage, ids::EngineId},
    metrics::Counter,
};
use upstream::Upstream;

/// The models of an engine; cheap to clone.
#[derive(Clone)]
pub struct Llm {
    shared: Arc<Shared>,
    /// Who is asked first, and who instead if that fails, in this order; never empty.
    targets: Arc<[Target]>,
}

/// What the models of all engines have in common.
struct Shared {
    /// Each provider once: its breaker and its bulkhead are those of all engines.
    upstreams: Vec<Arc<Upstream>>,
    /// Engines whose models are others than the rest's.
    engines: HashMap<EngineId, Arc<[Target]>>,
    /// Models that a request may name; any, if there are none.
    allowed: Vec<String>,
    prices: HashMap<String, Price>,
    /// Most tokens ever asked for.
    max_tokens: u32,
    temperature: Option<f64>,
}

/// A provider, and the model it is asked for when the request names none.
#[derive(Clone)]
struct Target {
    upstream: Arc<Upstream>,
    model: Option<String>,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// Who was asked last.
    pub provider: &'static str,
    /// For which model, if that provider has several.
    pub model: Option<String>,
    /// How many calls were made to providers.
    pub attempts: u32,
    /// How the answer ended, or why there is none.
    pub result: Result<Completion, LlmError>,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The model as the provider reports it.
    pub model: String,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: String,
    /// Tokens: the provider's figures, else estimates.
    pub usage: Usage,
    /// True if the answer was cut at its size limit.
    pub truncated: bool,
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.provider())
    }
}

impl Llm {
    /// Asks this provider only, once a call.
    pub fn new(provider: Provider) -> Self {
        Self::protected(provider, Resilience::NONE)
    }

    /// Asks this provider only.
    pub fn protected(provider: Provider, resilience: Resilience) -> Self {
        let upstream = Arc::new(Upstream::new(provider, resilience));
        let targets = [Target { upstream: Arc::clone(&upstream), model: None }];
        let shared = Shared {
            upstreams: vec![upstream],
            engines: HashMap::new(),
            allowed: Vec::new(),
            prices: HashMap::new(),
            max_tokens: u32::MAX,
            temperature: None,
        };
        Self { shared: Arc::new(shared), targets: Arc::new(targets) }
    }

    /// The built-in model.
    pub fn stub(stub: Stub) -> Self {
        Self::new(Provider::Stub(stub))
    }

    /// A function of the program this library is part of.
    pub fn function(function: Function) -> Self {
        Self::new(Provider::Function(function))
    }

    /// The models of one engine.
    #[must_use]
    pub fn for_engine(&self, engine: &EngineId) -> Self {
        let targets = self.shared.engines.get(engine).unwrap_or(&self.targets);
        Self { shared: Arc::clone(&self.shared), targets: Arc::clone(targets) }
    }

    /// The name of the provider that is asked first.
    pub fn provider(&self) -> &'static str {
        self.targets.first().map_or("none", |target| target.upstream.provider.name())
    }

    /// The model that is asked when a request names none, if the provider has several.
    pub fn model(&self) -> Option<&str> {
        self.targets.first().and_then(|target| target.model.as_deref())
    }

    /// Whether a request may name this model: one on the list, or the configured one; any, where
    /// there is no list.
    pub fn allows(&self, model: &str) -> bool {
        let allowed = &self.shared.allowed;
        allowed.is_empty()
            || allowed.iter().any(|name| name == model)
            || self.model() == Some(model)
    }

    /// The models that a request may name, as far as they are known: the configured one first.
    pub fn models(&self) -> Vec<&str> {
        let own = self.model();
        let listed = self.shared.allowed.iter().map(String::as_str);
        own.into_iter().chain(listed.filter(|name| Some(*name) != own)).collect()
    }

    /// What a model costs, if that is configured.
    pub fn price(&self, model: &str) -> Option<Price> {
        self.shared.prices.get(model).copied()
    }

    /// The circuit breakers of all providers, by name: `closed`, `open` or `half_open`.
    pub fn breakers(&self) -> BTreeMap<String, String> {
        let state = |upstream: &Arc<Upstream>| {
            (upstream.provider.name().to_owned(), upstream.breaker().to_owned())
        };
        self.shared.upstreams.iter().map(state).collect()
    }

    /// All providers that may be asked, each with the models that are known by name.
    pub fn known(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let mut known: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for upstream in &self.shared.upstreams {
            known.entry(upstream.provider.name()).or_default();
        }
        let orders = self.shared.engines.values().chain([&self.targets]);
        for (place, target) in orders.flat_map(|order| order.iter().enumerate()) {
            let models = known.entry(target.upstream.provider.name()).or_default();
            models.extend(target.model.clone());
            // a model that a request names is the first provider's
            if place == 0 {
                models.extend(self.shared.allowed.iter().cloned());
            }
        }
        known
    }

    /// The attempts at all providers, by name and how they went.
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

    /// Asks for an answer until `deadline`. Dropping the future cancels the call; what was said until
    /// then is in the sink.
    pub async fn call(&self, request: &Request, sink: &mut Sink, deadline: Instant) -> CallReport {
        let mut called =
            CallReport { provider: self.provider(), model: None, attempts: 0, result: NOT_ALLOWED };
        if request.model.as_ref().is_some_and(|model| !self.allows(model)) {
            return called;
        }
        for (place, target) in self.targets.iter().enumerate() {
            let asked = self.asked(request, target, place == 0);
            let alternative = place + 1 < self.targets.len();
            let before = called.attempts;
            let span = spans::chat(self, target.upstream.provider.name(), &asked);
            let call =
                target.upstream.call(&asked, sink, deadline, alternative, &mut called.attempts);
            let result = call.instrument(span.clone()).await.map_or_else(
                |error| cut(error, &asked, sink),
                |ending| Ok(ended(ending, &asked, sink)),
            );
            spans::answered(&span, self, &asked, &result, called.attempts - before);
            let may_go_on = match &result {
                Ok(_) => false,
                Err(error) => {
                    error.may_fall_back() && !sink.has_started() && Instant::now() < deadline
                }
            };
            // why somebody failed says more than why another was not asked
            if place == 0 || result.is_ok() || called.attempts > before {
                (called.provider, called.result) = (target.upstream.provider.name(), result);
                called.model = asked.model;
            }
            if !may_go_on {
                break;
            }
        }
        called
    }

    /// The request as one provider gets it. A model that the caller names is the first provider's:
    /// it means nothing to another.
    fn asked(&self, request: &Request, target: &Target, first: bool) -> Request {
        let named = request.model.clone().filter(|_| first);
        Request {
            model: named.or_else(|| target.model.clone()),
            max_tokens: request.max_tokens.min(self.shared.max_tokens),
            temperature: request.temperature.or(self.shared.temperature),
            messages: request.messages.clone(),
            extra: Arc::clone(&request.extra),
        }
    }
}

const NOT_ALLOWED: Result<Completion, LlmError> = Err(LlmError::NotAllowed);

fn ended(ending: ProviderCompletion, request: &Request, sink: &Sink) -> Completion {
    let ProviderCompletion { model, finish_reason, usage } = ending;
    let usage = usage.unwrap_or_else(|| estimated(request, sink));
    Completion { model, finish_reason, usage, truncated: false }
}

/// An answer that grew too long is an answer, cut.
fn cut(error: LlmError, request: &Request, sink: &Sink) -> Result<Completion, LlmError> {
    if error != LlmError::TooLong {
        return Err(error);
    }
    Ok(Completion {
        model: request.model.clone().unwrap_or_default(),
        finish_reason: "length".to_owned(),
        usage: estimated(request, sink),
        truncated: true,
    })
}

/// Characters of a token, roughly, in the languages models are mostly asked in.
pub const TOKEN_CHARS: usize = 4;

/// How many tokens a text has, roughly, where nobody counts them.
pub fn estimate_tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(TOKEN_CHARS) as u64
}

fn estimated(request: &Request, sink: &Sink) -> Usage {
    Usage {
        prompt_tokens: request.messages.iter().map(|m| estimate_tokens(&m.text)).sum(),
        completion_tokens: estimate_tokens(sink.text()),
    }
}
