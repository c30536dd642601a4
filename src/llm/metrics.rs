//! Metrics of models: attempts at providers, and calls under the names of the OpenTelemetry
//! semantic conventions for generative AI.
//!
//! Those conventions are not stable; their names are written in this file only. A model is counted
//! under its name if configuration names it, otherwise under `other`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{BreakerState, LlmError};
use crate::{
    breaker::State,
    domain::event::Usage,
    metrics::{
        Counter, EncodeLabelSet, Family, FloatCounter, Gauge, Histogram, OTHER, Registry, specs,
    },
};

specs! {
    LLM_ATTEMPTS = Counter "mlsdm_llm_attempts_total" ["provider", "outcome"] "" "Attempts at a provider by outcome, including those that its circuit breaker or bulkhead rejected"
    LLM_BREAKER = Gauge "mlsdm_llm_breaker_state" ["provider", "model", "configured"] "" "State of the circuit breaker of a model: 0 closed, 1 half open, 2 open; `configured` is true for the models of engines and their fallbacks"
    LLM_COST = Counter "mlsdm_llm_cost_usd_total" ["provider", "model"] "dollars" "Cost of answers by the configured prices"
    GEN_AI_DURATION = Histogram "gen_ai_client_operation_duration_seconds" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "seconds" "Duration of calls of models, including failed ones"
    GEN_AI_TOKENS = Histogram "gen_ai_client_token_usage" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"] "tokens" "Tokens of answered calls"
    GEN_AI_FIRST = Histogram "gen_ai_client_operation_time_to_first_chunk_seconds" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "seconds" "Time to the first chunk of a streamed answer"
}

/// Bounds for the duration of calls.
pub(crate) const CALL_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 5.5, 10.5, 20.5, 40.5, 80.5];

/// Bounds for the tokens of a call.
pub(crate) const TOKENS: &[f64] =
    &[0.5, 16.5, 64.5, 256.5, 1_024.5, 4_096.5, 16_384.5, 65_536.5, 262_144.5];

/// Every outcome of an attempt: an answer, or the code of an [`LlmError`].
const OUTCOMES: [&str; 20] = [
    "success",
    "unreachable",
    "timeout",
    "deadline",
    "overloaded",
    "upstream",
    "unauthorized",
    "insufficient_quota",
    "refused",
    "malformed",
    "broken_off",
    "untranslatable",
    "model_not_allowed",
    "breaker_open",
    "bulkhead_full",
    "client_gone",
    "too_long",
    "over_memory",
    "not_recorded",
    UNLISTED,
];

/// The outcome of an error with an unlisted code: a function of the embedding program may return
/// any.
const UNLISTED: &str = "unavailable";

/// The operation of every call, as the conventions name it.
const CHAT: &str = "chat";

/// The models that configuration names, by provider.
pub type KnownModels = BTreeMap<&'static str, BTreeSet<String>>;

#[derive(Clone, Debug, EncodeLabelSet)]
struct AttemptLabels {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, EncodeLabelSet)]
struct BreakerLabels {
    provider: &'static str,
    model: Arc<str>,
    configured: &'static str,
}

