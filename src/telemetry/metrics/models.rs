//! Calls of models, under the names of the `OpenTelemetry` conventions for generative AI.
//!
//! Those conventions still move; this file and the contract are where their names are written. A
//! model counts under its name if configuration names it, else under `other`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prometheus_client::metrics::counter::Counter;

use super::{
    Histogram, OTHER, contract,
    histogram::{MODEL_SECONDS, TOKENS},
    register::{Amount, Labels, Register},
};
use crate::domain::event::Usage;

/// The one operation there is.
const CHAT: &str = "chat";

/// Models by provider, as configuration names them.
pub type Known = BTreeMap<&'static str, BTreeSet<String>>;

/// A call of a model that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who was asked last.
    pub provider: &'a str,
    /// For which model, if it has several.
    pub model: Option<&'a str>,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Until the first piece of an answer that was streamed, in milliseconds.
    pub first_piece_ms: Option<f64>,
    /// Tokens, if there is an answer.
    pub usage: Option<Usage>,
    /// What they cost, in millionths of a US dollar, if a price is configured.
    pub cost_micro_usd: u64,
}

/// The numbers of all models.
#[derive(Debug)]
pub struct Models {
    providers: HashMap<&'static str, HashMap<String, ModelMetrics>>,
    overflow: Counter,
}

#[derive(Clone, Debug)]
struct ModelMetrics {
    duration: Histogram,
    first: Histogram,
    input: Histogram,
    output: Histogram,
    cost: Amount,
}

impl ModelMetrics {
    fn new() -> Self {
        Self {
            duration: Histogram::new(MODEL_SECONDS),
            first: Histogram::new(MODEL_SECONDS),
            input: Histogram::new(TOKENS),
            output: Histogram::new(TOKENS),
            cost: Amount::default(),
        }
    }
}

impl Models {
    pub(super) fn new(register: &Register, known: &Known, overflow: Counter) -> Self {
        let mut all: Vec<(&'static str, String, ModelMetrics)> = Vec::new();
        for (provider, models) in known {
            for model in models.iter().map(String::as_str).chain([OTHER]) {
                all.push((provider, model.to_owned(), ModelMetrics::new()));
            }
        }
        let series = |of: fn(&ModelMetrics) -> &Histogram| {
            all.iter().map(move |(provider, model, metrics)| {
                (gen_ai(provider, model), of(metrics).clone())
            })
        };
        register.series(&contract::GEN_AI_DURATION, series(|m| &m.duration).collect());
        register.series(&contract::GEN_AI_FIRST, series(|m| &m.first).collect());
        let typed = |name: &'static str, of| {
            series(of).map(move |(mut labels, histogram)| {
                labels.push(("gen_ai_token_type", name.to_owned()));
                (labels, histogram)
            })
        };
        let tokens = typed("input", |m| &m.input).chain(typed("output", |m| &m.output));
        register.series(&contract::GEN_AI_TOKENS, tokens.collect());
        let costs = all.iter().map(|(provider, model, metrics)| {
            let labels = vec![("provider", (*provider).to_owned()), ("model", model.clone())];
            (labels, metrics.cost.clone())
        });
        register.series(&contract::LLM_COST, costs.collect());
        let mut providers: HashMap<&'static str, HashMap<String, ModelMetrics>> = HashMap::new();
        for (provider, model, metrics) in all {
            providers.entry(provider).or_default().insert(model, metrics);
        }
        Self { providers, overflow }
    }

    /// Counts a call. A provider that configuration does not name is a program's own, and counts
    /// nowhere.
    pub fn called(&self, call: &Call<'_>) {
        let Some(models) = self.providers.get(call.provider) else { return };
        let named = call.model.and_then(|model| models.get(model));
        if named.is_none() && call.model.is_some() {
            self.overflow.inc();
        }
        let Some(metrics) = named.or_else(|| models.get(OTHER)) else { return };
        metrics.duration.observe_ms(call.ms);
        if let Some(first) = call.first_piece_ms {
            metrics.first.observe_ms(first);
        }
        if let Some(usage) = call.usage {
            metrics.input.observe(usage.prompt_tokens as f64);
            metrics.output.observe(usage.completion_tokens as f64);
            metrics.cost.inc_by(call.cost_micro_usd as f64 / 1e6);
        }
    }
}

fn gen_ai(provider: &str, model: &str) -> Labels {
    vec![
        ("gen_ai_operation_name", CHAT.to_owned()),
        ("gen_ai_provider_name", provider.to_owned()),
        ("gen_ai_request_model", model.to_owned()),
    ]
}
