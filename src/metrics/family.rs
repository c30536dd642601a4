//! The series of one metric, by label set.
//!
//! The `Family` of `prometheus-client` creates series on demand, and each lookup takes a lock. This
//! one has a fixed set of series, so it needs no lock and no label set can be added by accident.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

/// A fixed set of series; a clone refers to the same ones.
#[derive(Debug)]
pub struct Family<L, M>(Arc<[(L, M)]>);

impl<L, M> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L, M> FromIterator<(L, M)> for Family<L, M> {
    fn from_iter<I: IntoIterator<Item = (L, M)>>(series: I) -> Self {
        Self(series.into_iter().collect())
    }
}

impl<L, M: Default> Family<L, M> {
    /// A series at 0 for each label set.
    pub fn new(labels: impl IntoIterator<Item = L>) -> Self {
        labels.into_iter().map(|labels| (labels, M::default())).collect()
    }
}

impl<L, M> Family<L, M> {
    /// All series, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &(L, M)> {
        self.0.iter()
    }
}

impl<L: PartialEq, M> Family<L, M> {
    /// The series with these labels. The search is linear: the sets are small.
    pub fn get(&self, labels: &L) -> Option<&M> {
        self.0.iter().find(|(known, _)| known == labels).map(|(_, metric)| metric)
    }
}

impl<L: PartialEq> Family<L, Counter> {
    /// Adds to the series with these labels, if there is one.
    pub fn inc_by(&self, labels: &L, count: u64) {
        if let Some(counter) = self.get(labels) {
            counter.inc_by(count);
        }
    }

    /// Adds 1 to the series with these labels, if there is one.
    pub fn inc(&self, labels: &L) {
        self.inc_by(labels, 1);
    }

    /// The sum of all series.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, counter)| counter.get()).sum()
    }
}
