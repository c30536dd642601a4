//! Metrics of the event log's database, and of the events committed to it.

pub(crate) mod events;

use super::pool_use::PoolUse;
use crate::{
    domain::event::Event,
    metrics::{Counter, EncodeLabelSet, Family, Gauge, Histogram, Registry, SECONDS, specs},
};

pub use events::{EngineLabels, EventMetrics};

specs! {
    APPEND_DURATION = Histogram "mlsdm_event_append_duration_seconds" [] "seconds" "Duration of appending a batch of events, from requesting the engine's row to the commit"
    APPEND_BATCH = Histogram "mlsdm_event_append_batch_size" [] "" "Events of a batch"
    APPEND_CONFLICTS = Counter "mlsdm_event_append_conflicts_total" [] "" "Batches retried because the database rolled back their transaction"
    APPENDED = Counter "mlsdm_events_appended_total" ["type"] "" "Events committed by this process"
    DB_OPERATIONS = Histogram "db_client_operation_duration_seconds" ["db_operation_name"] "seconds" "Duration of database operations: reads outside of appends, and commits of batches"
    DB_WAIT = Histogram "db_client_connection_wait_time_seconds" [] "seconds" "Time spent waiting for a connection for reads"
    DB_CONNECTIONS = Gauge "db_client_connection_count" ["db_client_connection_pool_name", "db_client_connection_state"] "" "Connections to the database"
    DB_CONNECTIONS_MAX = Gauge "db_client_connection_max" ["db_client_connection_pool_name"] "" "Most connections of the pool"
}

/// Bounds for the events of a batch.
pub(crate) const BATCH_EVENTS: &[f64] = &[0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5];

#[derive(Clone, Debug, EncodeLabelSet)]
struct OperationLabels {
    db_operation_name: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct TypeLabels {
    r#type: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct PoolLabels {
    db_client_connection_pool_name: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct ConnectionLabels {
    #[prometheus(flatten)]
    pool: PoolLabels,
    db_client_connection_state: &'static str,
}

/// Metrics of one store; a clone counts in the same ones.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Waiting for a connection for reads, successful or not.
    pub connection_wait: Histogram,
    /// Successful reads outside of appends.
    pub read: Histogram,
    /// Commits of appends: on most disks, the wait for durable storage.
    pub commit: Histogram,
    /// A batch, from requesting the engine's row to its commit.
    pub append: Histogram,
    /// Events of a batch.
    pub batch_events: Histogram,
    /// Batches whose transaction the database rolled back.
    pub conflicts: Counter,
    /// Committed events by their type on the wire.
    appended: Family<&'static str, Counter>,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            connection_wait: Histogram::new(SECONDS),
            read: Histogram::new(SECONDS),
            commit: Histogram::new(SECONDS),
            append: Histogram::new(SECONDS),
            batch_events: Histogram::new(BATCH_EVENTS),
            conflicts: Counter::default(),
            appended: Family::new(Event::KINDS),
        }
    }
}

impl StoreMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let operations = [("SELECT", &self.read), ("COMMIT", &self.commit)];
        let operations = operations.map(|(db_operation_name, duration)| {
            (OperationLabels { db_operation_name }, duration.clone())
        });
        registry.family(&DB_OPERATIONS, operations);
        registry.metric(&DB_WAIT, &self.connection_wait);
        registry.metric(&APPEND_DURATION, &self.append);
        registry.metric(&APPEND_BATCH, &self.batch_events);
        registry.metric(&APPEND_CONFLICTS, &self.conflicts);
        let appended = self.appended.iter().cloned();
        let appended = appended.map(|(r#type, counter)| (TypeLabels { r#type }, counter));
        registry.family(&APPENDED, appended);
    }

    /// Counts the events of one command that this process has committed.
    pub fn committed<'e>(&self, events: impl Iterator<Item = &'e Event>) {
        events.for_each(|event| self.appended(event.kind()));
    }

    /// Counts an event that this process has committed, by its type on the wire.
    pub fn appended(&self, event_type: &str) {
        let mut types = self.appended.iter();
        if let Some((_, counter)) = types.find(|(known, _)| *known == event_type) {
            counter.inc();
        }
    }
}

/// The connection pools of a store as of the last scrape.
#[derive(Debug)]
pub struct PoolMetrics(Vec<PoolGauges>);

#[derive(Debug)]
struct PoolGauges {
    name: &'static str,
    idle: Gauge,
    used: Gauge,
    max: Gauge,
}

impl PoolMetrics {
    /// Gauges for these pools.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let gauges = |name| PoolGauges {
            name,
            idle: Gauge::default(),
            used: Gauge::default(),
            max: Gauge::default(),
        };
        Self(names.into_iter().map(gauges).collect())
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let labels = |pool: &PoolGauges| PoolLabels { db_client_connection_pool_name: pool.name };
        let connections = self.0.iter().flat_map(|pool| {
            [("idle", &pool.idle), ("used", &pool.used)].map(|(state, gauge)| {
                let (pool, db_client_connection_state) = (labels(pool), state);
                (ConnectionLabels { pool, db_client_connection_state }, gauge.clone())
            })
        });
        registry.family(&DB_CONNECTIONS, connections);
        let most = self.0.iter().map(|pool| (labels(pool), pool.max.clone()));
        registry.family(&DB_CONNECTIONS_MAX, most);
    }

    /// Sets the gauges to the current use of the pools, given by name.
    pub fn update(&self, pools: Vec<(&'static str, PoolUse)>) {
        for (name, used) in pools {
            if let Some(pool) = self.0.iter().find(|pool| pool.name == name) {
                pool.idle.set(used.idle as i64);
                pool.used.set(used.used as i64);
                pool.max.set(used.max as i64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_their_type() {
        let metrics = StoreMetrics::default();
        metrics.appended("memory.consolidated");
        metrics.appended("memory.consolidated");
        metrics.appended("state.attested");
        metrics.appended("unknown");
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let text = registry.text().unwrap();
        for (event_type, count) in
            [("memory.consolidated", 2), ("state.attested", 1), ("step.admitted", 0)]
        {
            let series = format!("mlsdm_events_appended_total{{type=\"{event_type}\"}} {count}\n");
            assert!(text.contains(&series), "{series} is not in\n{text}");
        }
    }
}
