//! The description of a metric.

use serde::Serialize;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Counts of values by upper bound.
    Histogram,
    /// Always 1; the information is in its labels.
    Info,
}

/// The description of one metric.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spec {
    /// The exposed name, with unit and `_total`.
    pub name: &'static str,
    /// The type of the metric.
    pub kind: Kind,
    /// The names of its labels, each of which has a closed set of values.
    pub labels: &'static [&'static str],
    /// `seconds`, `bytes` and so on; empty for plain counts.
    pub unit: &'static str,
    /// The help text: one line for the reader of a dashboard panel.
    pub meaning: &'static str,
}

/// Declares the metrics of a module: a constant for each, and `SPECS` with all of them.
macro_rules! specs {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $unit:literal $meaning:literal)*) => {
        $(pub(crate) const $id: $crate::metrics::Spec = $crate::metrics::Spec {
            name: $name,
            kind: $crate::metrics::Kind::$kind,
            labels: &[$($label),*],
            unit: $unit,
            meaning: $meaning,
        };)*

        /// The metrics of this module.
        pub(crate) const SPECS: &[$crate::metrics::Spec] = &[$($id),*];
    };
}

pub(crate) use specs;
