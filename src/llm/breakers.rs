//! The circuit breakers of one provider.
//!
//! Each model that the configuration names has its own, because one model of a provider can fail while
//! the others answer. All models that only requests name share one, because callers can invent names.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    breaker::{self, Breaker, State},
    metrics::OTHER,
};

/// The breakers of a provider's models.
#[derive(Debug)]
pub(super) struct Breakers {
    models: BTreeMap<String, Breaker>,
    other: Breaker,
}

impl Breakers {
    /// Closed breakers.
    pub(super) fn new(
        provider: &'static str,
        models: &BTreeSet<String>,
        settings: breaker::Settings,
    ) -> Self {
        let closed = |model: &str| Breaker::new("llm", provider, model, settings);
        let models = models.iter().map(|model| (model.clone(), closed(model))).collect();
        Self { models, other: closed(OTHER) }
    }

    /// The breaker of a model; that of all unknown models if a request names none.
    pub(super) fn of(&self, model: Option<&str>) -> &Breaker {
        model.and_then(|model| self.models.get(model)).unwrap_or(&self.other)
    }

    /// The models that have a breaker of their own.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// All breakers with the labels of their models.
    pub(super) fn by_label(&self) -> impl Iterator<Item = (&str, &Breaker)> {
        let models = self.models.iter().map(|(model, breaker)| (model.as_str(), breaker));
        models.chain([(OTHER, &self.other)])
    }
}

/// The state of the circuit breaker of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerState {
    /// The provider's name.
    pub provider: &'static str,
    /// The model, or `other` for all models that the configuration does not name.
    pub model: String,
    /// True if requests that name no model are sent to it: it is the model of an engine or a fallback.
    pub configured: bool,
    /// The state.
    pub state: State,
}