impl From<&BreakerState> for BreakerLabels {
    fn from(breaker: &BreakerState) -> Self {
        Self {
            provider: breaker.provider,
            model: breaker.model.as_str().into(),
            configured: if breaker.configured { "true" } else { "false" },
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct CostLabels {
    provider: &'static str,
    model: Arc<str>,
}

#[derive(Clone, Debug, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "the fields are the names of the labels")]
struct CallLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct TokenLabels {
    #[prometheus(flatten)]
    call: CallLabels,
    gen_ai_token_type: &'static str,
}

/// The attempts at one provider, by outcome.
#[derive(Debug)]
pub(super) struct Attempts(Family<&'static str, Counter>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Family::new(OUTCOMES))
    }
}

impl Attempts {
    /// Counts the result of one attempt.
    pub(super) fn count<T>(&self, result: &Result<T, LlmError>) {
        let outcome = result.as_ref().map_or_else(LlmError::code, |_| "success");
        if let Some(counter) = self.0.get(&outcome).or_else(|| self.0.get(&UNLISTED)) {
            counter.inc();
        }
    }

    /// The counters with their outcomes.
    pub(super) fn by_outcome(&self) -> impl Iterator<Item = (&'static str, Counter)> {
        self.0.iter().cloned()
    }
}

/// Registers the attempts at all providers: provider, outcome and counter.
pub fn register_attempts(
    registry: &mut Registry,
    attempts: impl Iterator<Item = (&'static str, &'static str, Counter)>,
) {
    let series =
        attempts.map(|(provider, outcome, counter)| (AttemptLabels { provider, outcome }, counter));
    registry.family(&LLM_ATTEMPTS, series);
}

/// The states of the circuit breakers as of the last scrape.
#[derive(Debug)]
pub struct BreakerMetrics(Family<BreakerLabels, Gauge>);

impl BreakerMetrics {
    /// A gauge for each breaker.
    pub fn new(breakers: &[BreakerState]) -> Self {
        Self(Family::new(breakers.iter().map(BreakerLabels::from)))
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.family(&LLM_BREAKER, self.0.iter().cloned());
    }

    /// Sets the gauges to the current states, which are in the order of [`Self::new`].
    pub fn update(&self, breakers: &[BreakerState]) {
        for ((_, gauge), breaker) in self.0.iter().zip(breakers) {
            gauge.set(match breaker.state {
                State::Closed => 0,
                State::HalfOpen => 1,
                State::Open => 2,
            });
        }
    }
}

/// A call of a model that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The provider that was called last.
    pub provider: &'a str,
    /// The requested model, if the provider has several.
    pub model: Option<&'a str>,
    /// Duration in milliseconds.
    pub ms: f64,
    /// Time to the first chunk of a streamed answer, in milliseconds.
    pub first_piece_ms: Option<f64>,
    /// Tokens of the answer, if there is one.
    pub usage: Option<Usage>,
    /// Cost in millionths of a US dollar; 0 without a configured price.
    pub cost_micro_usd: u64,
}

/// The calls of all models.
#[derive(Debug, Default)]
pub struct CallMetrics {
    providers: HashMap<&'static str, HashMap<Arc<str>, ModelMetrics>>,
    /// Calls of models that configuration does not name.
    pub overflow: Counter,
}

#[derive(Debug)]
struct ModelMetrics {
    duration: Histogram,
    first_chunk: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
    cost: FloatCounter,
}

impl Default for ModelMetrics {
    fn default() -> Self {
        Self {
            duration: Histogram::new(CALL_SECONDS),
            first_chunk: Histogram::new(CALL_SECONDS),
            input_tokens: Histogram::new(TOKENS),
            output_tokens: Histogram::new(TOKENS),
            cost: FloatCounter::default(),
        }
    }
}

impl CallMetrics {
    /// Metrics of these models, and of all others by provider.
    pub fn new(known: &KnownModels) -> Self {
        let of_provider = |models: &BTreeSet<String>| {
            let models = models.iter().map(String::as_str).chain([OTHER]);
            models.map(|model| (model.into(), ModelMetrics::default())).collect()
        };
        let providers = known.iter().map(|(provider, models)| (*provider, of_provider(models)));
        Self { providers: providers.collect(), overflow: Counter::default() }
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let models: Vec<(CallLabels, &ModelMetrics)> = self.series().collect();
        let histograms = |of: fn(&ModelMetrics) -> &Histogram| {
            models.iter().map(move |(labels, model)| (labels.clone(), of(model).clone()))
        };
        registry.family(&GEN_AI_DURATION, histograms(|model| &model.duration));
        registry.family(&GEN_AI_FIRST, histograms(|model| &model.first_chunk));
        let tokens = |gen_ai_token_type, of| {
            histograms(of)
                .map(move |(call, tokens)| (TokenLabels { call, gen_ai_token_type }, tokens))
        };
        let input = tokens("input", |model| &model.input_tokens);
        registry
            .family(&GEN_AI_TOKENS, input.chain(tokens("output", |model| &model.output_tokens)));
        let costs = models.iter().map(|(labels, metrics)| {
            let model = Arc::clone(&labels.gen_ai_request_model);
            let labels = CostLabels { provider: labels.gen_ai_provider_name, model };
            (labels, metrics.cost.clone())
        });
        registry.family(&LLM_COST, costs);
    }

    fn series(&self) -> impl Iterator<Item = (CallLabels, &ModelMetrics)> {
        self.providers.iter().flat_map(|(provider, models)| {
            models.iter().map(|(model, metrics)| {
                let labels = CallLabels {
                    gen_ai_operation_name: CHAT,
                    gen_ai_provider_name: provider,
                    gen_ai_request_model: Arc::clone(model),
                };
                (labels, metrics)
            })
        })
    }

    /// Counts a call. A provider that configuration does not name is a function of the embedding
    /// program; its calls are not counted.
    pub fn count(&self, call: &Call<'_>) {
        let Some(models) = self.providers.get(call.provider) else { return };
        let named = call.model.and_then(|model| models.get(model));
        if named.is_none() && call.model.is_some() {
            self.overflow.inc();
        }
        let Some(metrics) = named.or_else(|| models.get(OTHER)) else { return };
        metrics.duration.observe_ms(call.ms);
        if let Some(first) = call.first_piece_ms {
            metrics.first_chunk.observe_ms(first);
        }
        if let Some(usage) = call.usage {
            metrics.input_tokens.observe(usage.prompt_tokens as f64);
            metrics.output_tokens.observe(usage.completion_tokens as f64);
            metrics.cost.inc_by(call.cost_micro_usd as f64 / 1e6);
        }
    }
}
