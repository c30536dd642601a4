//! The metrics of a configuration: which engines, models and routes have series of their own.

use crate::{
    config::Config,
    engine,
    http::{
        metrics::{HttpMetrics, Route},
        routes::endpoints,
    },
    llm::Llm,
};

/// Metrics of the default engine, of the engines that configuration lists, and of the models.
pub(super) fn engines(config: &Config, llm: &Llm) -> engine::Metrics {
    let listed = config.monitoring.engines.iter().chain([config.engine.default_id()]);
    engine::Metrics::new(listed.cloned(), &llm.known())
}

/// Metrics of the requests of every route.
pub(super) fn requests(config: &Config) -> HttpMetrics {
    let routes = endpoints().into_iter().map(|endpoint| Route {
        pattern: endpoint.pattern().to_owned(),
        template: endpoint.path(),
        methods: endpoint.methods().iter().map(|(method, _)| method.to_string()).collect(),
    });
    HttpMetrics::new(&routes.collect::<Vec<_>>(), &config.monitoring.track)
}
