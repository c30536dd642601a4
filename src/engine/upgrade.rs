//! The upgrade of a deployment to the newest log format.
//!
//! Processes of version 0.1 and of this version share the logs as long as these have format 1. Once no
//! process of an older version runs, the format is raised: first that of the server's own log, which
//! new engines get, then that of all engines. A log is raised by an event, together with its row.

use std::time::Duration;

use serde::Serialize;

use super::{EngineError, Engines, heartbeat::GONE_AFTER};
use crate::{
    domain::{
        event::LOG_FORMAT,
        ids::{EngineId, Micros},
    },
    store::{Store, StoreError},
};

/// Samples of the connections of version 0.1, and the pause between two: together longer than the
/// interval at which an idle server polls the logs.
const SAMPLES: u32 = 12;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(150);

/// The progress of an upgrade.
#[derive(Debug, Serialize)]
pub struct UpgradeStatus {
    /// The newest log format of this binary.
    pub newest_format: u32,
    /// The log format of new engines; `None` if the server's own log does not exist.
    pub deployment_format: Option<u32>,
    /// The processes with a heartbeat.
    pub replicas: Vec<Replica>,
    /// The number of connections of processes with version 0.1, which have no heartbeat.
    pub old_connections: u64,
    /// All logs and their formats.
    pub logs: Vec<LogStatus>,
    /// The conditions that `finish` would refuse, each with its remedy.
    pub missing: Vec<String>,
    /// True if every log has the newest format.
    pub finished: bool,
}

impl UpgradeStatus {
    /// The logs whose format is not the newest.
    pub fn older_logs(self) -> Vec<EngineId> {
        let older = self.logs.into_iter().filter(|log| log.log_format < LOG_FORMAT);
        older.map(|log| log.engine).collect()
    }
}

/// A process with a heartbeat.
#[derive(Debug, Serialize)]
pub struct Replica {
    /// The id of the process.
    pub replica: String,
    /// Its host.
    pub host: String,
    /// Its version.
    pub version: String,
    /// The newest log format that it reads.
    pub log_format: u32,
    /// The newest rules that it knows.
    pub rules: u32,
    /// Seconds since its newest heartbeat.
    pub seen_seconds_ago: f64,
    /// False if it stopped without removing its heartbeat.
    pub live: bool,
}

/// A log and its format.
#[derive(Debug, Serialize)]
pub struct LogStatus {
    /// The engine; `_system` for the server's own log.
    pub engine: EngineId,
    /// The format of its log.
    pub log_format: u32,
}

/// Reads the progress of the upgrade from the database.
pub async fn status(store: &Store) -> Result<UpgradeStatus, StoreError> {
    let replicas = store.replicas().await?;
    let old_connections = old_connections(store).await?;
    let rows = store.engines().await?;
    let logs: Vec<LogStatus> = rows
        .into_iter()
        .map(|row| LogStatus { engine: row.engine_id, log_format: row.log_format })
        .collect();
    let replicas: Vec<Replica> = replicas
        .rows
        .iter()
        .map(|row| {
            let age = replicas.age(row);
            Replica {
                replica: row.heartbeat.replica.to_string(),
                host: row.heartbeat.host.clone(),
                version: row.heartbeat.version.clone(),
                log_format: row.heartbeat.log_format,
                rules: row.heartbeat.rules,
                seen_seconds_ago: seconds(age),
                live: age <= GONE_AFTER,
            }
        })
        .collect();
    let system = logs.iter().find(|log| log.engine.is_system());
    Ok(UpgradeStatus {
        newest_format: LOG_FORMAT,
        deployment_format: system.map(|log| log.log_format),
        missing: missing(&replicas, old_connections, &logs),
        finished: logs.iter().all(|log| log.log_format >= LOG_FORMAT),
        replicas,
        old_connections,
        logs,
    })
}

/// The largest number of connections of version 0.1 that are seen within a few seconds: behind a pooler
/// an idle server has one for a moment only, when it polls the logs.
async fn old_connections(store: &Store) -> Result<u64, StoreError> {
    let mut most = 0;
    for sample in 0..SAMPLES {
        if sample > 0 && !store.has_one_owner() {
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
        most = most.max(store.old_connections().await?);
        if most > 0 || store.has_one_owner() {
            break;
        }
    }
    Ok(most)
}

const fn seconds(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

/// The conditions that forbid the raise.
fn missing(replicas: &[Replica], old_connections: u64, logs: &[LogStatus]) -> Vec<String> {
    let old = replicas.iter().filter(|replica| replica.live && replica.log_format < LOG_FORMAT);
    let mut missing: Vec<String> = old
        .map(|replica| {
            format!(
                "replica {} (version {}, host {}) cannot read log format {LOG_FORMAT}; replace it by \
                 a newer version",
                replica.replica, replica.version, replica.host
            )
        })
        .collect();
    if old_connections > 0 {
        missing.push(format!(
            "{old_connections} connections of version 0.1 are open (application_name 'mlsdm' in \
             pg_stat_activity), and it cannot read log format {LOG_FORMAT}; stop its servers and commands"
        ));
    }
    let newer = logs.iter().filter(|log| log.log_format > LOG_FORMAT);
    missing.extend(newer.map(|log| {
        format!(
            "the log of {} has format {}, which this binary cannot read; run a newer one",
            log.engine, log.log_format
        )
    }));
    missing
}

impl Engines {
    /// Raises the format of a log to the newest one. Returns false if it has that format already.
    pub async fn raise_format(&self, engine: &EngineId, actor: &str) -> Result<bool, EngineError> {
        let engine =
            if engine.is_system() { self.system().await? } else { self.get(engine).await? };
        let before = engine.view().state.log_format;
        if before >= LOG_FORMAT {
            return Ok(false);
        }
        engine.raise_format(LOG_FORMAT, actor).await?;
        Ok(true)
    }
}
