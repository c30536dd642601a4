//! Metric primitives: counters, gauges and histograms that count without a lock, and the registry
//! that writes them as `OpenMetrics` text.
//!
//! Each module owns its metrics (`store::metrics`, `engine::metrics`, `llm::metrics` and so on): a
//! struct of counters and the [`Spec`] of each. `http::metrics` registers all of them and serves
//! them. Label values come from configuration and code, never from traffic, so the number of time
//! series is fixed when a metric is registered and every series starts at 0: an error ratio is 0
//! before the first error, not empty.
//! Deliberately not here: any metric of a module, and imports from the rest of the crate.

mod exemplars;
mod family;
mod histogram;
pub mod process;
mod registry;
mod spec;

use std::sync::atomic::AtomicU64;

pub use family::Family;
pub use histogram::{Exemplar, Histogram, SECONDS};
pub use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, gauge::Gauge},
};
pub use registry::Registry;
pub(crate) use spec::specs;
pub use spec::{Kind, Spec};

/// A gauge of floating-point numbers.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// A counter of floating-point numbers.
pub type FloatCounter = prometheus_client::metrics::counter::Counter<f64, AtomicU64>;

/// The label value of everything outside a label's closed set of values.
pub const OTHER: &str = "other";
