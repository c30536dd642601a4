//! The settings of a server's models.

use std::collections::HashMap;

use super::{ModelRule, Provider, Resilience};
use crate::domain::{budget::Price, ids::EngineId};

/// The providers and models of all engines, for [`Llm::with_setup`](super::Llm::with_setup).
pub struct LlmSetup {
    /// The providers, each once.
    pub providers: Vec<Provider>,
    /// The protection of each provider.
    pub resilience: Resilience,
    /// The order in which providers are called. Must not be empty; providers that are not among
    /// `providers` are left out.
    pub routes: Vec<Route>,
    /// The orders of engines that have their own.
    pub engines: HashMap<EngineId, Vec<Route>>,
    /// The models that a request may name. Empty: any model.
    pub models: Vec<ModelRule>,
    /// The prices of models by name.
    pub prices: HashMap<String, Price>,
    /// Upper limit of the tokens of an answer; `None` leaves it to the provider.
    pub max_tokens: Option<u32>,
    /// The temperature of requests that name none; `None` leaves it to the provider.
    pub temperature: Option<f64>,
    /// What requests may pass to a provider beside its published API.
    pub passed: Passed,
}

/// What requests may pass to a provider beside its published API.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Names of request fields with any value.
    pub fields: Vec<String>,
    /// Names of HTTP headers, in lower case.
    pub headers: Vec<String>,
}

/// A provider in the order of calls.
pub struct Route {
    /// The provider's [name](Provider::name).
    pub provider: &'static str,
    /// The model for requests that name none; `None` if the provider has only one.
    pub model: Option<String>,
}
