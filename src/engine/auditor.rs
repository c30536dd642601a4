//! The log is verified while it is served: every engine's, from its first event on, again and again.
//!
//! An edit in the database is found without anybody asking for it. The pace is bounded, because a log
//! may be long and a server has better things to do. What is found is logged and counted, in every
//! round anew, and changes nothing: what an edited log is good for is for people to say.

use std::time::{Duration, Instant};

use super::{Engines, background::stays};
use crate::{
    domain::ids::EngineId,
    store::{
        StoreError,
        audit::{AUDIT_PAGE, Audit, Bad, Finding, Progress, Report},
    },
    telemetry::metrics::EngineMetrics,
};

/// How fast logs are verified.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Events in a second, at most.
    pub events_per_second: u32,
    /// From the start of one round to the next, at least.
    pub round: Duration,
}

impl Pace {
    fn pause(self) -> Duration {
        Duration::from_secs_f64(f64::from(AUDIT_PAGE) / f64::from(self.events_per_second.max(1)))
    }
}

impl Engines {
    /// Verifies all logs until the server stops.
    pub(super) async fn audit(&self, pace: Pace) {
        loop {
            let began = Instant::now();
            if let Err(error) = self.audit_round(pace).await {
                tracing::warn!(event_type = "audit.interrupted", %error, "the log could not be verified");
            }
            let rest = pace.round.saturating_sub(began.elapsed()).max(pace.pause());
            if !stays(self.tasks(), rest).await {
                return;
            }
        }
    }

    async fn audit_round(&self, pace: Pace) -> Result<(), StoreError> {
        let (store, metrics) = (&self.parts().store, &self.parts().metrics);
        for stray in store.unknown_engines().await? {
            let bad = Bad { position: 0, what: Finding::NoEngine };
            found(&stray, bad, metrics.of(&EngineId::system()));
        }
        for row in store.engines().await? {
            let engine = row.engine_id;
            let Some(report) = self.audit_one(&engine, pace).await? else { return Ok(()) };
            metrics.of(&engine).audited(report.verified);
            if let Some(bad) = report.first_bad {
                found(engine.as_str(), bad, metrics.of(&engine));
            }
        }
        Ok(())
    }

    /// Verifies one log; none when the server stops.
    async fn audit_one(&self, engine: &EngineId, pace: Pace) -> Result<Option<Report>, StoreError> {
        let mut audit = Audit::new(&self.parts().store, engine);
        loop {
            match audit.page().await? {
                Progress::Ended(report) => return Ok(Some(report)),
                Progress::At(_) if stays(self.tasks(), pace.pause()).await => {}
                Progress::At(_) => return Ok(None),
            }
        }
    }
}

fn found(engine: &str, Bad { position, what }: Bad, metrics: &EngineMetrics) {
    tracing::error!(
        event_type = "audit.failed",
        engine,
        position,
        "the log is not as it was written: {what}; see `mlsdm audit verify`"
    );
    metrics.audit_failures.inc();
}
